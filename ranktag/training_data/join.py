"""A feature cache and tag lists, joined by image id."""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias, Union

import numpy as np

from ranktag.errors import RanktagError
from ranktag.feature_cache.store import FeatureStore
from ranktag.feature_cache.together import Caches, open_together
from ranktag.files.digest import sha256_file
from ranktag.tags.lists import TagList, TagLists, read_tag_lists, write_tag_lists
from ranktag.tags.splits import SPLITS, assign_splits
from ranktag.tags.unicode_forms import other_forms, said

if TYPE_CHECKING:
    import pandas as pd

# A tag-list file, or the lists themselves.
Tags: TypeAlias = Union[Path, str, TagLists, "pd.DataFrame"]


@dataclass(frozen=True)
class Joined:
    """A cache and tag lists, joined by image id.

    rows: (N,) the cache's row of each image that has a feature. image_ids, lists: N ids and people's lists. split: id
    -> split, also of images that have no feature. tags_name, tags_sha256: the tag file and its digest. notes: one
    sentence for everything that was left out.
    """

    store: FeatureStore
    image_ids: Sequence[str]
    rows: np.ndarray
    lists: Sequence[Sequence[TagList]]
    split: dict[str, str]
    made_split: bool
    tags_name: str
    tags_sha256: str
    notes: Sequence[str]

    @cached_property
    def parts(self) -> dict[str, list[int]]:
        """Split -> numbers of its images that somebody tagged."""
        parts: dict[str, list[int]] = {split: [] for split in SPLITS}
        for number, (image_id, people) in enumerate(zip(self.image_ids, self.lists)):
            if any(people):
                parts[self.split[image_id]].append(number)
        return parts

    def counts(self) -> dict[str, int]:
        """Split -> its number of tagged images."""
        return {split: len(numbers) for split, numbers in self.parts.items()}


def join(cache: Caches, tags: Tags, seed: int) -> Joined:
    """Join a cache and tag lists; where they have no split, one is made from ``seed``.

    Ids that differ in Unicode's form only are joined; they are the cache's from then on.

    Raises RanktagError for files that cannot be read, and if no id is in both.
    """
    store = open_together(cache)
    tag_lists, name, digest = _read(tags)
    forms = other_forms(tag_lists.lists, set(store.image_id), name)
    tag_lists = tag_lists.renamed(forms)
    row_of = store.row_of()
    image_ids = [i for i in tag_lists.lists if i in row_of]
    notes = [*([said(forms)] if forms else []), *_left_out(store, tag_lists, row_of)]
    if not image_ids:
        there, asked = next(iter(store.image_id), "none"), next(iter(tag_lists.lists))
        raise RanktagError(
            f"{name}: none of its image ids has a feature in {store.path} (ids there: '{there}', here: '{asked}'); "
            "write the ids alike, as with 'ranktag prepare csv --prefix'"
        )
    made = tag_lists.split is None
    split = assign_splits(image_ids, seed) if tag_lists.split is None else dict(tag_lists.split)
    if made:
        counts = Counter(split.values())
        notes.append(f"no split column: {', '.join(f'{counts[s]} {s}' for s in SPLITS)} (seed {seed})")
    return Joined(
        store,
        image_ids,
        np.array([row_of[i] for i in image_ids]),
        [tag_lists.lists[i] for i in image_ids],
        split,
        made,
        name,
        digest,
        notes,
    )


def _read(tags: Tags) -> tuple[TagLists, str, str]:
    """The lists, a name for them, and their digest: that of the file they were read from or would be written to."""
    if isinstance(tags, (Path, str)):
        return read_tag_lists(Path(tags)), str(tags), sha256_file(Path(tags))
    lists = tags if isinstance(tags, TagLists) else TagLists.from_frame(tags)
    with tempfile.TemporaryDirectory() as folder:
        write_tag_lists(Path(folder, "tags.csv"), lists)
        return lists, "the tag lists", sha256_file(Path(folder, "tags.csv"))


def _left_out(store: FeatureStore, tag_lists: TagLists, row_of: dict[str, int]) -> list[str]:
    notes = []
    known, tagged = set(store.image_id), len(tag_lists.lists)
    absent = [i for i in tag_lists.lists if i not in known]
    failed = [i for i in tag_lists.lists if i in known and i not in row_of]
    for reason, ids in (("not in the cache", absent), ("without a feature, because extraction failed", failed)):
        if ids:
            shown = ", ".join(f"'{i}'" for i in ids[:3])
            more = ", ..." if len(ids) > 3 else ""
            notes.append(f"{len(ids)} of {tagged} tagged images are {reason}: {shown}{more}")
    untagged = sum(not any(people) for people in tag_lists.lists.values())
    if untagged:
        notes.append(f"{untagged} images have no tags and are not trained on")
    return notes
