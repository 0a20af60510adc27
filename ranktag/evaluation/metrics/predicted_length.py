"""How many different tags are predicted."""

from __future__ import annotations

import numpy as np

from ranktag.evaluation.matches import Floats, Matches
from ranktag.evaluation.metrics._metric import Metric


def per_image(matches: Matches) -> Floats:
    """Different tags predicted, (N,)."""
    return matches.predicted.astype(np.float64)


METRIC = Metric(
    "tags",
    per_image,
    place=70,
    in_text=True,
    on_page="scores",
    beside="truth_length",
    digits=1,
    note="Tags is how many are predicted for an image; below it, how many people gave.",
)
