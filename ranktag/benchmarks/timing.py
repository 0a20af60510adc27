"""Timing several ways to do one thing.

A processor that others use too gives another absolute number every minute, so what
is compared is measured in alternating rounds and set in relation within each.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping, Sequence


def alternate(contestants: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, list[float]]:
    """Seconds of each contestant in each round.

    Every other round goes backwards, so that none always follows the same one.
    """
    seconds: dict[str, list[float]] = {name: [] for name in contestants}
    for number in range(rounds):
        names = list(contestants)
        for name in names if number % 2 == 0 else reversed(names):
            began = time.perf_counter()
            contestants[name]()
            seconds[name].append(time.perf_counter() - began)
    return seconds


def rate(count: int, seconds: Sequence[float]) -> float:
    """Things a second, from the median of the rounds."""
    return count / statistics.median(seconds)


def ratio(seconds: Sequence[float], others: Sequence[float]) -> float:
    """``seconds`` in relation to ``others``: the median of each round's ratio."""
    return statistics.median(one / other for one, other in zip(seconds, others))
