"""The tags a model can say, and their numbers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

from ranktag.errors import RanktagError


@dataclass(frozen=True)
class Vocabulary:
    """V tags numbered 0..V-1.

    STOP is output V of the softmax and START is row V of the embedding table: they
    are numbers beside the tags, so a tag may itself be called START or STOP.
    """

    tags: tuple[str, ...]

    def __post_init__(self) -> None:
        if len(set(self.tags)) != len(self.tags):
            raise RanktagError("the vocabulary names a tag twice")

    def __len__(self) -> int:
        return len(self.tags)

    @property
    def stop(self) -> int:
        """Output number of STOP."""
        return len(self.tags)

    @property
    def start(self) -> int:
        """Embedding row of START."""
        return len(self.tags)

    @cached_property
    def _number(self) -> dict[str, int]:
        return {tag: number for number, tag in enumerate(self.tags)}

    def encode(self, tags: Iterable[str]) -> list[int]:
        """Numbers of the tags that are in the vocabulary, in order; the others are left out."""
        return [self._number[tag] for tag in tags if tag in self._number]

    def decode(self, numbers: Iterable[int]) -> tuple[str, ...]:
        """Tags of the given numbers."""
        return tuple(self.tags[number] for number in numbers)

    @classmethod
    def from_lists(cls, lists: Iterable[Sequence[str]], min_count: int = 1) -> Vocabulary:
        """Tags that stand in at least ``min_count`` lists, the most frequent first, equal ones in alphabetical order.

        Raises RanktagError if no tag is frequent enough.
        """
        counts = Counter(tag for tags in lists for tag in set(tags))
        kept = sorted((tag for tag, count in counts.items() if count >= min_count), key=lambda tag: (-counts[tag], tag))
        if not kept:
            raise RanktagError(
                f"no tag stands in at least {min_count} training lists (--min-count); there are {len(counts)} tags"
            )
        return cls(tuple(kept))
