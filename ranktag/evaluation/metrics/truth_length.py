"""How many tags people list."""

from __future__ import annotations

import numpy as np

from ranktag.evaluation.matches import Floats, Matches
from ranktag.evaluation.metrics._metric import Metric


def per_image(matches: Matches) -> Floats:
    """Mean number of tags over people, (N,); nan without tags."""
    return matches.mean_over_people(matches.length.astype(np.float64))


METRIC = Metric("truth", per_image, place=80, on_page="", digits=1)
