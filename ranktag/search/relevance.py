"""How relevant an image is to a query, from its ranked tags: the one definition.

``ranktag search``, the page of ``ranktag browse`` (in its script, with the numbers of ``gains``) and
everything that scores a search use it.

For the tags t of the query, of which the image's list holds t at rank r_t with probability p_t:

    importance:  sum_t  p_t / log2(1 + r_t)
    presence:    sum_t  p_t

A tag that is not in the list adds nothing. What people's lists give to a query is the sum of the
gains 1/log2(1 + r) of its tags (Hwang and Grauman's absolute rank), and by the linearity of
expectation the first sum is what a person is expected to give: P(tag in the list) times the gain
of its place. An unknown probability counts as 1: then the places alone decide.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

IMPORTANCE, PRESENCE = "importance", "presence"

Numbers = npt.NDArray[np.float64]


def gains(longest: int) -> Numbers:
    """(longest,) what the ranks 1, 2, ... weigh by importance: 1/log2(1 + rank)."""
    return np.asarray(1.0 / np.log2(1.0 + np.arange(1, longest + 1)), np.float64)


def tag_relevance(ranks: npt.NDArray[np.integer], probabilities: npt.NDArray[np.floating], by: str) -> Numbers:
    """What a single tag adds to the relevance of images that list it.

    ranks: (N,) from 1. probabilities: (N,), nan where unknown. by: 'importance' or 'presence'.
    """
    known = np.where(np.isnan(probabilities), 1.0, np.asarray(probabilities, np.float64))
    if by == PRESENCE:
        return known
    if by != IMPORTANCE:
        raise ValueError(f"by: '{by}' is neither '{IMPORTANCE}' nor '{PRESENCE}'")
    weights = gains(int(ranks.max())) if len(ranks) else gains(0)
    return np.asarray(known * weights[ranks - 1])


def relevance(
    held: Iterable[tuple[npt.NDArray[np.integer], npt.NDArray[np.integer], Numbers]], images: int, by: str
) -> Numbers:
    """(images,) relevance of every image to a query.

    held: for each tag of the query the numbers, the ranks and the probabilities of the images that
    list it. They are added in this order, so that the sum is the same to the bit wherever it is made.
    """
    total = np.zeros(images)
    for numbers, ranks, probabilities in held:
        total[numbers] += tag_relevance(ranks, probabilities, by)
    return total
