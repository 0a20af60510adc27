"""F1@k: the harmonic mean of P@k and R@k, 2 P R / (P + R) = 2 hits / (k + n) for each list."""

from __future__ import annotations

from ranktag.evaluation.matches import Floats, Matches
from ranktag.evaluation.metrics._metric import CUTOFFS, Metric


def per_image(matches: Matches, k: int) -> Floats:
    """F1@k, (N,); nan without tags."""
    return matches.mean_over_people(2.0 * matches.sum_hits(matches.within(k)) / (k + matches.length))


METRIC = Metric(
    "F1",
    per_image,
    place=40,
    cutoffs=CUTOFFS,
    note="F1@k is the harmonic mean of the two: it is high only where both are.",
)
