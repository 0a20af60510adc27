"""The parts a cache is made in: files cut from the image list at fixed rows, whoever makes them.

Shard k of n of ``NAME.h5`` is ``NAME.h5.shards/k-of-n.h5``, k from 0: a valid
feature cache of its rows, with the provenance of the whole list and two more
attributes, ``row_start`` and ``row_count`` (the N of the list). It is written under
a temporary name, read again and compared, synced and renamed, so that a shard that
is there is whole. The lock file beside the shards has one byte a shard (see
``ranktag.files.lock.FileLock``).

When a cache is brought up to date, or a run goes on whose images have changed, the
shards are cut from the list of the images that are still to be computed, and
``kept.h5`` beside them is a cache of the whole list, in which those are rows that
failed for the reason ``PENDING``.
"""

from __future__ import annotations

import re
import shutil
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ranktag.errors import Damaged, Locked, Mismatch, NotFound, Outage
from ranktag.feature_cache.digest import content_sha256, image_list_sha256
from ranktag.feature_cache.file_states import FileStates
from ranktag.feature_cache.gather import gathered_files, write_gathered
from ranktag.feature_cache.provenance import Provenance
from ranktag.feature_cache.store import FeatureStore, open_features, open_own, refuse_crashes
from ranktag.feature_cache.verified import is_verified, remember
from ranktag.feature_cache.write import write_features
from ranktag.files.atomic import atomic_path, refuse_existing, sync
from ranktag.files.lock import FileLock
from ranktag.files.platform import processors
from ranktag.progress import Progress

# What must be alike for two runs to give the same file, beside the major versions of the libraries.
ALIKE = (*Provenance.MEANING, "compute_dtype", "image_list_sha256")
VERSIONS = ("ranktag_version", "torch_version", "torchvision_version")

# Beside the shards: what is kept of earlier runs, and the reason of the rows that the shards are to fill.
KEPT = "kept.h5"
PENDING = "still to be computed"

LOCK = "lock"
# What whoever is alone locks: the first part, which workers share, and those that earlier versions locked a shard each.
PARTS = 1 << 40

READS_BACK_DIFFERENTLY = "what was written reads back differently; check the disk, then run the same command again"


@dataclass(frozen=True)
class Shard:
    """Rows start..stop of the image list; ``number`` of ``count`` shards."""

    number: int
    count: int
    start: int
    stop: int

    def __len__(self) -> int:
        return self.stop - self.start

    @property
    def name(self) -> str:
        """File name within the folder of shards."""
        return f"{self.number:05}-of-{self.count:05}.h5"


def cut(images: int, shard_size: int) -> list[Shard]:
    """The shards of a list of so many images."""
    count = -(-images // shard_size)
    return [Shard(k, count, k * shard_size, min((k + 1) * shard_size, images)) for k in range(count)]


def folder_of(output: Path) -> Path:
    """Where the shards of a cache are while it is being made."""
    return output.with_name(output.name + ".shards")


def lock_of(output: Path) -> FileLock:
    """The lock on the shards of a cache."""
    return FileLock(folder_of(output) / LOCK)


def lock_alone(output: Path, lock: FileLock) -> None:
    """Lock the shards of a cache for this process alone. Raises RanktagError if another is at work on them."""
    if not lock.acquire(0, PARTS):
        raise Locked(
            f"{output}: another process is at work on it; wait for it, or share the work with --worker-index and "
            f"--worker-count ({_if_dead(output)})"
        )


def lock_as_worker(output: Path, lock: FileLock) -> None:
    """Lock the shards of a cache against those who want them alone. Raises RanktagError if one has them."""
    if not lock.acquire(shared=True):
        raise Locked(
            f"{output}: another process is at work on it, alone or joining its shards; wait for it ({_if_dead(output)})"
        )


def _if_dead(output: Path) -> str:
    return f"if its machine died and none is, remove {folder_of(output) / LOCK}"


def differences(ours: Provenance, theirs: Provenance, names: Sequence[str] = ALIKE) -> list[str]:
    """'name: ours / theirs' for whatever makes two runs unlike; a value not known yet ('') is like any other."""
    unlike = ours.differences(theirs, [name for name in names if getattr(ours, name)])
    for name in VERSIONS:
        our, their = getattr(ours, name), getattr(theirs, name)
        if our and our.split(".")[0] != their.split(".")[0]:
            unlike.append(f"{name}: {our!r} / {their!r}")
    return unlike


def write_shard(
    output: Path,
    shard: Shard,
    image_ids: Sequence[str],
    features: npt.NDArray[Any],
    errors: Sequence[str],
    provenance: Provenance,
    total: int,
    files: FileStates | None = None,
) -> FeatureStore:
    """Write and return a shard of ``output``: features (rows, D) in the stored type, errors '' where a row is valid.

    Raises RanktagError if the folder of shards is gone or what was written cannot be read back.
    """
    folder = folder_of(output)
    # Made again, it would be on whatever is now where the disk used to be.
    if not folder.is_dir():
        raise Outage(
            f"{folder}: has vanished while images were read; bring the disk back and run the same command again"
        )
    valid = np.array([not error for error in errors], bool)
    with atomic_path(folder / shard.name) as temporary:
        write_features(
            temporary,
            image_ids,
            [features],
            valid,
            errors,
            replace(provenance, created=""),
            features.dtype.name,
            features.shape[1],
            {"row_start": shard.start, "row_count": total},
            files,
        )
        sync(temporary)
        written = open_own(temporary)
        if not (
            np.array_equal(written.features.view(np.uint8), features.view(np.uint8))
            and np.array_equal(written.valid, valid)
            and list(written.image_id) == list(image_ids)
            and list(written.error) == list(errors)
        ):
            raise Outage(f"{folder / shard.name}: {READS_BACK_DIFFERENTLY}")
    remember(folder / shard.name, str(written.attributes["content_sha256"]))
    return replace(written, path=folder / shard.name)


def read_shard(path: Path, known: Mapping[str, str] | None = None) -> FeatureStore:
    """An existing shard, every byte of which is as it was written. Raises RanktagError if it is damaged or no shard.

    known: what ``verified`` knows of the folder; a shard that is as it was noted is not read again.
    """
    return _whole(as_shard(open_features(path)), known)


def read_own(path: Path) -> FeatureStore:
    """``read_shard`` for a file that HDF5 has been tried on in a fork, or that this process has written."""
    return _whole(as_shard(open_own(path)))


def _whole(store: FeatureStore, known: Mapping[str, str] | None = None) -> FeatureStore:
    path, digest = store.path, store.attributes.get("content_sha256")
    if known is not None and is_verified(path, digest, known):
        return store
    if content_sha256(store) != digest:
        raise Damaged(
            f"{path}: damaged: its content is not what was written; remove it and run the same extract-features again"
        )
    if known is not None:
        remember(path, digest)
    return store


def as_shard(store: FeatureStore) -> FeatureStore:
    """The same. Raises RanktagError for a cache that is no shard."""
    if not all(isinstance(store.attributes.get(name), np.integer) for name in ("row_start", "row_count")):
        raise Mismatch(
            f"{store.path}: is a feature cache, but not a shard of one; "
            "remove it and run the same extract-features again"
        )
    return store


def join_shards(output: str | Path, *, overwrite: bool = False, progress: Progress | None = None) -> FeatureStore:
    """Join the shards of ``output``, remove them, and return the cache. progress: is told how many rows are.

    Raises RanktagError: the cache exists (unless ``overwrite``), shards are missing,
    doubled, damaged, of another run, or still being worked on.
    """
    output = Path(output)
    folder = folder_of(output)
    # Where it is brought up to date, it is there.
    refuse_existing(output, overwrite or (folder / KEPT).exists())
    if not folder.is_dir():
        raise NotFound(f"{folder}: no such folder of shards; give extract-features and join-features the same output")
    with lock_of(output) as lock:
        if not lock.acquire(0, PARTS):
            raise Locked(
                f"{folder}: is still being worked on; join when every worker has finished ({_if_dead(output)})"
            )
        return join_locked(output, progress or Progress())


def read_kept(output: Path, *, own: bool = False) -> FeatureStore | None:
    """What is kept of earlier runs beside the shards of ``output``. Raises RanktagError if it is damaged.

    own: this process has written it, or tried HDF5 on it in a fork: threads had better not fork.
    """
    path = folder_of(output) / KEPT
    if not path.exists():
        return None
    kept = open_own(path) if own else open_features(path)
    if content_sha256(kept) != kept.attributes.get("content_sha256"):
        raise Damaged(f"{path}: damaged: its content is not what was written; remove it and run the same again")
    return kept


def pending_rows(kept: FeatureStore) -> list[int]:
    """The rows that the shards are to fill."""
    return [row for row, error in enumerate(kept.error) if error == PENDING]


def join_locked(output: Path, progress: Progress) -> FeatureStore:
    """``join_shards`` for a process that holds the locks; what is at ``output`` is replaced."""
    kept = read_kept(output)
    shards = whole_set(folder_of(output), progress) if kept is None or pending_rows(kept) else []
    image_ids, stores, source, row = in_order(kept, shards)
    joined = join_rows(output, image_ids, stores, source, row, progress)
    remove(output)
    return joined


def in_order(
    kept: FeatureStore | None, shards: Sequence[FeatureStore]
) -> tuple[Sequence[str], Sequence[FeatureStore], npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """The N ids of the list, the stores that hold its rows, and of each row the store's number and the row there, (N,).

    kept: what is kept of earlier runs. Raises RanktagError for shards that are not of the images that it lacks.
    """
    order = order_of(kept, [len(shard) for shard in shards])
    if kept is None:
        return [i for shard in shards for i in shard.image_id], shards, *order
    _refuse_strangers(kept, pending_rows(kept), shards)
    return kept.image_id, [*shards, kept], *order


def order_of(kept: FeatureStore | None, lengths: Sequence[int]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Of each row of the list the number of its store and the row there, (N,): of the shards, of these lengths, and
    behind them of what is kept."""
    source = np.repeat(np.arange(len(lengths)), lengths)
    row = np.concatenate([np.empty(0, np.int64), *map(np.arange, lengths)])
    if kept is None:
        return source, row
    pending = pending_rows(kept)
    all_source, all_row = np.full(len(kept), len(lengths)), np.arange(len(kept))
    all_source[pending], all_row[pending] = source, row
    return all_source, all_row


def _refuse_strangers(kept: FeatureStore, pending: Sequence[int], shards: Sequence[FeatureStore]) -> None:
    """Raise RanktagError unless the shards hold the images that ``kept`` lacks, made alike."""
    if [image_id for shard in shards for image_id in shard.image_id] != [kept.image_id[row] for row in pending]:
        raise Mismatch(
            f"{kept.path.parent}: its shards are not of the images that were still to be computed; "
            "run the same extract-features again"
        )
    for shard in shards:
        if unlike := differences(kept.provenance, shard.provenance):
            raise Mismatch(
                f"{shard.path}: is of another run than {kept.path.name} ({'; '.join(unlike)}); "
                "remove it and run extract-features again"
            )


def join_rows(
    output: Path,
    image_ids: Sequence[str],
    stores: Sequence[FeatureStore],
    source: npt.NDArray[np.int64],
    row: npt.NDArray[np.int64],
    progress: Progress,
) -> FeatureStore:
    """Write rows of ``stores`` (see ``write_gathered``) to ``output``, read them again, and only then replace it.

    Raises RanktagError if what was written reads back differently.
    """
    list_sha256 = image_list_sha256(image_ids)
    provenance = replace(stores[0].provenance, created="", image_list_sha256=list_sha256)
    files = gathered_files(stores, source, row)
    with progress.working("Joining", 2 * len(image_ids), "rows"), atomic_path(output) as temporary:
        write_gathered(temporary, image_ids, stores, source, row, provenance, files=files, progress=progress)
        sync(temporary)
        joined = open_own(temporary)
        if content_sha256(joined, progress=progress) != joined.attributes.get("content_sha256"):
            raise Outage(f"{output}: {READS_BACK_DIFFERENTLY}")
    return replace(joined, path=output)


def remove(output: Path) -> None:
    """Remove the shards of ``output``, the lock last."""
    for path in folder_of(output).glob("*.h5"):
        path.unlink()
    shutil.rmtree(folder_of(output), ignore_errors=True)


def shard_files(folder: Path) -> list[Path]:
    """The shards in ``folder``, whole or not."""
    return sorted(path for path in folder.glob("*.h5") if path.name != KEPT)


def whole_set(
    folder: Path, progress: Progress, read: Callable[[Path], FeatureStore] | None = None, then: str = "join again"
) -> list[FeatureStore]:
    """The shards in ``folder``, in order. Raises RanktagError unless they are one run's and cover its list exactly.

    read: how a shard is opened; every byte of it is checked if left out. then: what to do once they are all there.
    """
    paths = shard_files(folder)
    if read is None:
        shards = _read_all(paths, progress)
    else:
        shards = [read(path) for path in progress.over(paths, "Checking", len(paths), "shards")]
    if not shards:
        raise NotFound(f"{folder}: holds no finished shard; run extract-features first")
    kinds = Counter(kind_of(shard) for shard in shards)
    usual = next(shard for shard in shards if kind_of(shard) == kinds.most_common(1)[0][0])
    for shard in shards:
        if unlike := _unlike(usual, shard):
            raise Mismatch(
                f"{shard.path}: is of another run than {usual.path.name} ({'; '.join(unlike)}); "
                "remove it and run extract-features again for its rows"
            )
    shards.sort(key=lambda shard: (_start(shard), shard.path.name))
    row, total = 0, int(usual.attributes["row_count"])
    for before, shard in zip([None, *shards], shards):
        if _start(shard) < row:
            raise Mismatch(
                f"{folder}: {before.path.name if before else ''} and {shard.path.name} hold the same images; "
                "remove one of them"
            )
        if _start(shard) > row:
            break
        row += len(shard)
    else:
        if row == total:
            return shards
    raise NotFound(f"{folder}: {_missing(folder, total, row)}; run extract-features for them, then {then}")


def _read_all(paths: Sequence[Path], progress: Progress) -> list[FeatureStore]:
    """``read_shard`` of every path, in order, several at a time."""
    refuse_crashes(paths)
    with ThreadPoolExecutor(processors()) as pool:
        shards = pool.map(read_own, paths)
        return list(progress.over(shards, "Checking", len(paths), "shards"))


def _start(shard: FeatureStore) -> int:
    return int(shard.attributes["row_start"])


def kind_of(shard: FeatureStore) -> tuple[str, ...]:
    """What must be alike in all shards of a run."""
    return (
        shard.features.dtype.name,
        str(shard.width),
        str(shard.attributes["row_count"]),
        *(getattr(shard.provenance, name) for name in ALIKE),
    )


def _unlike(ours: FeatureStore, theirs: FeatureStore) -> list[str]:
    unlike = differences(ours.provenance, theirs.provenance)
    if ours.features.dtype != theirs.features.dtype:
        unlike.append(f"dtype: '{ours.features.dtype}' / '{theirs.features.dtype}'")
    if ours.width != theirs.width:
        unlike.append(f"width: {ours.width} / {theirs.width}")
    if ours.attributes["row_count"] != theirs.attributes["row_count"]:
        unlike.append(f"images in the list: {ours.attributes['row_count']} / {theirs.attributes['row_count']}")
    return unlike


def _shard_names(folder: Path) -> list[tuple[int, int]]:
    """(number, count) of the files that are named as shards."""
    matches = (re.fullmatch(r"([0-9]+)-of-([0-9]+)\.h5", path.name) for path in folder.glob("*.h5"))
    return sorted((int(match[1]), int(match[2])) for match in matches if match)


def _missing(folder: Path, total: int, row: int) -> str:
    names = _shard_names(folder)
    counts = {count for _, count in names}
    if len(counts) > 1:
        cuts = ", ".join(f"{count} shards" for count in sorted(counts))
        return f"shards of several cuts lie together ({cuts}), and row {row:,} of {total:,} is missing"
    missing = sorted(set(range(counts.pop())) - {number for number, _ in names}) if counts else []
    if not missing:
        return f"the images from row {row:,} of {total:,} on are missing"
    shown = ", ".join(map(str, missing[:10])) + (f" and {len(missing) - 10} more" if len(missing) > 10 else "")
    return (
        f"of {len(missing) + len(names)} shards {len(missing)} {'is' if len(missing) == 1 else 'are'} missing: {shown}"
    )
