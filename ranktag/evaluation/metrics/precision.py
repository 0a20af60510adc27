"""P@k: hits among the first k predicted tags / k."""

from __future__ import annotations

from ranktag.evaluation.matches import Floats, Matches
from ranktag.evaluation.metrics._metric import CUTOFFS, Metric


def per_image(matches: Matches, k: int) -> Floats:
    """P@k, (N,); nan without tags."""
    return matches.mean_over_people(matches.sum_hits(matches.within(k)) / k)


METRIC = Metric(
    "precision",
    per_image,
    place=20,
    cutoffs=CUTOFFS,
    note="Precision@k is the share of the first k tags that a person listed; unused places count as wrong.",
)
