"""R@k: hits among the first k predicted tags / n, the truth's length."""

from __future__ import annotations

from ranktag.evaluation.matches import Floats, Matches
from ranktag.evaluation.metrics._metric import CUTOFFS, Metric


def per_image(matches: Matches, k: int) -> Floats:
    """R@k, (N,); nan without tags."""
    return matches.mean_over_people(matches.sum_hits(matches.within(k)) / matches.length)


METRIC = Metric(
    "recall",
    per_image,
    place=30,
    cutoffs=CUTOFFS,
    note="Recall@k is the share of a person’s tags that are among the first k.",
)
