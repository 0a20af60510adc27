"""The one table of metrics, and the columns that follow from it: every file, text and page iterates over these."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from ranktag import registry
from ranktag.evaluation.matches import Floats, Matches
from ranktag.evaluation.metrics._metric import Metric

FOLDER = "ranktag.evaluation.metrics"

# The score that says which row is best, by which images are chosen to be shown, and whose spread over seeds is printed.
LEADING = "ndcg@5"


@dataclass(frozen=True)
class Score:
    """A metric, at a cutoff if it has several: what a column of the tables shows. name: 'ndcg@5'; label: 'NDCG@5'."""

    name: str
    label: str
    metric: Metric
    k: int | None = None

    @property
    def short(self) -> bool:
        """Shown where there is little room."""
        return not self.metric.short or self.k in self.metric.short


@dataclass(frozen=True)
class MetricTable:
    """Metrics by name, in the order of their columns."""

    metrics: Mapping[str, Metric]

    @cached_property
    def scores(self) -> tuple[Score, ...]:
        """Every score, in the order of the tables."""
        return tuple(score for name in self.metrics for score in self.of(name))

    def of(self, name: str) -> tuple[Score, ...]:
        """The scores of one metric."""
        metric = self.metrics[name]
        if not metric.cutoffs:
            return (Score(name, metric.title, metric),)
        return tuple(Score(f"{name}@{k}", f"{metric.title}@{k}", metric, k) for k in metric.cutoffs)

    @cached_property
    def leading(self) -> Score:
        """The score LEADING."""
        return next(score for score in self.scores if score.name == LEADING)

    @cached_property
    def values(self) -> tuple[str, ...]:
        """What is known of each image, in the order of the tables: a score's own value, or the two parts of a ratio."""
        names: list[str] = []
        for score in self.scores:
            ratio = score.metric.ratio
            names += [score.name] if ratio is None else [ratio.numerator, ratio.denominator]
        return tuple(names)

    @cached_property
    def counts(self) -> tuple[str, ...]:
        """The values that are denominators: their sums are how many cases a ratio is of."""
        return tuple(metric.ratio.denominator for metric in self.metrics.values() if metric.ratio is not None)

    def per_image(self, matches: Matches) -> Floats:
        """What is known of each image, (N, len(values)); nan rows for images without tags."""
        columns: list[Floats] = []
        for score in self.scores:
            found = score.metric.per_image(*(matches, score.k) if score.k is not None else (matches,))
            columns += found if isinstance(found, tuple) else (found,)
        values: Floats = np.stack(columns, axis=1)
        values[matches.people() == 0] = np.nan
        return values

    def from_means(self, means: Floats) -> dict[str, Floats]:
        """Means of the values over images, (..., len(values)), to scores, (...); a ratio of nothing is nan."""
        column = {name: means[..., place] for place, name in enumerate(self.values)}
        found: dict[str, Floats] = {}
        for score in self.scores:
            ratio = score.metric.ratio
            if ratio is None:
                found[score.name] = column[score.name]
            else:
                part, whole = column[ratio.numerator], column[ratio.denominator]
                found[score.name] = np.divide(part, whole, out=np.full_like(part, np.nan), where=whole > 0)
        return found


def load_metrics(of: str = "whole") -> MetricTable:
    """The metrics in ``ranktag/evaluation/metrics``, by the names of their modules, of 'whole' lists or the 'rest'."""
    found: dict[str, Metric] = {
        name.replace("-", "_"): registry.load(FOLDER, name).METRIC for name in registry.names(FOLDER)
    }
    found = {name: metric for name, metric in found.items() if of in metric.scores}
    return MetricTable(dict(sorted(found.items(), key=lambda item: (item[1].place, item[0]))))
