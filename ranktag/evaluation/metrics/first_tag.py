"""First-tag accuracy: 1 where p_1 = g_1."""

from __future__ import annotations

from ranktag.evaluation.matches import Floats, Matches
from ranktag.evaluation.metrics._metric import Metric


def per_image(matches: Matches) -> Floats:
    """1 where the first tag is the list's first tag, (N,); nan without tags."""
    return matches.mean_over_people(matches.sum_hits((matches.hit_place == 1) & (matches.hit_rank == 1)))


METRIC = Metric(
    "first tag",
    per_image,
    place=50,
    in_text=True,
    on_page="scores",
    scores=("whole",),
    note="First tag is the share of images whose first tag is the one that a person put first.",
)
