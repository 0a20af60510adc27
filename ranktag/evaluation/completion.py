"""Completion at K: every person's list longer than K is begun with its first K tags, and the rest is the truth.

A model's answer depends on the image and the tags given alone, so people who began alike share it. Whatever the
model, the same rests are scored; an image's value is the mean over its people, and lists that are not longer have none.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from ranktag.errors import Mismatch, Usage
from ranktag.tags.completions import Completions
from ranktag.tags.lists import TagList, TagLists, join_tags
from ranktag.tags.predictions import Predictions, PredictionsWithSplit, RankedTag


class CompletedLists(PredictionsWithSplit):
    """Predictions that differ from list to list.

    per_list: image id -> what is predicted for each of its lists, in order of the truth's lists; as a mapping it holds
    the first of them.
    """

    def __init__(self, per_list: Mapping[str, Sequence[list[RankedTag]]], split: Mapping[str, str]) -> None:
        super().__init__({image_id: several[0] for image_id, several in per_list.items()}, split)
        self.per_list = per_list

    def spelt(self, spell: Callable[[str], str]) -> CompletedLists:
        """The same with every tag as ``spell`` says."""
        per_list = {
            image_id: [[(spell(tag), p) for tag, p in ranked] for ranked in several]
            for image_id, several in self.per_list.items()
        }
        return CompletedLists(per_list, self.split)


class Read(NamedTuple):
    """What was read: label -> predictions, and label -> their files."""

    predictions: dict[str, list[Predictions]]
    files: dict[str, list[Path]]


def parted(
    read: Mapping[str, Sequence[Predictions]], files: Mapping[str, Sequence[Path]]
) -> tuple[Read, dict[int, Read]]:
    """Predictions of whole lists, and those that say how lists go on, by the number of tags given, the fewest first."""
    whole, begun = Read({}, {}), dict[int, Read]()
    for label, several in read.items():
        for one, file in zip(several, files[label]):
            k = _given(one)
            to = whole if k is None else begun.setdefault(k, Read({}, {}))
            to.predictions.setdefault(label, []).append(one)
            to.files.setdefault(label, []).append(file)
    return whole, dict(sorted(begun.items()))


def _given(read: object) -> int | None:
    """The most tags that are given of a list; None of whole lists."""
    if not isinstance(read, Completions):
        return None
    return max((len(given) for several in read.values() for given in several), default=1)


def ranked_lists(read: Predictions, image_id: str) -> Sequence[list[RankedTag]]:
    """What is predicted for each list of an image; one for all of them, unless they were begun."""
    return read.per_list[image_id] if isinstance(read, CompletedLists) else [read[image_id]]


def begin_lists(
    truth: TagLists, predictions: Mapping[str, Sequence[Predictions]], k: int
) -> tuple[TagLists, dict[str, list[Predictions]]]:
    """The rests of the lists after ``k`` tags, and what is predicted for each; images without such lists are left out.

    Raises RanktagError for predictions of whole lists or of some of an image's lists, and if no list is longer than k.
    """
    begun = {image_id: [tags for tags in people if len(tags) > k] for image_id, people in truth.lists.items()}
    begun = {image_id: people for image_id, people in begun.items() if people}
    if not begun:
        raise Usage(f"--given {k}: no list has more than {k} tags, so there is no rest to score; give fewer")
    rests = {image_id: [tags[k:] for tags in people] for image_id, people in begun.items()}
    split = None if truth.split is None else {image_id: truth.split[image_id] for image_id in begun}
    found = {label: [_of_lists(label, read, begun, k) for read in several] for label, several in predictions.items()}
    return TagLists(rests, split), found


def _of_lists(label: str, read: object, begun: Mapping[str, Sequence[TagList]], k: int) -> Predictions:
    if not isinstance(read, Completions):
        raise Usage(
            f"--given {k}: '{label}' holds whole lists, and not what comes next; write it with "
            f"'export-tags --given TAGS --given-first {k}'"
        )
    lengths = {len(given) for several in read.values() for given in several}
    if lengths - {k}:
        raise Usage(
            f"--given {k}: '{label}' was given {' or '.join(map(str, sorted(lengths)))} tags of each list; "
            f"write it with 'export-tags --given-first {k}'"
        )
    per_list = {}
    for image_id, people in begun.items():
        if image_id in read:
            lacking = next((tags[:k] for tags in people if tags[:k] not in read[image_id]), None)
            if lacking is not None:
                raise Mismatch(
                    f"'{label}' does not say what comes after {join_tags(lacking)} of '{image_id}', as a list in the "
                    "tag file begins; write it with that file: export-tags --given TAGS"
                )
            per_list[image_id] = [read[image_id][tags[:k]] for tags in people]
    unknown = {image_id: list(several.values())[:1] for image_id, several in read.items() if image_id not in begun}
    return CompletedLists(per_list | unknown, read.split)
