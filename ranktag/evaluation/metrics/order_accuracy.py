"""Order accuracy: share of pairs of truth tags, both predicted, that the prediction puts in the truth's order.

The pairs of all people's lists of all images are pooled.
"""

from __future__ import annotations

import numpy as np

from ranktag.evaluation.matches import Floats, Matches
from ranktag.evaluation.metrics._metric import Metric, Ratio


def per_image(matches: Matches) -> tuple[Floats, Floats]:
    """Pairs in the truth's order, and all pairs, summed over an image's people: (N,) and (N,)."""
    right, pairs = np.zeros(matches.images), np.zeros(matches.images)
    # Hits of a list follow one another by rank: compare each with the one that is `step` further on.
    for step in range(1, len(matches.hit_list)):
        same = np.flatnonzero(matches.hit_list[step:] == matches.hit_list[:-step])
        if not len(same):
            break
        image = matches.image[matches.hit_list[same]]
        in_order = matches.hit_place[same] < matches.hit_place[same + step]
        pairs += np.bincount(image, minlength=matches.images)
        right += np.bincount(image[in_order], minlength=matches.images)
    return right, pairs


METRIC = Metric(
    "order",
    per_image,
    place=60,
    ratio=Ratio("order_right", "order_pairs", unit="pairs"),
    in_text=True,
    on_page="scores",
    compared_on_page=True,
    note="Order is the share of pairs of truth tags, both predicted, that stand in the truth’s order; by chance it is "
    "0.5.",
)
