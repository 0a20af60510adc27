"""A feature cache and tag lists, joined by image id."""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias, Union

import numpy as np

from ranktag.errors import Mismatch, RanktagError
from ranktag.feature_cache.store import FeatureStore
from ranktag.feature_cache.together import Caches, opening_together
from ranktag.files.digest import sha256_file
from ranktag.tags.lists import TagList, TagLists, read_tag_lists, write_tag_lists
from ranktag.tags.matching import what_would_join
from ranktag.tags.splits import SPLITS, assign_splits
from ranktag.tags.unicode_forms import other_forms, said

if TYPE_CHECKING:
    import pandas as pd

# A tag-list file, or the lists themselves.
Tags: TypeAlias = Union[Path, str, TagLists, "pd.DataFrame"]


# Why a tagged image has no feature.
ABSENT, FAILED = "not in the cache", "without a feature, because extraction failed"


@dataclass(frozen=True)
class Joined:
    """A cache and tag lists, joined by image id.

    rows: (N,) the cache's row of each image that has a feature. image_ids, lists: N ids and people's lists. people:
    who wrote each of them, if it is known. split: id -> split, also of images that have no feature. tags_name,
    tags_sha256: the tag file and its digest. notes: one sentence for everything that was left out. missing: id -> why,
    of the images whose lists are lost, because they have no feature.
    """

    store: FeatureStore
    image_ids: Sequence[str]
    rows: np.ndarray
    lists: Sequence[Sequence[TagList]]
    people: Sequence[Sequence[str]] | None
    split: dict[str, str]
    made_split: bool
    tags_name: str
    tags_sha256: str
    notes: Sequence[str]
    missing: Mapping[str, str]

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


def join(cache: Caches, tags: Tags, seed: int, opened: Callable[[FeatureStore], None] = lambda store: None) -> Joined:
    """Join a cache and tag lists; where they have no split, one is made from ``seed``.

    opened: is given the cache once it is open.

    Ids that differ in Unicode's form only are joined; they are the cache's from then on.

    Raises RanktagError for files that cannot be read, and if no id is in both.
    """
    with opening_together(cache) as store_there:
        try:
            tag_lists, name, digest = _read(tags)
        except RanktagError:
            # What is wrong with the cache comes first: they may be given the other way round.
            store_there()
            raise
        store = store_there()
    opened(store)
    forms = other_forms(tag_lists.lists, set(store.image_id), name)
    tag_lists = tag_lists.renamed(forms)
    row_of = store.row_of()
    joined = [i for i in tag_lists.lists if i in row_of]
    missing = _missing(store, tag_lists, row_of)
    if not joined:
        there, asked = next(iter(store.image_id), "none"), next(iter(tag_lists.lists))
        absent = [i for i, why in missing.items() if why == ABSENT]
        raise Mismatch(
            f"{name}: none of its image ids has a feature in {store.path} (ids there: '{there}', here: '{asked}'); "
            + (what_would_join(absent, row_of, name) or "write the ids alike, as with 'ranktag prepare csv --prefix'")
        )
    notes = [*([said(forms)] if forms else []), *_left_out(missing, tag_lists, row_of, name)]
    rows = np.array([row_of[i] for i in joined])
    # The cache's own texts from here on: those of a million ids are 80 MB, and the file's are let go.
    image_ids = [store.image_id[row] for row in rows.tolist()]
    made = tag_lists.split is None
    if tag_lists.split is None:
        split = assign_splits(image_ids, seed)
    else:
        split = {image_id: tag_lists.split[i] for image_id, i in zip(image_ids, joined)}
        split.update((i, tag_lists.split[i]) for i in missing)
    if made:
        counts = Counter(split.values())
        notes.append(f"no split column: {', '.join(f'{counts[s]} {s}' for s in SPLITS)} (seed {seed})")
    return Joined(
        store,
        image_ids,
        rows,
        [tag_lists.lists[i] for i in joined],
        None if tag_lists.people is None else [tag_lists.people[i] for i in joined],
        split,
        made,
        name,
        digest,
        notes,
        missing,
    )


def _read(tags: Tags) -> tuple[TagLists, str, str]:
    """The lists, a name for them, and their digest: that of the file they were read from or would be written to."""
    if isinstance(tags, (Path, str)):
        return read_tag_lists(Path(tags)), str(tags), sha256_file(Path(tags))
    lists = tags if isinstance(tags, TagLists) else TagLists.from_frame(tags)
    with tempfile.TemporaryDirectory() as folder:
        write_tag_lists(Path(folder, "tags.csv"), lists)
        return lists, "the tag lists", sha256_file(Path(folder, "tags.csv"))


def _missing(store: FeatureStore, tag_lists: TagLists, row_of: Mapping[str, int]) -> dict[str, str]:
    """Image id -> why it has no feature."""
    lost = [i for i in tag_lists.lists if i not in row_of]
    known = set(store.image_id) if lost else ()
    return {i: FAILED if i in known else ABSENT for i in lost}


def _left_out(missing: Mapping[str, str], tag_lists: TagLists, row_of: Mapping[str, int], name: str) -> list[str]:
    notes = []
    for reason in (ABSENT, FAILED):
        ids = [i for i, why in missing.items() if why == reason]
        if ids:
            shown = ", ".join(f"'{i}'" for i in ids[:3])
            more = ", ..." if len(ids) > 3 else ""
            notes.append(f"{len(ids)} of {len(tag_lists.lists)} tagged images are {reason}: {shown}{more}")
            if reason == ABSENT and (hint := what_would_join(ids, row_of, name)):
                notes.append(hint)
    untagged = sum(not any(people) for people in tag_lists.lists.values())
    if untagged:
        notes.append(f"{untagged} images have no tags and are not trained on")
    return notes
