"""How good ranked tags are: list-based metrics of one image's prediction against its people's lists.

Truth g_1..g_n (one person's list), prediction p_1..p_m. Only what is listed counts:
an unlisted tag, a missing place and the repeat of a predicted tag earn nothing, but
take up their place. With gain(tag at truth rank r), by name

=======  ===============  =================================================
log      1 / log2(1 + r)  Hwang and Grauman's absolute rank (IJCV 2012)
linear   (n - r + 1) / n  falls evenly from 1 to 1/n
binary   1                any listed tag is as good as any other
=======  ===============  =================================================

    NDCG@k = sum over j <= min(k, m) of gain(p_j) / log2(1 + j)
             divided by the same sum for the truth itself, over j <= min(k, n)
    P@k = hits among p_1..p_k / k     R@k = the same hits / n     F1@k = 2 P R / (P + R)
    first tag = 1 where p_1 = g_1
    order = share of pairs of truth tags, both predicted, that the prediction puts in the truth's order

An image's value is the mean over its people's lists. Empty lists have no value and
are left out; an image all of whose lists are empty is nan. (scikit-learn's
``ndcg_score`` also spreads credit over tied, unlisted tags: another measure.)

Letters: N images, L lists (all people's lists of all images, empty ones left out),
K hits (predicted tags that a list holds). Only numpy is imported: training calls
``ndcg`` every epoch.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


Ints = npt.NDArray[np.int64]


GAINS: dict[str, Callable[[Floats, Floats], Floats]] = {
    "log": lambda rank, n: 1.0 / np.log2(1.0 + rank),
    "linear": lambda rank, n: (n - rank + 1.0) / n,
    "binary": lambda rank, n: np.ones_like(rank),
}


def ndcg(
    truth: Sequence[Sequence[Sequence[Hashable]]], predicted: Sequence[Sequence[Hashable]], k: int, gain: str = "log"
) -> Floats:
    """NDCG@k of each image, (N,) float64.

    truth: for each of N images its people's lists, most important first. predicted:
    for each image its ranked tags (tags or their numbers, the same on both sides).
    Images without tags are nan. Raises ValueError if the lengths differ or k < 1.
    """
    return match(truth, predicted).ndcg(k, gain)


@dataclass(frozen=True)
class Matches:
    """Where each list's tags stand in the prediction for its image.

    images: N. image: (L,) the image a list belongs to. length: (L,) its number of
    tags, at least 1. hit_list, hit_rank, hit_place: (K,) one entry a hit, in order of list and
    rank: the list, the tag's rank in it and its place in the prediction, both from 1.
    predicted: (N,) different tags predicted.
    """

    images: int
    image: Ints
    length: Ints
    hit_list: Ints
    hit_rank: Ints
    hit_place: Ints
    predicted: Ints

    def people(self) -> Ints:
        """Lists that are not empty, (N,)."""
        return np.bincount(self.image, minlength=self.images)

    def truth_length(self) -> Floats:
        """Mean number of tags over people, (N,); nan without tags."""
        return self._mean_over_people(self.length.astype(np.float64))

    def ndcg(self, k: int, gain: str = "log") -> Floats:
        """NDCG@k, (N,); nan without tags."""
        early = self._first(k)
        gains = GAINS[gain](
            self.hit_rank[early].astype(np.float64), self.length[self.hit_list[early]].astype(np.float64)
        )
        return self._mean_over_people(
            self._sum(early, gains / np.log2(1.0 + self.hit_place[early])) / self._ideal(k, gain)
        )

    def precision(self, k: int) -> Floats:
        """P@k, (N,); nan without tags."""
        return self._mean_over_people(self._sum(self._first(k)) / k)

    def recall(self, k: int) -> Floats:
        """R@k, (N,); nan without tags."""
        return self._mean_over_people(self._sum(self._first(k)) / self.length)

    def f1(self, k: int) -> Floats:
        """F1@k, (N,): 2 PR / (P + R) = 2 hits / (k + n) for each list; nan without tags."""
        return self._mean_over_people(2.0 * self._sum(self._first(k)) / (k + self.length))

    def first_tag(self) -> Floats:
        """1 where the first tag is the list's first tag, (N,); nan without tags."""
        return self._mean_over_people(self._sum((self.hit_place == 1) & (self.hit_rank == 1)))

    def order(self) -> tuple[Ints, Ints]:
        """Pairs in the truth's order, and all pairs, summed over an image's people: (N,) and (N,)."""
        right, pairs = np.zeros(self.images, np.int64), np.zeros(self.images, np.int64)
        # Hits of a list follow one another by rank: compare each with the one that is `step` further on.
        for step in range(1, len(self.hit_list)):
            same = np.flatnonzero(self.hit_list[step:] == self.hit_list[:-step])
            if not len(same):
                break
            image = self.image[self.hit_list[same]]
            pairs += np.bincount(image, minlength=self.images)
            right += np.bincount(image[self.hit_place[same] < self.hit_place[same + step]], minlength=self.images)
        return right, pairs

    def _first(self, k: int) -> npt.NDArray[np.bool_]:
        if k < 1:
            raise ValueError(f"k is {k}, expected at least 1")
        return self.hit_place <= k

    def _sum(self, chosen: npt.NDArray[np.bool_], weights: Floats | None = None) -> Floats:
        """The chosen hits of each list, counted or weighted, (L,)."""
        return np.bincount(self.hit_list[chosen], weights, minlength=len(self.length)).astype(np.float64)

    def _mean_over_people(self, values: Floats) -> Floats:
        people = self.people()
        total = np.bincount(self.image, values, minlength=self.images)
        return np.divide(total, people, out=np.full(self.images, np.nan), where=people > 0)

    def _ideal(self, k: int, gain: str) -> Floats:
        """What the truth itself would earn in its first k places, (L,)."""
        lengths, inverse = np.unique(self.length, return_inverse=True)
        best = np.empty(len(lengths))
        for i, n in enumerate(lengths):
            rank = np.arange(1.0, min(k, n) + 1.0)
            best[i] = np.sum(GAINS[gain](rank, np.full_like(rank, n)) / np.log2(1.0 + rank))
        return best[inverse]


def match(truth: Sequence[Sequence[Sequence[Hashable]]], predicted: Sequence[Sequence[Hashable]]) -> Matches:
    """Find the predicted tags in the lists (see ``ndcg`` for the arguments)."""
    if len(truth) != len(predicted):
        raise ValueError(f"{len(truth)} images in the truth, {len(predicted)} in the prediction")
    image: list[int] = []
    length: list[int] = []
    hits: list[tuple[int, int, int]] = []
    different: list[int] = []
    for number, (people, tags) in enumerate(zip(truth, predicted)):
        places: dict[Hashable, int] = {}
        for place, tag in enumerate(tags, 1):
            places.setdefault(tag, place)
        different.append(len(places))
        for person in people:
            ranked = dict.fromkeys(person)
            if not ranked:
                continue
            hits += [(len(length), rank, places[tag]) for rank, tag in enumerate(ranked, 1) if tag in places]
            image.append(number)
            length.append(len(ranked))
    table = np.array(hits, np.int64).reshape(-1, 3)
    return Matches(
        images=len(truth),
        image=np.array(image, np.int64),
        length=np.array(length, np.int64),
        hit_list=table[:, 0],
        hit_rank=table[:, 1],
        hit_place=table[:, 2],
        predicted=np.array(different, np.int64),
    )
