"""How far the scores of a comparison, and the differences between its rows, would move with other images."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Mapping, Sequence

import numpy as np

from ranktag.config import EvaluationConfig
from ranktag.errors import Usage
from ranktag.evaluation.bootstrap import holm, interval, p_value, resampled_means
from ranktag.evaluation.matches import Floats, Mask
from ranktag.evaluation.results import Change, Difference, Estimate, Row
from ranktag.evaluation.scores import MetricTable

# (set of images, number of the row) -> name of the score -> (R,) resampled scores. A set of images is its mask's bytes.
Resampled = Mapping[tuple[bytes, int], Mapping[str, Floats]]


def with_intervals(
    rows: Sequence[Row], compared: int, metrics: MetricTable, config: EvaluationConfig
) -> tuple[list[Row], list[Difference]]:
    """The rows with intervals, and the differences between every two of the first ``compared`` that share images.

    With a reference, those between every other row and it. Raises RanktagError if there is no such row.
    """
    scored = [row.scored for row in rows]
    wanted = (
        itertools.combinations(range(compared), 2)
        if config.reference is None
        else _with_one(rows[:compared], config.reference)
    )
    pairs = {(a, b): shared for a, b in wanted if np.any(shared := scored[a] & scored[b])}
    resampled = _resample(rows, pairs, metrics, config)
    finished = []
    for number, row in enumerate(rows):
        drawn = resampled[scored[number].tobytes(), number]
        scores = {
            name: Estimate(estimate.value, *interval(drawn[name]), estimate.seed_std)
            for name, estimate in row.scores.items()
        }
        finished.append(dataclasses.replace(row, scores=scores))
    differences = []
    for (a, b), shared in pairs.items():
        first, second = (metrics.from_means(rows[n].values[shared].mean(axis=0)) for n in (a, b))
        changes = {}
        for name in first:
            drawn_changes = resampled[shared.tobytes(), a][name] - resampled[shared.tobytes(), b][name]
            value = float(first[name] - second[name])
            changes[name] = Change(value, *interval(drawn_changes), p_value(drawn_changes))
        differences.append(Difference(rows[a].label, rows[b].label, int(np.count_nonzero(shared)), changes))
    return finished, _corrected(differences)


def _with_one(rows: Sequence[Row], reference: str) -> list[tuple[int, int]]:
    """The numbers of every other row and the reference's, which is named by its label or one of its files."""
    found = [n for n, row in enumerate(rows) if row.label == reference]
    found = found or [n for n, row in enumerate(rows) if reference in map(str, row.files)]
    if not found:
        there = ", ".join(f"'{row.label}'" for row in rows)
        raise Usage(f"--reference {reference}: is no row; the rows are {there}")
    return [(n, found[0]) for n in range(len(rows)) if n != found[0]]


def _corrected(differences: Sequence[Difference]) -> list[Difference]:
    """The differences with p corrected for how many there are, score by score."""
    if not differences:
        return []
    corrected = {name: holm([d.scores[name].p for d in differences]) for name in differences[0].scores}
    return [
        dataclasses.replace(
            d,
            scores={name: dataclasses.replace(change, p_holm=corrected[name][n]) for name, change in d.scores.items()},
        )
        for n, d in enumerate(differences)
    ]


def _resample(
    rows: Sequence[Row], pairs: Mapping[tuple[int, int], Mask], metrics: MetricTable, config: EvaluationConfig
) -> Resampled:
    """Every row's scores on resamples of its own images and of those that it shares with another row.

    Rows that score the same images share their draws: each set of images is resampled
    once, for all rows that need it.
    """
    wanted: dict[bytes, tuple[Mask, set[int]]] = {}
    alone = [((number,), row.scored) for number, row in enumerate(rows)]
    for numbers, mask in [*alone, *pairs.items()]:
        wanted.setdefault(mask.tobytes(), (mask, set()))[1].update(numbers)
    resampled: dict[tuple[bytes, int], Mapping[str, Floats]] = {}
    for key, (mask, together) in wanted.items():
        parts = [rows[n].values if mask.all() else rows[n].values[mask] for n in together]
        values = np.hstack(parts) if len(parts) > 1 else parts[0]
        means = resampled_means(values, config.resamples, config.seed)
        for n, own in zip(together, np.split(means, len(together), axis=1)):
            resampled[key, n] = metrics.from_means(own)
    return resampled
