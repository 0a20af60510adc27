"""Which tags stand in one list: how much likelier a tag is in lists that hold another.

    lift(a, b) = (c_ab + s) / (c_a c_b / L + s)

c_a: lists that hold tag a, c_ab: both a and b, of L training lists, of which the first MOST_TAGS tags count: pairs
grow with the square of a list. s, a count added to both sides, keeps rare pairs
near 1. A list that begins with the tags G changes a baseline's gain of tag a to

    gain(a) x product over g in G of lift(a, g)^w

and its presence alike; w is chosen on the validation lists.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from ranktag.training_data.examples import Examples

SMOOTHING = 1.0
# Tried on the validation images; the best is kept.
WEIGHTS = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.8, 1.0, 1.25, 1.5)
# Lists are begun with so many of their tags.
GIVEN = (1, 2)
# More validation images than that cost time and tell no more.
MOST_IMAGES = 1000
MOST_TAGS = 64
LISTS_AT_ONCE = 5000


class CoOccurrence(nn.Module):
    """The counts behind the lift, with only the pairs that occur.

    Buffers: ``lists`` (), L; ``count`` (V), c_a; ``end`` (V) where the pairs of each tag end in ``other``, ``pairs``
    (M): the tags beside it and c_ab.
    """

    lists: Tensor
    count: Tensor
    end: Tensor
    other: Tensor
    pairs: Tensor

    def __init__(self, vocabulary: int, pairs: int) -> None:
        super().__init__()
        self.register_buffer("lists", torch.zeros((), dtype=torch.int64))
        self.register_buffer("count", torch.zeros(vocabulary, dtype=torch.int64))
        self.register_buffer("end", torch.zeros(vocabulary, dtype=torch.int64))
        self.register_buffer("other", torch.zeros(pairs, dtype=torch.int32))
        self.register_buffer("pairs", torch.zeros(pairs, dtype=torch.int32))

    @classmethod
    def of(cls, lists: Sequence[Sequence[int]], vocabulary: int) -> CoOccurrence:
        """The counts in lists of tag numbers, each tag once in a list."""
        lists = [numbers[:MOST_TAGS] for numbers in lists]
        codes, counts = np.zeros(0, np.int64), np.zeros(0, np.int64)
        for start in range(0, len(lists), LISTS_AT_ONCE):
            part = [np.array(numbers, np.int64) for numbers in lists[start : start + LISTS_AT_ONCE]]
            here = [(tags[:, None] * vocabulary + tags)[~np.eye(len(tags), dtype=bool)] for tags in part]
            new, times = np.unique(np.concatenate(here), return_counts=True)
            codes, place = np.unique(np.concatenate([codes, new]), return_inverse=True)
            counts = np.bincount(place, np.concatenate([counts, times])).astype(np.int64)
        found = cls(vocabulary, len(codes))
        found.lists += len(lists)
        flat = np.array([tag for numbers in lists for tag in numbers], np.int64)
        found.count = torch.from_numpy(np.bincount(flat, minlength=vocabulary))
        found.end = torch.from_numpy(np.cumsum(np.bincount(codes // vocabulary, minlength=vocabulary)))
        found.other = torch.from_numpy((codes % vocabulary).astype(np.int32))
        found.pairs = torch.from_numpy(counts.astype(np.int32))
        return found

    def log_lift(self, given: Tensor) -> Tensor:
        """Sum over the given tags g (N, P), V or -1 for none, of log lift(a, g), for every tag a: (N, V) float32."""
        v = len(self.count)
        tags, place = torch.where(given < 0, v, given).unique(return_inverse=True)
        total = torch.zeros((len(given), v), device=given.device)
        # A tag at a time: the rows of all of them might be a table of tags by tags.
        for number, tag in enumerate(tags.tolist()):
            if tag < v:
                total[(place == number).any(dim=1)] += self._row(tag)
        return total

    def _row(self, tag: int) -> Tensor:
        """log lift(a, tag) of every tag a, (V,)."""
        both = torch.zeros(len(self.count), device=self.count.device)
        part = slice(int(self.end[tag - 1]) if tag else 0, int(self.end[tag]))
        both[self.other[part].long()] = self.pairs[part].float()
        expected = self.count.float() * (float(self.count[tag]) / max(1, int(self.lists)))
        return ((both + SMOOTHING) / (expected + SMOOTHING)).log()


def begun_lists(examples: Examples, images: int) -> tuple[Tensor, Tensor, list[list[int]]]:
    """Every known list of the first ``images``, begun with its first one and two tags, where there are more.

    Returns the image of each (M,), the given tags (M, 2), padded by -1, and the rests.
    """
    image: list[int] = []
    given: list[list[int]] = []
    rests: list[list[int]] = []
    for n, people in enumerate(examples.people[:images]):
        for tags in people:
            numbers = examples.known.encode(tags)
            for k in GIVEN:
                if len(numbers) > k:
                    image.append(n)
                    given.append([*numbers[:k], *[-1] * (max(GIVEN) - k)])
                    rests.append(numbers[k:])
    return torch.tensor(image, dtype=torch.int64), torch.tensor(given, dtype=torch.int64).reshape(-1, max(GIVEN)), rests
