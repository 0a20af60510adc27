"""How models go on with lists that people began: predictions by an image and the tags that are given.

CSV, ``image_id,given,rank,tag,probability,split``: as long predictions (see ``ranktag.tags.predictions``), with the
tags that the list begins with, joined by ``|``, beside the image. Two people who began alike share their rows. Where no
tag comes next, one row has empty rank, tag and probability.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from pathlib import Path

from ranktag.errors import RanktagError
from ranktag.files.tables import read_header, read_table, write_table
from ranktag.tags.lists import SEPARATOR, TagList, join_tags, unique_tags
from ranktag.tags.predictions import LONG, SPLIT, RankedTag, _from_rows, probability_cell, seen_split

GIVEN = "given"
HEADER = ("image_id", GIVEN, *LONG[1:], SPLIT)

# Image id -> the tags given -> (tag, probability) in order of rank.
Completed = dict[str, dict[TagList, list[RankedTag]]]


class Completions(Completed):
    """Completions of which it is known how the model saw each image.

    split: image id -> 'train', 'val' or 'test', or '' for an image that it never saw.
    """

    def __init__(self, completed: Mapping[str, dict[TagList, list[RankedTag]]], split: Mapping[str, str]) -> None:
        super().__init__(completed)
        self.split = split


def begun_with(tags: TagList, k: int) -> TagList | None:
    """The first ``k`` tags of a list that is longer, else None."""
    return tags[:k] if len(tags) > k else None


def write_completions(path: str | Path, completions: Completions) -> None:
    """Write completions in one piece. Raises RanktagError for a tag that holds ``|``."""
    write_table(path, HEADER, _rows(completions))


def _rows(completions: Completions) -> Iterator[tuple[str, ...]]:
    for image_id, several in completions.items():
        split = completions.split.get(image_id, "")
        for given, ranked in several.items():
            cell = join_tags(given)
            for rank, (tag, probability) in enumerate(ranked, 1):
                yield image_id, cell, str(rank), tag, probability_cell(probability), split
            if not ranked:
                yield image_id, cell, "", "", "", split


def holds_completions(path: str | Path) -> bool:
    """Whether a file says how lists go on, by its header."""
    header = read_header(Path(path))
    return "given" in header and "rank" in header


def read_completions(path: str | Path) -> Completions:
    """Read a file that ``write_completions`` wrote; rows may stand in any order.

    Raises RanktagError for a file without the column ``given``, and whatever ``read_predictions`` refuses.
    """
    path = Path(path)
    parts: dict[TagList, list[tuple[str, tuple[str, ...]]]] = {}
    for line, (image_id, given, *cells) in read_table(path, HEADER[:4], HEADER[4:]):
        parts.setdefault(unique_tags(given.split(SEPARATOR)), []).append((f"line {line}", (image_id, *cells)))
    return _collected(str(path), parts.items())


def _collected(source: str, parts: Iterable[tuple[TagList, list[tuple[str, tuple[str, ...]]]]]) -> Completions:
    completed: Completed = {}
    split: dict[str, str] = {}
    for given, rows in parts:
        if not given:
            raise RanktagError(f"{source}: {rows[0][0]}: no tag is given; such a row belongs in a file of predictions")
        read = _from_rows(source, partial(iter, rows), has_split=True)
        split.update(seen_split(read) or {})
        for image_id, ranked in read.items():
            completed.setdefault(image_id, {})[given] = ranked
    return Completions(completed, split)
