"""The feature cache: one HDF5 file of image features, and what made them.

Format 1. Datasets:

==========  ======================================  ====================================
features    (N, 4096) float16 or float32, contiguous  activations; NaN in rows that failed
image_id    (N,) UTF-8                              unique
valid       (N,) bool                               the row holds a feature
error       (N,) UTF-8                              why a row failed, else empty
==========  ======================================  ====================================

Root attributes: ``format`` = "ranktag-features", ``format_version``, the fields of
``Provenance`` and ``content_sha256`` (of features, ids, valid and errors, in that
order). The features are contiguous so that they can be memory-mapped:
a random row costs microseconds and no HDF5 lock.
"""

from __future__ import annotations

import dataclasses
import datetime
import hashlib
import io
import json
import mmap
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt

from ranktag import __version__
from ranktag.errors import RanktagError
from ranktag.files import atomic_path, refuse_existing
from ranktag.trial import ends_badly

FORMAT = "ranktag-features"
FORMAT_VERSION = 1
FEATURE_DIM = 4096
DATASETS = ("features", "image_id", "valid", "error")
MAKE_AGAIN = "make it again with 'extract-features'"

# What h5py raises on damaged files depends on which byte is damaged.
DAMAGE = (OSError, RuntimeError, KeyError, ValueError, TypeError, AttributeError, OverflowError, MemoryError)


@dataclass(frozen=True)
class Provenance:
    """What made the features. ``preprocessing`` is JSON; ``created`` is UTC in ISO 8601."""

    backbone: str
    layer: str
    weights: str
    weights_sha256: str
    preprocessing: str
    compute_dtype: str
    image_list_sha256: str
    ranktag_version: str = ""
    torch_version: str = ""
    torchvision_version: str = ""
    created: str = ""

    # What the numbers mean, and so what a model and a cache must agree on. What they were computed in, when and by
    # which versions is not part of it.
    MEANING = ("backbone", "layer", "weights", "weights_sha256", "preprocessing")

    def differences(self, other: Provenance, names: Sequence[str] = MEANING) -> list[str]:
        """'name: ours / theirs' for each of ``names`` that differs."""
        return [
            f"{name}: {getattr(self, name)!r} / {getattr(other, name)!r}"
            for name in names
            if getattr(self, name) != getattr(other, name)
            # The same numbers under another file name are the same weights.
            and not (name == "weights" and self.weights_sha256 and self.weights_sha256 == other.weights_sha256)
        ]


def image_list_sha256(image_ids: Iterable[str]) -> str:
    """SHA-256 of the ids in order, with a newline between them, in UTF-8."""
    digest = hashlib.sha256()
    for number, image_id in enumerate(image_ids):
        digest.update((f"\n{image_id}" if number else image_id).encode("utf-8"))
    return digest.hexdigest()


def utc_now() -> str:
    """The time now, UTC, ISO 8601, to the second."""
    return datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


@dataclass(frozen=True)
class FeatureStore:
    """An open cache.

    image_id: N ids. valid: (N,) bool. error: N reasons. features: (N, D) float16 or
    float32, read-only and memory-mapped: nothing is read until it is indexed.
    attributes: the root attributes that are not provenance.
    """

    path: Path
    provenance: Provenance
    image_id: Sequence[str]
    valid: npt.NDArray[np.bool_]
    error: Sequence[str]
    features: npt.NDArray[Any]
    attributes: Mapping[str, Any] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.image_id)

    def blocks(self, rows: int) -> Iterator[npt.NDArray[Any]]:
        """The features, (<= rows, D) at a time; memory is given back behind it, or pages of the whole file would stay with the process."""
        for start in range(0, len(self), rows):
            yield self.features[start : start + rows]
            if isinstance(self.features.base, mmap.mmap) and hasattr(mmap, "MADV_DONTNEED"):
                self.features.base.madvise(mmap.MADV_DONTNEED)

    def row_of(self) -> dict[str, int]:
        """Image id -> row, for the rows that hold a feature."""
        return {image_id: row for row, image_id in enumerate(self.image_id) if self.valid[row]}

    def not_finite(self, row: int) -> RanktagError:
        """The error for a row that is marked valid and holds NaN or infinity; whoever uses rows looks out for them."""
        return RanktagError(
            f"{self.path}: damaged: the feature of '{self.image_id[row]}' is not finite; see 'ranktag inspect' and make the cache again"
        )


def open_features(path: Path) -> FeatureStore:
    """Open a cache and check its form (not every number: ``ranktag inspect`` does).

    Raises RanktagError for anything but a whole cache of this format and version.
    """
    path = Path(path)
    if path.is_dir():
        raise RanktagError(f"{path}: is a folder, expected a feature cache; name the .h5 file")
    if not path.exists():
        raise RanktagError(f"{path}: no such feature cache; make one with 'extract-features'")
    if not os.access(path, os.R_OK):
        raise RanktagError(f"{path}: may not be read; check its permissions")
    if not path.is_file():
        raise RanktagError(f"{path}: is not a regular file, expected a feature cache; name the .h5 file")
    if how := ends_badly(lambda: _open(path)):
        raise RanktagError(f"{path}: damaged: HDF5 {how} when it reads this file; {MAKE_AGAIN}")
    try:
        while True:
            before, store = _identity(path), _open(path)
            # Replaced in between, the rows would be of another file than the ids.
            if _identity(path) == before:
                return store
    except RanktagError:
        raise
    except DAMAGE as error:
        raise RanktagError(f"{path}: damaged or not a feature cache ({_short(error)}); {MAKE_AGAIN}") from None


def _identity(path: Path) -> tuple[int, int, int, int]:
    found = path.stat()
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns


def _open(path: Path) -> FeatureStore:
    with open_hdf5(path) as file:
        return _read(path, file)


@contextmanager
def open_hdf5(path: Path, mode: str = "r") -> Iterator[h5py.File]:
    """An HDF5 file, without failing where the file system has no locks (NFS)."""
    with h5py.File(path, mode, locking="best-effort") as file:
        yield file


def _short(error: BaseException) -> str:
    return (str(error) or type(error).__name__).split("\n")[0][:120]


def _read(path: Path, file: h5py.File) -> FeatureStore:
    if _text(file.attrs.get("format", "")) != FORMAT:
        raise RanktagError(f"{path}: is HDF5, but not a feature cache of ranktag (no format='{FORMAT}'); make one with 'extract-features' or ranktag.cache_features")
    version = int(file.attrs["format_version"])
    if version != FORMAT_VERSION:
        raise RanktagError(
            f"{path}: is of cache format {version}, this ranktag ({__version__}) reads format {FORMAT_VERSION}; "
            + ("install a newer ranktag" if version > FORMAT_VERSION else MAKE_AGAIN)
        )
    names = [f.name for f in dataclasses.fields(Provenance)]
    for name in names:
        if name not in file.attrs:
            raise RanktagError(f"{path}: damaged: the attribute '{name}' is missing; {MAKE_AGAIN}")
    provenance = Provenance(**{name: _text(file.attrs[name]) for name in names})
    datasets = {name: _own_dataset(path, file, name) for name in DATASETS}
    features = datasets["features"]
    if features.ndim != 2 or features.dtype not in (np.float16, np.float32):
        raise RanktagError(f"{path}: damaged: 'features' is {features.dtype} of shape {features.shape}, expected (N, {FEATURE_DIM}) float16 or float32; {MAKE_AGAIN}")
    n, dim = features.shape
    if dim != FEATURE_DIM:
        raise RanktagError(f"{path}: holds {dim}-dimensional features, the model takes {FEATURE_DIM}; extract the layer fc7 or fc6 of a VGG")
    if features.chunks is not None:
        raise RanktagError(f"{path}: 'features' is stored in chunks, expected contiguous; {MAKE_AGAIN}")
    for name in DATASETS[1:]:
        if datasets[name].shape != (n,):
            raise RanktagError(f"{path}: damaged: '{name}' has shape {datasets[name].shape}, 'features' has {n} rows; {MAKE_AGAIN}")
    offset = features.id.get_offset() if n else None
    if n and (offset is None or offset + n * dim * features.dtype.itemsize > path.stat().st_size):
        raise RanktagError(f"{path}: damaged: cut short, {n} rows of features do not fit the file; {MAKE_AGAIN}")
    valid = datasets["valid"][:]
    if valid.dtype != np.bool_:
        raise RanktagError(f"{path}: damaged: 'valid' is {valid.dtype}, expected bool; {MAKE_AGAIN}")
    image_id = list(datasets["image_id"].asstr()[:])
    if len(set(image_id)) != n:
        twice = next(i for i, seen in _with_seen(image_id) if seen)
        raise RanktagError(f"{path}: damaged: image id '{twice}' stands there twice; {MAKE_AGAIN}")
    mapped: npt.NDArray[Any] = (
        np.memmap(path, features.dtype, "r", offset, (n, dim)) if n else np.empty((0, dim), features.dtype)
    )
    attributes = {name: value for name, value in file.attrs.items() if name not in names}
    return FeatureStore(path, provenance, image_id, valid, list(datasets["error"].asstr()[:]), mapped, attributes)


class _ContentDigest:
    """SHA-256 of a cache's datasets, features first, fed a block of rows at a time."""

    def __init__(self) -> None:
        self._digest = hashlib.sha256()

    def features(self, block: npt.NDArray[Any]) -> None:
        self._digest.update(np.ascontiguousarray(block).data)

    def finish(self, image_ids: Iterable[str], valid: npt.NDArray[np.bool_], error: Iterable[str]) -> str:
        for texts in (image_ids, error):
            self._digest.update(image_list_sha256(texts).encode())
        self._digest.update(np.asarray(valid, np.uint8).tobytes())
        return self._digest.hexdigest()


def content_sha256(store: FeatureStore, block: int = 1024) -> str:
    """What the attribute ``content_sha256`` should be, from the data as they are on disk now; ``block`` rows are read at once."""
    digest = _ContentDigest()
    for features in store.blocks(block):
        digest.features(features)
    return digest.finish(store.image_id, store.valid, store.error)


def _with_seen(ids: Iterable[str]) -> Iterator[tuple[str, bool]]:
    seen: set[str] = set()
    for image_id in ids:
        yield image_id, image_id in seen
        seen.add(image_id)


def _text(value: Any) -> str:
    return value.decode("utf-8") if isinstance(value, bytes) else str(value)


def _own_dataset(path: Path, file: h5py.File, name: str) -> h5py.Dataset:
    """A dataset whose bytes are in this very file: a link or a virtual source may point anywhere, or nowhere (zeros)."""
    if file.get(name, getlink=True) is None:
        raise RanktagError(f"{path}: damaged: the dataset '{name}' is missing; {MAKE_AGAIN}")
    if not isinstance(file.get(name, getlink=True), h5py.HardLink):
        raise RanktagError(f"{path}: '{name}' is a link to elsewhere; a feature cache holds its own data")
    dataset = file[name]
    if not isinstance(dataset, h5py.Dataset):
        raise RanktagError(f"{path}: damaged: '{name}' is not a dataset; {MAKE_AGAIN}")
    if dataset.is_virtual or dataset.external:
        raise RanktagError(f"{path}: '{name}' takes its data from other files; a feature cache holds its own data")
    return dataset


def write_features(
    path: Path,
    image_ids: Sequence[str],
    blocks: Iterable[npt.NDArray[Any]],
    valid: npt.NDArray[np.bool_],
    error: Sequence[str],
    provenance: Provenance,
    dtype: str,
    attributes: Mapping[str, Any] | None = None,
) -> None:
    """Write a cache file at ``path``, which the caller makes atomic.

    blocks: arrays of shape (rows, D), of type ``dtype``, that together hold the N rows in order.
    dtype: 'float16' or 'float32'. attributes: more root attributes.
    """
    n = len(image_ids)
    digest = _ContentDigest()
    strings = h5py.string_dtype("utf-8")
    with _created(path) as (file, raw):
        file.attrs.update({"format": FORMAT, "format_version": FORMAT_VERSION, **dataclasses.asdict(provenance), **(attributes or {})})
        features = file.create_dataset("features", (n, FEATURE_DIM), dtype)
        file.create_dataset("image_id", (n,), strings, data=np.array(image_ids, dtype=object))
        file.create_dataset("valid", data=np.asarray(valid, bool))
        file.create_dataset("error", (n,), strings, data=np.array(error, dtype=object))
        row = 0
        for block in blocks:
            if raw.failure is not None:
                break
            block = np.asarray(block, dtype)
            features[row : row + len(block)] = block
            digest.features(block)
            row += len(block)
        if row != n:
            raise ValueError(f"{row} rows of features for {n} images")
        file.attrs["content_sha256"] = digest.finish(image_ids, valid, error)


class _KeepsFailure(io.FileIO):
    """A file whose first failed write is kept in ``failure``; what is written from then on is held in memory.

    HDF5 cannot close a file that it cannot write (the disk is full): it leaves it
    open and crashes the process at its end. So it is told that all went well.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(path, "w+")
        self.failure: OSError | None = None
        self._held: list[tuple[int, bytes]] = []

    def write(self, data: Any) -> int:
        view = memoryview(data).cast("B")
        start, written = self.tell(), 0
        try:
            while self.failure is None and written < len(view):
                written += self._write_some(view[written:])
        except OSError as error:
            self.failure = error
        if self.failure is not None:
            self._held.append((start + written, bytes(view[written:])))
            self.seek(start + len(view))
        return len(view)

    def _write_some(self, view: memoryview) -> int:
        return super().write(view)

    def readinto(self, buffer: Any) -> int:
        if self.failure is None:
            return super().readinto(buffer)
        view = memoryview(buffer).cast("B")
        start = self.tell()
        read = super().readinto(view)
        view[read:] = bytes(len(view) - read)
        for place, data in self._held:
            first, last = max(place, start), min(place + len(data), start + len(view))
            if first < last:
                view[first - start : last - start] = data[first - place : last - place]
        self.seek(start + len(view))
        return len(view)

    def truncate(self, size: int | None = None) -> int:
        try:
            return super().truncate(size)
        except OSError as error:
            self.failure = self.failure or error
            return size or 0


@contextmanager
def _created(path: Path) -> Iterator[tuple[h5py.File, _KeepsFailure]]:
    """A new HDF5 file and what it is written to. Raises OSError, with the path, where the disk does not take it."""
    with _KeepsFailure(path) as raw:
        try:
            with h5py.File(raw, "w") as file:
                yield file, raw
        finally:
            if raw.failure is not None:
                raise OSError(raw.failure.errno, raw.failure.strerror, str(path)) from None


def cache_features(features: Any, image_ids: Iterable[str], path: Path, *, source: str = "bring-your-own", dtype: str = "float16", overwrite: bool = False) -> Path:
    """Write features you have computed yourself as a cache that stage two takes.

    features: (N, 4096) array or DataFrame; rows that are not finite become failed rows.
    image_ids: N unique ids. source: what made the features; models trained on one
    source refuse caches of another. dtype: what is stored. Returns ``path``.

    Raises RanktagError for what is no array of numbers, a wrong shape, ids that are
    empty, repeated or no text, and an existing file.
    """
    path = Path(path)
    refuse_existing(path, overwrite)
    array = _numbers(features)
    ids = [str(i) for i in image_ids]
    if array.ndim != 2 or array.shape[1] != FEATURE_DIM:
        raise RanktagError(f"features have shape {array.shape}, expected (N, {FEATURE_DIM}); one row an image")
    if len(ids) != len(array):
        raise RanktagError(f"{len(ids)} image ids for {len(array)} rows of features; each row has one")
    repeated = next((i for i, seen in _with_seen(ids) if seen), None)
    if repeated is not None:
        raise RanktagError(f"image id '{repeated}' is there twice; ids must be unique")
    bad = next((i for i in ids if not i or "\0" in i or any("\ud800" <= c <= "\udfff" for c in i)), None)
    if bad is not None:
        raise RanktagError(f"image id {bad!r} is empty or holds a NUL byte or what is no text; give the image another id")
    if dtype not in ("float16", "float32"):
        raise RanktagError(f"dtype '{dtype}' is not one of float16, float32; choose one of them")
    with np.errstate(over="ignore"):
        stored = array.astype(dtype)
    valid = np.isfinite(stored).all(axis=1)
    stored[~valid] = np.nan
    provenance = Provenance(
        backbone=source,
        layer="",
        weights="",
        weights_sha256="",
        preprocessing=json.dumps({}),
        compute_dtype="float32",
        image_list_sha256=image_list_sha256(ids),
        ranktag_version=__version__,
        created=utc_now(),
    )
    with atomic_path(path) as temporary:
        write_features(temporary, ids, [stored], valid, ["" if v else "the feature is not finite" for v in valid], provenance, dtype)
    return path


def _numbers(features: Any) -> npt.NDArray[np.float32]:
    """Whatever holds real numbers as float32. Raises RanktagError."""
    try:
        array = np.asarray(features)
        if array.dtype.kind == "c":
            raise TypeError("they are complex")
        with np.errstate(over="ignore"):
            return array.astype(np.float32, copy=False)
    # RuntimeError: what a tensor of torch raises that is still part of a graph.
    except (TypeError, ValueError, RuntimeError) as error:
        raise RanktagError(f"features are not numbers ({_short(error)}); give a numeric array or DataFrame") from None
