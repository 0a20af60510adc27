"""Which images are to be scored: those of the chosen split, by default test.

The split is the tag file's. Where it has none, it is what the predictions themselves say (their
column ``split``): an image that any model was trained on is 'train', one that any was stopped or
tuned by is 'val', and one that none of them saw counts as 'test'.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from ranktag.config import EvaluationConfig
from ranktag.errors import Mismatch, RanktagError
from ranktag.evaluation.matches import Mask
from ranktag.tags.lists import TagList, TagLists
from ranktag.tags.matching import what_would_join
from ranktag.tags.predictions import Predictions, seen_split
from ranktag.tags.splits import SPLITS


@dataclass(frozen=True)
class Entry:
    """What is compared as one row: the predictions of one file, or of several, one a seed."""

    label: str
    files: tuple[Path, ...]
    predictions: tuple[Predictions, ...]


@dataclass(frozen=True)
class Expected:
    """The images to score, in the tag file's order.

    splits: those they were taken from; () if nobody knows of any. told_by: who said so, 'tags' or
    'predictions'. lists: image id -> its people's lists. known: every image id of the tag file,
    other splits' too. split: image id -> split, as told.
    """

    splits: tuple[str, ...]
    told_by: str
    lists: Mapping[str, Sequence[TagList]]
    known: AbstractSet[str]
    split: Mapping[str, str]

    @cached_property
    def image_ids(self) -> tuple[str, ...]:
        """The ids of the images, (N,)."""
        return tuple(self.lists)

    @cached_property
    def tagged(self) -> Mask:
        """Which images have tags, (N,) bool."""
        return np.array([any(people) for people in self.lists.values()], bool)


def expected_images(entries: Sequence[Entry], truth: TagLists, config: EvaluationConfig, tags: Path) -> Expected:
    """The images to score (see ``ranktag.evaluation.compare``).

    Raises RanktagError for predictions of none of the tag file's images, a split that it does
    not have, and images without tags alone. tags: the tag file, to be named.
    """
    named = _named(entries, truth, tags)
    split, told_by = _told(entries, named, truth)
    image_ids, splits = _in_splits(named, truth, split, told_by, config, tags)
    lists = {image_id: truth.lists[image_id] for image_id in image_ids}
    expected = Expected(splits, told_by, lists, truth.lists.keys(), split)
    if not expected.tagged.any():
        raise Mismatch(
            f"{tags}: none of the {len(image_ids)} images to score has tags; is it the right file, or --split?"
        )
    return expected


def _named(entries: Sequence[Entry], truth: TagLists, tags: Path) -> set[str]:
    """The images of the tag file that the predictions hold."""
    named: set[str] = set()
    for entry in entries:
        for file, read in zip(entry.files, entry.predictions):
            known = truth.lists.keys() & read.keys()
            if not known:
                examples = "it has no rows"
                if read:
                    examples = f"'{next(iter(read), '')}' here, '{next(iter(truth.lists))}' there"
                hint = what_would_join(list(truth.lists), read, str(tags))
                raise Mismatch(
                    f"{file}: none of its {len(read)} images is in {tags} ({examples}); "
                    + (hint or "the image ids must be the same")
                )
            named |= known
    return named


def _told(entries: Sequence[Entry], named: set[str], truth: TagLists) -> tuple[Mapping[str, str], str]:
    """Image id -> split, and who said so: the tag file, else the predictions; ({}, '') if neither does."""
    if truth.split is not None:
        return truth.split, "tags"
    seen = [split for entry in entries for read in entry.predictions if (split := seen_split(read)) is not None]
    if not seen:
        return {}, ""
    # Of several models' splits the one counts that they knew most of.
    return {i: min((split.get(i) or "test" for split in seen), key=SPLITS.index) for i in named}, "predictions"


def _in_splits(
    named: set[str], truth: TagLists, split: Mapping[str, str], told_by: str, config: EvaluationConfig, tags: Path
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Ids of the expected images, and the splits they are taken from."""
    if not told_by:
        if config.split not in (None, "all"):
            raise RanktagError(
                f"{tags}: has no column 'split', and neither have the predictions, so --split {config.split} "
                "selects nothing; leave it out"
            )
        return tuple(i for i in truth.lists if i in named), ()
    touched = {split[image_id] for image_id in named}
    chosen = touched if config.split == "all" else {config.split or _default(touched, tags)}
    image_ids = tuple(i for i in truth.lists if split.get(i) in chosen)
    if not image_ids:
        there = ", ".join(sorted(set(split.values())))
        raise RanktagError(
            f"{tags}: has no image in split '{config.split}'; there are {there}"
            if told_by == "tags"
            else f"no image of {tags} was in split '{config.split}' when the models were trained; there are {there}"
        )
    return image_ids, tuple(name for name in SPLITS if name in chosen)


def _default(touched: AbstractSet[str], tags: Path) -> str:
    """The split that is scored where none is named: test, or the single one that the predictions hold images of."""
    if "test" in touched:
        return "test"
    if len(touched) == 1:
        return next(iter(touched))
    names = [name for name in SPLITS if name in touched]
    raise RanktagError(
        f"{tags}: no prediction file holds a test image, they hold {' and '.join(names)}; "
        f"name one, as in --split {names[-1]}, or take all with --split all"
    )


def training_tags(truth: TagLists, splits: Sequence[str]) -> set[str] | None:
    """Tags of the training lists; None if the file has none, or if they are what is scored."""
    if truth.split is None or "train" in splits or "train" not in truth.split.values():
        return None
    return {
        tag for i, people in truth.lists.items() if truth.split[i] == "train" for person in people for tag in person
    }
