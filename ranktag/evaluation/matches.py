"""Where the tags that people listed stand in a prediction: what every metric is computed from.

Truth g_1..g_n (one person's list), prediction p_1..p_m. Only what is listed counts:
an unlisted tag, a missing place and the repeat of a predicted tag earn nothing, but
take up their place. What the tag at truth rank r earns, its gain, is by name

=======  ===============  =================================================
log      1 / log2(1 + r)  Hwang and Grauman's absolute rank (IJCV 2012)
linear   (n - r + 1) / n  falls evenly from 1 to 1/n
binary   1                any listed tag is as good as any other
=======  ===============  =================================================

An image's value is the mean over its people's lists. Empty lists have no value and
are left out; an image all of whose lists are empty is nan.

Letters: N images, L lists (all people's lists of all images, empty ones left out),
K hits (predicted tags that a list holds). Only numpy is imported: training computes
NDCG every epoch.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]

# Gain of the tags at ranks r (from 1) of lists of n tags, from r and n as float64 arrays of one shape.
GAINS: dict[str, Callable[[Floats, Floats], Floats]] = {
    "log": lambda rank, n: 1.0 / np.log2(1.0 + rank),
    "linear": lambda rank, n: (n - rank + 1.0) / n,
    "binary": lambda rank, n: np.ones_like(rank),
}


@dataclass(frozen=True)
class Matches:
    """Where each list's tags stand in the prediction for its image.

    images: N. gain: what a tag earns by its rank, a name in GAINS. image: (L,) the image
    a list belongs to. length: (L,) its number of tags, at least 1. hit_list, hit_rank,
    hit_place: (K,) one entry a hit, in order of list and rank: the list, the tag's rank
    in it and its place in the prediction, both from 1. predicted: (N,) different tags
    predicted, on average over what is predicted for an image.
    """

    images: int
    gain: str
    image: Ints
    length: Ints
    hit_list: Ints
    hit_rank: Ints
    hit_place: Ints
    predicted: Floats

    def people(self) -> Ints:
        """Lists that are not empty, (N,)."""
        return np.bincount(self.image, minlength=self.images)

    def within(self, k: int) -> Mask:
        """Which hits stand among the first k places, (K,). Raises ValueError if k < 1."""
        if k < 1:
            raise ValueError(f"k is {k}, expected at least 1")
        return self.hit_place <= k

    def gain_of(self, rank: Ints, length: Ints) -> Floats:
        """What the tags at these ranks of lists of these lengths earn; arrays of one shape."""
        return GAINS[self.gain](rank.astype(np.float64), length.astype(np.float64))

    def sum_hits(self, chosen: Mask, weights: Floats | None = None) -> Floats:
        """The chosen (K,) hits of each list, counted or weighted, (L,)."""
        return np.bincount(self.hit_list[chosen], weights, minlength=len(self.length)).astype(np.float64)

    def mean_over_people(self, values: Floats) -> Floats:
        """Values of the lists, (L,), to values of the images, (N,); nan without tags."""
        people = self.people()
        total = np.bincount(self.image, values, minlength=self.images)
        mean: Floats = np.divide(total, people, out=np.full(self.images, np.nan), where=people > 0)
        return mean


def match(
    truth: Sequence[Sequence[Sequence[Hashable]]], predicted: Sequence[Sequence[Hashable]], gain: str = "log"
) -> Matches:
    """Find the predicted tags in the lists.

    truth: for each of N images its people's lists, most important first. predicted:
    for each image its ranked tags (tags or their numbers, the same on both sides).
    gain: what a tag earns by its rank, a name in GAINS. Raises ValueError if the
    lengths differ.
    """
    return match_each(truth, [[tags] for tags in predicted], gain)


def match_each(
    truth: Sequence[Sequence[Sequence[Hashable]]],
    predicted: Sequence[Sequence[Sequence[Hashable]]],
    gain: str = "log",
) -> Matches:
    """``match`` where each list of an image may have a prediction of its own.

    predicted: for each image one ranked list, for all its people, or one for each of them.
    """
    if len(truth) != len(predicted):
        raise ValueError(f"{len(truth)} images in the truth, {len(predicted)} in the prediction")
    image: list[int] = []
    length: list[int] = []
    hits: list[tuple[int, int, int]] = []
    different: list[float] = []
    for number, (people, several) in enumerate(zip(truth, predicted)):
        found = [_places(tags) for tags in several]
        different.append(sum(map(len, found)) / len(found))
        for person, places in zip(people, found if len(found) > 1 else found * len(people), strict=True):
            ranked = dict.fromkeys(person)
            if not ranked:
                continue
            hits += [(len(length), rank, places[tag]) for rank, tag in enumerate(ranked, 1) if tag in places]
            image.append(number)
            length.append(len(ranked))
    table = np.array(hits, np.int64).reshape(-1, 3)
    return Matches(
        images=len(truth),
        gain=gain,
        image=np.array(image, np.int64),
        length=np.array(length, np.int64),
        hit_list=table[:, 0],
        hit_rank=table[:, 1],
        hit_place=table[:, 2],
        predicted=np.array(different, np.float64),
    )


def _places(tags: Sequence[Hashable]) -> dict[Hashable, int]:
    """Tag -> its first place in a prediction, from 1."""
    places: dict[Hashable, int] = {}
    for place, tag in enumerate(tags, 1):
        places.setdefault(tag, place)
    return places
