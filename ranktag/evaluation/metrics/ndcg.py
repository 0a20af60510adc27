"""NDCG@k: what the first k predicted tags earn, by rank in the truth and place in the prediction.

    sum over j <= min(k, m) of gain(p_j) / log2(1 + j)
    divided by the same sum for the truth itself, over j <= min(k, n)

(scikit-learn's ``ndcg_score`` also spreads credit over tied, unlisted tags: another measure.)
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import numpy as np

from ranktag.evaluation.matches import Floats, Matches, match
from ranktag.evaluation.metrics._metric import CUTOFFS, Metric


def ndcg(
    truth: Sequence[Sequence[Sequence[Hashable]]], predicted: Sequence[Sequence[Hashable]], k: int, gain: str = "log"
) -> Floats:
    """NDCG@k of each image, (N,) float64 (see ``ranktag.evaluation.matches.match`` for the arguments).

    Images without tags are nan. Raises ValueError if the lengths differ or k < 1.
    """
    return per_image(match(truth, predicted, gain), k)


def per_image(matches: Matches, k: int) -> Floats:
    """NDCG@k, (N,); nan without tags."""
    early = matches.within(k)
    gains = matches.gain_of(matches.hit_rank[early], matches.length[matches.hit_list[early]])
    earned = matches.sum_hits(early, gains / np.log2(1.0 + matches.hit_place[early]))
    return matches.mean_over_people(earned / _ideal(matches, k))


def _ideal(matches: Matches, k: int) -> Floats:
    """What the truth itself would earn in its first k places, (L,)."""
    lengths, inverse = np.unique(matches.length, return_inverse=True)
    best = np.empty(len(lengths))
    for i, n in enumerate(lengths):
        rank = np.arange(1, min(k, n) + 1)
        best[i] = np.sum(matches.gain_of(rank, np.full_like(rank, n)) / np.log2(1.0 + rank))
    ideal: Floats = best[inverse]
    return ideal


METRIC = Metric(
    "NDCG",
    per_image,
    place=10,
    cutoffs=CUTOFFS,
    short=(1, 3, 5),
    in_text=True,
    interval_in_text=True,
    on_page="scores",
    compared_on_page=True,
    note="NDCG@k is what the first k tags earn by standing where people put them, as a share of what the best order "
    "would earn: 1 is a person’s own list, 0 has nothing of it.",
)
