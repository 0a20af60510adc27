"""The photos as they are now beside what is known of them: what is kept, new, changed and gone."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ranktag.errors import Removals
from ranktag.feature_cache.file_states import UNKNOWN, FileStates
from ranktag.feature_cache.gather import NOWHERE, gathered_files
from ranktag.feature_cache.shards import PENDING
from ranktag.feature_cache.store import FeatureStore
from ranktag.feature_cache.together import open_cache
from ranktag.images.files import file_sha256, stat_files
from ranktag.images.listing import ImageList, list_images_as
from ranktag.progress import Progress

# A larger share of the images gone is more likely a disk that is not mounted.
MOST_GONE = 0.1
KINDS = ("kept", "new", "changed", "retried", "gone")
READERS = 4  # files whose digests are taken at once


@dataclass(frozen=True)
class Changes:
    """Image ids by what has become of them.

    kept: their rows stay. new, changed: to be computed. retried: failed, and tried again though their files are the
    same. gone: in the cache, but no longer among the images, or no longer there as files. unknown: how many of those
    kept are of a cache that says nothing about files. order: whether only the order of the images differs.
    """

    kept: Sequence[str] = ()
    new: Sequence[str] = ()
    changed: Sequence[str] = ()
    retried: Sequence[str] = ()
    gone: Sequence[str] = ()
    unknown: int = 0
    order: bool = False

    @property
    def none(self) -> bool:
        """Whether the images are those of the cache."""
        return not (self.new or self.changed or self.retried or self.gone or self.order)

    def counts(self) -> dict[str, int]:
        """How many there are of each kind, ready for JSON."""
        return {name: len(getattr(self, name)) for name in KINDS}

    def __str__(self) -> str:
        """'58 kept, 30 new, 1 changed, 1 gone'."""
        retried = f", {len(self.retried):,} failed tried again" if self.retried else ""
        return (
            f"{len(self.kept):,} kept, {len(self.new):,} new, {len(self.changed):,} changed, {len(self.gone):,} gone"
            f"{retried}{', in another order' if self.order else ''}"
        )


@dataclass(frozen=True)
class Comparison:
    """N images beside the stores that may hold their rows.

    source, row: (N,), the store and the row that an image keeps, -1 where it is to be computed. files: of the N
    images, now, with the digests that are known of those kept. recorded: as the kept rows have them.
    """

    changes: Changes
    source: npt.NDArray[np.int64]
    row: npt.NDArray[np.int64]
    files: FileStates
    recorded: FileStates | None

    @property
    def as_recorded(self) -> bool:
        """Whether the kept rows' files are recorded with the sizes and times that they have."""
        kept, files, recorded = self.source != NOWHERE, self.files, self.recorded
        return (
            recorded is not None
            and np.array_equal(files.size[kept], recorded.size[kept])
            and np.array_equal(files.mtime_ns[kept], recorded.mtime_ns[kept])
        )

    @property
    def up_to_date(self) -> bool:
        """Whether a single store holds all as it is, sizes and times of the files too."""
        return self.changes.none and self.as_recorded


def look_at(images: ImageList, *, content: bool = False, progress: Progress | None = None) -> FileStates:
    """The files of the images as they are now; with ``content``, every file is read for its digest."""
    states = stat_files(images)
    if not content:
        return states
    paths = (images.path(number) for number in range(len(images)))
    with ThreadPoolExecutor(READERS) as pool:
        digests = pool.map(file_sha256, paths)
        return states.with_sha256(
            list((progress or Progress()).over(digests, "Reading the files", len(images), "files"))
        )


def compare(
    ids: Sequence[str],
    files: FileStates,
    stores: Sequence[FeatureStore],
    *,
    content: bool = False,
    retry_failed: bool = False,
    fresh: int = 0,
) -> Comparison:
    """Where each image's row is kept, in the first of ``stores`` whose file was the same.

    content: tell files by digests, which ``files`` then has, instead of by size and time. retry_failed: keep no row
    that failed, but those of the first ``fresh`` stores, which are of the run at work.
    """
    known: dict[str, list[tuple[int, int]]] = {}
    for number, store in enumerate(stores):
        for row, (image_id, error) in enumerate(zip(store.image_id, store.error)):
            if error != PENDING:
                known.setdefault(image_id, []).append((number, row))
    source, place = np.full(len(ids), NOWHERE, np.int64), np.full(len(ids), NOWHERE, np.int64)
    sorted_by: dict[str, list[str]] = {name: [] for name in KINDS}
    unknown = 0
    for number, image_id in enumerate(ids):
        candidates = known.get(image_id, [])
        same = [(s, r) for s, r in candidates if _same(stores[s], r, files, number, content)]
        wanted = [(s, r) for s, r in same if stores[s].valid[r] or not retry_failed or s < fresh]
        if wanted:
            source[number], place[number] = wanted[0]
            unknown += stores[wanted[0][0]].files is None
        lost = files.size[number] == UNKNOWN and any(stores[s].valid[r] for s, r in candidates)
        kind = (
            "kept" if wanted else "retried" if same else "gone" if lost else "changed" if candidates else "new"
        )  # fmt: skip
        sorted_by[kind].append(image_id)
    listed = set(ids)
    sorted_by["gone"] += [image_id for image_id in known if image_id not in listed]
    order = len(stores) == 1 and len(known) == len(ids) and list(known) != list(ids) and set(known) == listed
    changes = Changes(**sorted_by, unknown=unknown, order=order)
    recorded = gathered_files(stores, source, place) if stores else None
    digests = recorded.sha256 if recorded else [""] * len(ids)
    return Comparison(changes, source, place, files if content else files.with_sha256(digests), recorded)


def _same(store: FeatureStore, row: int, files: FileStates, number: int, content: bool) -> bool:
    """Whether an image's file is the one that a row was computed of, as far as that is known."""
    was = store.files
    # A row with a feature was of a file, even if nobody wrote down which.
    if was is None or (was.size[row] == UNKNOWN and store.valid[row]):
        return not content and (files.size[number] != UNKNOWN or not store.valid[row])
    if was.size[row] != files.size[number]:
        return False
    if content and (was.sha256[row] or files.sha256[number]):
        return was.sha256[row] == files.sha256[number]
    return bool(was.mtime_ns[row] == files.mtime_ns[number])


def changes_since(
    cache: str | Path, images: str | Path, *, content: bool = False, progress: Progress | None = None
) -> Changes:
    """What ``extract-features`` would find if it were to bring ``cache`` up to date with ``images``.

    Raises RanktagError for a cache or images that cannot be read.
    """
    store = open_cache(cache)
    listed = list_images_as(images, store.image_id, progress)
    files = look_at(listed, content=content, progress=progress)
    return compare(listed.ids, files, [store], content=content).changes


def refuse_removals(changes: Changes, images: Path | str, output: Path) -> None:
    """Raise RanktagError if so many images are gone that it is more likely a disk that is not mounted."""
    gone, known = len(changes.gone), len(changes.gone) + len(changes.kept) + len(changes.changed) + len(changes.retried)
    if gone > MOST_GONE * known:
        raise Removals(
            f"{images}: {gone:,} of the {known:,} images of {output} are gone from it ({_named(changes.gone)}): "
            "is a disk not mounted? If they are meant to be gone, pass --allow-removals"
        )


def _named(ids: Iterable[str]) -> str:
    shown = [f"'{image_id}'" for image_id in ids]
    return ", ".join(shown[:3]) + (", ..." if len(shown) > 3 else "")
