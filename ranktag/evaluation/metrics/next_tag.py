"""Next-tag accuracy: 1 where the first predicted tag is the one that the person wrote next."""

from __future__ import annotations

from ranktag.evaluation.metrics._metric import Metric
from ranktag.evaluation.metrics.first_tag import per_image

METRIC = Metric(
    "next tag",
    per_image,
    place=50,
    in_text=True,
    interval_in_text=True,
    on_page="scores",
    scores=("rest",),
    note="Next tag is the share of lists in which the first predicted tag is the one that the person wrote next.",
)
