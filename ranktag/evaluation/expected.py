"""Which images are to be scored: those of the chosen split, or of every split that the predictions touch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from ranktag.config import EvaluationConfig
from ranktag.errors import RanktagError
from ranktag.evaluation.matches import Mask
from ranktag.tags.lists import TagList, TagLists
from ranktag.tags.predictions import Predictions
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

    splits: those they were taken from; () if the tag file has none. lists: image id ->
    its people's lists. known: every image id of the tag file, other splits' too.
    """

    splits: tuple[str, ...]
    lists: Mapping[str, Sequence[TagList]]
    known: AbstractSet[str]

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
    image_ids, splits = _in_splits(named, truth, config, tags)
    expected = Expected(splits, {image_id: truth.lists[image_id] for image_id in image_ids}, truth.lists.keys())
    if not expected.tagged.any():
        raise RanktagError(
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
                raise RanktagError(
                    f"{file}: none of its {len(read)} images is in {tags} ({examples}); the image ids must be the same"
                )
            named |= known
    return named


def _in_splits(
    named: set[str], truth: TagLists, config: EvaluationConfig, tags: Path
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Ids of the expected images, and the splits they are taken from."""
    split = truth.split
    if split is None:
        if config.split is not None:
            raise RanktagError(
                f"{tags}: has no column 'split', so --split {config.split} selects nothing; leave it out"
            )
        return tuple(i for i in truth.lists if i in named), ()
    chosen = {split[image_id] for image_id in named} if config.split is None else {config.split}
    image_ids = tuple(i for i in truth.lists if split[i] in chosen)
    if not image_ids:
        raise RanktagError(
            f"{tags}: has no image in split '{config.split}'; there are {', '.join(sorted(set(split.values())))}"
        )
    return image_ids, tuple(name for name in SPLITS if name in chosen)


def training_tags(truth: TagLists, splits: Sequence[str]) -> set[str] | None:
    """Tags of the training lists; None if the file has none, or if they are what is scored."""
    if truth.split is None or "train" in splits or "train" not in truth.split.values():
        return None
    return {
        tag for i, people in truth.lists.items() if truth.split[i] == "train" for person in people for tag in person
    }
