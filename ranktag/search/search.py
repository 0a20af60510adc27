"""Photos by what matters in them: a query and predictions in, ranked images out."""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from ranktag.config import SearchConfig
from ranktag.errors import NotFound, Usage
from ranktag.progress import Progress
from ranktag.search.index import TagIndex, open_index
from ranktag.search.query import Query, parse
from ranktag.search.relevance import relevance
from ranktag.tags.predictions import Predictions


class FoundTag(NamedTuple):
    """A tag of the query in an image's list. probability: None if it is not known."""

    tag: str
    rank: int
    probability: float | None


class FoundImage(NamedTuple):
    """An image that a search found, and the query's tags in its list, in the query's order."""

    image_id: str
    relevance: float
    tags: Sequence[FoundTag]


@dataclass(frozen=True)
class Found:
    """What a search found, the most relevant first; of equally relevant images the first in the file.

    images: (n,) numbers of the images in the index. relevance: (n,).
    """

    index: TagIndex
    query: Query
    images: npt.NDArray[np.int64]
    relevance: npt.NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.images)

    def first(self, count: int | None = None) -> Iterator[FoundImage]:
        """The first images, all for None."""
        listed = []
        for tag in self.query.wanted:
            number = self.index.numbers[tag]
            listed.append((self.index.tags[number], self.index.of_tag(number)))
        for image, relevant in zip(self.images[:count].tolist(), self.relevance[:count].tolist()):
            tags = []
            for tag, of_tag in listed:
                place = int(np.searchsorted(of_tag.images, image))
                probability = float(of_tag.probabilities[place])
                known = None if math.isnan(probability) else probability
                tags.append(FoundTag(tag, int(of_tag.ranks[place]), known))
            yield FoundImage(self.index.ids[image], relevant, tags)


def search(
    query: str,
    predictions: str | Path | Predictions,
    config: SearchConfig = SearchConfig(),
    progress: Progress | None = None,
) -> Found:
    """The images that list every wanted tag of the query and no unwanted one, by relevance.

    query: see ``ranktag.search.query``. predictions: a prediction file, or what would be read from
    one. A query of unwanted tags alone finds all other images, in the order of the file.

    Raises Usage for a query without tags, NotFound for a wanted tag that no image lists, and RanktagError
    for a file that cannot be read.
    """
    parsed = parse(query)
    if not (parsed.wanted or parsed.unwanted):
        raise Usage(f"query '{query}' names no tag; write tags with spaces between them, as in: dog beach -cat")
    index = (
        TagIndex.of(predictions)
        if not isinstance(predictions, (str, Path))
        else open_index(Path(predictions), progress)
    )
    for tag in parsed.wanted:
        if tag not in index.numbers:
            raise NotFound(f"no image lists the tag '{tag}'; {_instead(tag, index)}")
    return find(parsed, index, config.by)


def find(query: Query, index: TagIndex, by: str) -> Found:
    """The images that a query matches in an index, by relevance; none if a wanted tag is not known."""
    known = [index.numbers[tag] for tag in query.wanted if tag in index.numbers]
    lists = [index.of_tag(number) for number in known]
    held = np.zeros(len(index), np.int32)
    for listed in lists:
        held[listed.images] += 1
    matched = held == len(query.wanted)
    for tag in query.unwanted:
        if tag in index.numbers:
            matched[index.of_tag(index.numbers[tag]).images] = False
    images = np.flatnonzero(matched)
    parts = [(one.images, one.ranks, np.asarray(one.probabilities, np.float64)) for one in lists]
    relevant = relevance(parts, len(index), by)[images]
    order = np.argsort(-relevant, kind="stable")
    return Found(index, query, images[order], relevant[order])


def _instead(tag: str, index: TagIndex) -> str:
    """What may have been meant."""
    within = [name for name in index.numbers if tag in name.split()]
    close = within[:3] or difflib.get_close_matches(tag, index.numbers, n=3)
    if not close:
        return f"the most frequent are {', '.join(list(index.numbers)[:5])}" if index.numbers else "no image has tags"
    quoted = " or ".join(f'"{name}"' if " " in name else name for name in close)
    return f"did you mean {quoted}?"
