"""How fast each stage is, as ratios to a reference measured in the same run.

A processor that others use too gives another absolute number every minute, so what
is compared is measured in alternating rounds and the medians are set in relation.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping, Sequence


def alternate(contestants: Mapping[str, Callable[[], None]], rounds: int) -> dict[str, list[float]]:
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
