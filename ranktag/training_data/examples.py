"""The images of a split as a model takes them: features, and lists packed step by step."""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ranktag.compute.cross_entropy import NO_TARGET
from ranktag.compute.threads import side_by_side
from ranktag.tags.lists import TagList
from ranktag.tags.vocabulary import Vocabulary
from ranktag.training_data.join import Joined
from ranktag.training_data.people import writers_of

# Images at a time; and so many of their features, which stay near the processor while they are added up.
BLOCK, COLUMNS = 512, 256


class StoredRows:
    """Features (N, D) that stay on disk: (B,) numbers of rows are a tensor (B, D) as stored."""

    device = torch.device("cpu")

    def __init__(self, features: npt.NDArray[Any]) -> None:
        self._features = features
        self.shape = features.shape

    def __getitem__(self, rows: Tensor) -> Tensor:
        return torch.from_numpy(self._features[rows.numpy()])


def rows_of(features: Tensor | StoredRows, rows: Tensor) -> Tensor:
    """The features (B, D), as stored, in the given rows (B,)."""
    # Quicker than an index, by a third.
    return features.index_select(0, rows) if isinstance(features, Tensor) else features[rows]


class Examples:
    """The images of one split as a model takes them.

    features: (all rows of the cache, D) float16 or float32, in memory or on disk. row: (N,) each image's row.
    people: N images' lists of tags, also of tags that are not in the vocabulary. The L lists
    learned from are those that hold a known tag: ``image`` (L,) says whose and ``steps``
    (L,) their length with STOP. writers: of each image the numbers of those who wrote its lists; None where nobody is
    told apart.
    """

    def __init__(
        self,
        features: Tensor | StoredRows,
        row: Tensor,
        people: Sequence[Sequence[TagList]],
        known: Vocabulary,
        writers: Sequence[Sequence[int]] | None = None,
    ) -> None:
        self.features = features
        self.row = row.to(features.device)
        self.people = people
        self.known = known
        self.writers = writers
        vocabulary = len(known)
        # Numbers without an object each, of which a million lists would have several million.
        image, person, steps, flat = (array("q") for _ in range(4))
        for n, lists in enumerate(people):
            for m, tags in enumerate(lists):
                if numbers := known.encode(tags):
                    image.append(n)
                    steps.append(len(numbers) + 1)
                    # START and STOP share the number V, each in its own role: previous tags are a list's run of
                    # [START, tags, STOP] without its end, targets the same without its beginning.
                    flat.extend((vocabulary, *numbers, vocabulary))
                    if writers is not None:
                        person.append(writers[n][m])
        self.image, self.steps, self._flat = map(_tensor, (image, steps, flat))
        self._row_of_list = self.row[self.image.to(self.row.device)]
        self.person = None if writers is None else _tensor(person)
        self._offset = torch.cumsum(self.steps + 1, 0) - (self.steps + 1)

    @property
    def longest(self) -> int:
        """Tags in the longest list."""
        return int(self.steps.max()) - 1

    def ranked_tags(self) -> tuple[Tensor, Tensor, Tensor]:
        """Of every known tag in every list, list by list: the image's number, its rank from 1 and its number, int64."""
        lengths = self.steps - 1
        lists = torch.arange(len(lengths)).repeat_interleave(lengths)
        rank = torch.arange(len(lists)) - (torch.cumsum(lengths, 0) - lengths)[lists] + 1
        return self.image[lists], rank, self._flat[self._offset[lists] + rank]

    def blocks(self, size: int = BLOCK) -> Iterator[tuple[int, Tensor]]:
        """The images' features, (<= size, D) float32 at a time, with the number of the first."""
        for start in range(0, len(self.row), size):
            yield start, rows_of(self.features, self.row[start : start + size]).float()

    def asked(self, size: int) -> Iterator[tuple[Tensor, Tensor, Tensor | None]]:
        """What a model is asked for, at most ``size`` at a time: numbers of images, their features (float32), and the
        numbers of those whose lists are wanted. An image is asked for once, or once for every list whose writer is
        told apart from others."""
        image, person = torch.arange(len(self.row)), None
        if self.writers is not None:
            image = image.repeat_interleave(torch.tensor([len(several) for several in self.writers]))
            person = torch.tensor([number for several in self.writers for number in several])
        for part in torch.arange(len(image)).split(size):
            features = rows_of(self.features, self.row[image[part].to(self.row.device)]).float()
            yield image[part], features, None if person is None else person[part]

    def features_of(self, chosen: Tensor) -> Tensor:
        """The features (B, D), as stored and where they are, of the images of the given list numbers (B,).

        Numbers that are where the features are need not be waited for.
        """
        return rows_of(self.features, self._row_of_list[chosen.to(self.row.device)])

    def steps_of(self, chosen: Tensor) -> int:
        """How many steps the longest of the lists of the given numbers (B,) has, with STOP."""
        return int(self.steps[chosen].max())

    def table(self, device: torch.device) -> ListTable:
        """All lists, on a device."""
        person = None if self.person is None else self.person.to(device)
        return ListTable(self.steps.to(device), self._offset.to(device), self._flat.to(device), person, len(self.known))

    def pack(self, chosen: Tensor, device: torch.device | None = None, multiple: int = 1) -> tuple[Tensor, PackedLists]:
        """Features (B, D) and lists of the given list numbers (B,), packed step by step, the longest list first.

        device: where to; None is where the features are. multiple: so many lists, or a multiple of it, go through each
        step, some of them beyond their end: of those the target is NO_TARGET.
        """
        # By numpy: of so few numbers at a time a fraction of what torch's operations take.
        steps, flat = self.steps.numpy(), self._flat.numpy()
        lists = chosen.numpy()
        lists = lists[np.argsort(-steps[lists], kind="stable")]
        steps, offset = steps[lists], self._offset.numpy()[lists]
        reached = np.arange(steps[0])[:, None] < steps
        sizes = np.minimum(-(-reached.sum(1) // multiple) * multiple, len(lists)).tolist()
        counted = np.concatenate([reaches[:n] for reaches, n in zip(reached, sizes)])
        at = np.where(counted, np.concatenate([offset[:n] + t for t, n in enumerate(sizes)]), 0)
        previous, target = map(torch.from_numpy, (flat[at], np.where(counted, flat[at + 1], NO_TARGET)))
        longest_first = torch.from_numpy(lists)
        features = self.features_of(longest_first)
        device = device or features.device
        person = None if self.person is None else self.person[longest_first].to(device)
        return features.to(device), PackedLists(previous.to(device), target.to(device), sizes, person)


def _tensor(numbers: array[int]) -> Tensor:
    return torch.from_numpy(np.array(numbers, np.int64))


def examples(
    joined: Joined,
    chosen: Sequence[int],
    vocabulary: Vocabulary,
    features: Tensor | StoredRows,
    people: Sequence[str] = (),
) -> Examples:
    """Examples of the joined images of the given numbers. features: all rows of the cache. people: told apart."""
    lists = [joined.lists[n] for n in chosen]
    writers = writers_of(joined, chosen, people)
    return Examples(features, torch.from_numpy(joined.rows[chosen]), lists, vocabulary, writers)


def standardisation(training: Examples) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation (D,) float32 of the training features; one that never varies has scale 1."""
    features, width = training.features, training.features.shape[1]
    total = torch.zeros(width, dtype=torch.float64, device=features.device)
    squares = total.clone()
    # The last are taken with those before them: a few columns would be added in another order.
    firsts = range(0, max(1, width // COLUMNS) * COLUMNS, COLUMNS)

    def sums(rows: Tensor) -> tuple[Tensor, Tensor]:
        block, of_block, of_squares = rows_of(features, rows), [], []
        for first, last in zip(firsts, [*firsts[1:], width]):
            columns = block[:, first:last].float()
            of_block.append(columns.sum(0))
            of_squares.append(columns.square_().sum(0))
        return torch.cat(of_block), torch.cat(of_squares)

    blocks = training.row.split(BLOCK)
    # A block a thread: threads that share one wait for each other, on a busy machine ten times as long.
    on_processor = features.device.type == "cpu"
    each = side_by_side(sums, blocks, torch.get_num_threads()) if on_processor else map(sums, blocks)
    for of_block, of_squares in each:
        total += of_block
        squares += of_squares
    mean = total / len(training.row)
    scale = (squares / len(training.row) - mean.square()).clamp(min=0).sqrt()
    return mean.float(), torch.where(scale > 1e-6, scale, 1.0).float()


class PackedLists(NamedTuple):
    """B tag lists as next-tag predictions, packed step by step without padding (as in ``nn.utils.rnn.PackedSequence``).

    previous, target: (S,) input and expected output, int64: first of every list's step
    1, the longest list first, then of every step 2, ... sizes: how many lists go through each step. person: (B,) who
    wrote each list, the longest first; None where nobody is told apart.
    """

    previous: Tensor
    target: Tensor
    sizes: list[int]
    person: Tensor | None = None


class ListTable(NamedTuple):
    """All L lists on a device, from which batches of fixed shapes are taken there.

    steps, offset: (L,) each list's length with STOP, and where it begins in ``flat``, a run of [START, tags, STOP] a
    list. person: (L,) who wrote it, or None. stop: the number of STOP.
    """

    steps: Tensor
    offset: Tensor
    flat: Tensor
    person: Tensor | None
    stop: int

    def pad(self, chosen: Tensor, steps: int) -> PackedLists:
        """The lists of the given numbers (B,), each of so many steps: of those behind its end the target is
        NO_TARGET."""
        t = torch.arange(steps, device=chosen.device)[:, None]
        reached = (t < self.steps[chosen]).flatten()
        at = (self.offset[chosen] + t).clamp(max=len(self.flat) - 2).flatten()
        return PackedLists(
            torch.where(reached, self.flat[at], self.stop),
            torch.where(reached, self.flat[at + 1], NO_TARGET),
            [len(chosen)] * steps,
            None if self.person is None else self.person[chosen],
        )
