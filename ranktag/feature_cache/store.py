"""The feature cache: one HDF5 file of image features, and what made them.

Format 1. Datasets:

==========  ======================================  ====================================
features    (N, D) float16 or float32, contiguous   activations; NaN in rows that failed
image_id    (N,) UTF-8                              unique
valid       (N,) bool                               the row holds a feature
error       (N,) UTF-8                              why a row failed, else empty
==========  ======================================  ====================================

Of the images' files, where they are known (see ``ranktag.feature_cache.file_states``): ``file_size`` and
``file_mtime_ns``, (N,) int64, and ``file_sha256``, (N,) UTF-8. All three are there, or none.

Root attributes: ``format`` = "ranktag-features", ``format_version``, the fields of
``Provenance`` and ``content_sha256`` (of features, ids, valid and errors, in that
order). D is the network's: every cache states its own. The features are contiguous so
that they can be memory-mapped: a random row costs microseconds and no HDF5 lock.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import mmap
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import h5py
import numpy as np
import numpy.typing as npt

from ranktag.errors import Damaged, Denied, Mismatch, NotFound, RanktagError, unreadable
from ranktag.feature_cache.file_states import FileStates
from ranktag.feature_cache.hdf5 import open_hdf5, outage_in, reason_of
from ranktag.feature_cache.provenance import Provenance
from ranktag.feature_cache.rows import FileRows, Identity, OpenFiles
from ranktag.files.isolation import Trial
from ranktag.version import __version__

if TYPE_CHECKING:
    import pandas as pd

FORMAT = "ranktag-features"
FORMAT_VERSION = 1
DATASETS = ("features", "image_id", "valid", "error")
FILE_DATASETS = ("file_size", "file_mtime_ns", "file_sha256")
MAKE_ONE = "; make one with 'extract-features'"
MAKE_AGAIN = "make it again with 'extract-features'"

# Files that one fork tries HDF5 on: a fork takes longer than a file, and has a minute for all of them.
TRIED_AT_ONCE = 200

# What h5py raises on damaged files depends on which byte is damaged.
DAMAGE = (OSError, RuntimeError, KeyError, ValueError, TypeError, AttributeError, OverflowError, MemoryError)


@dataclass(frozen=True)
class FeatureStore:
    """An open cache.

    image_id: N ids. valid: (N,) bool. error: N reasons. features: (N, D) float16 or
    float32, read-only and memory-mapped: nothing is read until it is indexed.
    Where there are many files, features are read instead of mapped (see ``ranktag.feature_cache.rows``).
    attributes: the root attributes that are not provenance. files: the images' files
    as they were; None in caches of features that came from elsewhere or of old versions. parts: the
    caches, if it is several as one (see ``ranktag.feature_cache.together``). order: (N,) which of the parts' rows,
    counted through, each row is; None if they are all there in that order.
    """

    path: Path
    provenance: Provenance
    image_id: Sequence[str]
    valid: npt.NDArray[np.bool_]
    error: Sequence[str]
    features: npt.NDArray[Any]
    attributes: Mapping[str, Any] = field(default_factory=dict)
    files: FileStates | None = None
    parts: Sequence[FeatureStore] = ()
    order: npt.NDArray[np.int64] | None = None

    def __len__(self) -> int:
        return len(self.image_id)

    @property
    def width(self) -> int:
        """D, the numbers of a feature."""
        return int(self.features.shape[1])

    def to_frame(self) -> pd.DataFrame:
        """The ids and errors as a DataFrame, a row an image: image_id, valid, error."""
        import pandas as pd

        return pd.DataFrame({"image_id": list(self.image_id), "valid": self.valid, "error": list(self.error)})

    def forget_pages(self) -> None:
        """Give back the memory of what was read, or pages of the whole file would stay with the process."""
        if isinstance(self.features.base, mmap.mmap) and hasattr(mmap, "MADV_DONTNEED"):
            self.features.base.madvise(mmap.MADV_DONTNEED)

    def blocks(self, rows: int) -> Iterator[npt.NDArray[Any]]:
        """The features, (<= rows, D) at a time; memory is given back behind it."""
        for start in range(0, len(self), rows):
            yield self.features[start : start + rows]
            self.forget_pages()

    def row_of(self) -> dict[str, int]:
        """Image id -> row, for the rows that hold a feature."""
        return {image_id: row for row, image_id in enumerate(self.image_id) if self.valid[row]}

    def not_finite(self, row: int) -> RanktagError:
        """The error for a row that is marked valid and holds NaN or infinity; whoever uses rows looks out for them."""
        of_parts = row if self.order is None else int(self.order[row])
        for part in self.parts:
            if of_parts < len(part):
                return part.not_finite(of_parts)
            of_parts -= len(part)
        return Damaged(
            f"{self.path}: damaged: the feature of '{self.image_id[row]}' is not finite; "
            "see 'ranktag inspect' and make the cache again"
        )


def open_features(path: Path) -> FeatureStore:
    """Open a cache and check its form (not every number: ``ranktag inspect`` does).

    Raises RanktagError for anything but a whole cache of this format and version.
    """
    with opening(path) as opened:
        return opened()


@contextlib.contextmanager
def opening(path: Path) -> Iterator[Callable[[], FeatureStore]]:
    """``open_features``, of which the fork that tries HDF5 works beside what is done within; what is given returns the
    cache."""
    path = Path(path)
    _refuse_no_cache(path)
    tried = Identity.of(path.stat())
    with Trial(lambda: _open(path, None)) as trial:

        def opened() -> FeatureStore:
            if how := trial.ended():
                raise Damaged(f"{path}: damaged: HDF5 {how} when it reads this file; {MAKE_AGAIN}")
            # Another file that has come to be there meanwhile was not tried.
            return open_own(path) if Identity.of(path.stat()) == tried else open_features(path)

        yield opened


def _refuse_no_cache(path: Path) -> None:
    """Raise RanktagError for what is no file that can be read."""
    if path.is_dir():
        raise RanktagError(f"{path}: is a folder, expected a feature cache; name the .h5 file")
    if not path.exists():
        shards = path.with_name(path.name + ".shards")
        found = f"; its shards are not joined: name {shards}, or join them" if shards.is_dir() else ""
        raise NotFound(f"{path}: no such feature cache{found or MAKE_ONE}")
    if not os.access(path, os.R_OK):
        raise Denied(f"{path}: may not be read; check its permissions")
    if not path.is_file():
        raise RanktagError(f"{path}: is not a regular file, expected a feature cache; name the .h5 file")


def refuse_crashes(paths: Sequence[Path]) -> None:
    """Raise RanktagError for what is no file, and if HDF5 would end this process on one of them."""
    for path in paths:
        _refuse_no_cache(path)

    def read(several: Sequence[Path]) -> None:
        for path in several:
            # What is raised will be raised in this process too.
            with contextlib.suppress(Exception):
                _open(path, None)

    for start in range(0, len(paths), TRIED_AT_ONCE):
        several = paths[start : start + TRIED_AT_ONCE]
        with Trial(functools.partial(read, several)) as trial:
            if not trial.ended():
                continue
        for path in several:
            open_features(path)


def open_own(path: Path, files: OpenFiles | None = None) -> FeatureStore:
    """``open_features`` for a file that this process has just written: HDF5 is not tried on it in a fork first.

    files: by which the features are read; None maps them.
    """
    try:
        while True:
            before, store = Identity.of(path.stat()), _open(path, files)
            # Replaced in between, the rows would be of another file than the ids.
            if Identity.of(path.stat()) == before:
                return store
    except RanktagError:
        raise
    except DAMAGE as error:
        if (outage := outage_in(error)) is not None:
            raise unreadable(path, outage, "bring the disk back and run the same command again") from None
        raise Damaged(f"{path}: damaged or not a feature cache ({reason_of(error)}); {MAKE_AGAIN}") from None


def _open(path: Path, files: OpenFiles | None) -> FeatureStore:
    with open_hdf5(path) as file:
        return _read(path, file, files)


def _read(path: Path, file: h5py.File, files: OpenFiles | None) -> FeatureStore:
    _refuse_other_formats(path, file)
    names = [f.name for f in dataclasses.fields(Provenance)]
    for name in names:
        if name not in file.attrs:
            raise Damaged(f"{path}: damaged: the attribute '{name}' is missing; {MAKE_AGAIN}")
    provenance = Provenance(**{name: _text(file.attrs[name]) for name in names})
    datasets = {name: _own_dataset(path, file, name) for name in DATASETS}
    features = _features(path, datasets["features"], files)
    for name in DATASETS[1:]:
        if datasets[name].shape != (len(features),):
            raise Damaged(
                f"{path}: damaged: '{name}' has shape {datasets[name].shape}, 'features' has {len(features)} rows; "
                f"{MAKE_AGAIN}"
            )
    valid = datasets["valid"][:]
    if valid.dtype != np.bool_:
        raise Damaged(f"{path}: damaged: 'valid' is {valid.dtype}, expected bool; {MAKE_AGAIN}")
    image_id = list(datasets["image_id"].asstr()[:])
    if (repeated := first_repeated(image_id)) is not None:
        raise Damaged(f"{path}: damaged: image id '{repeated}' stands there twice; {MAKE_AGAIN}")
    attributes = {name: value for name, value in file.attrs.items() if name not in names}
    error, images_files = list(datasets["error"].asstr()[:]), _files(path, file, len(features))
    return FeatureStore(path, provenance, image_id, valid, error, features, attributes, images_files)


def _files(path: Path, file: h5py.File, rows: int) -> FileStates | None:
    """The images' files as they were, if the cache says so."""
    if not any(name in file for name in FILE_DATASETS):
        return None
    size, mtime_ns, sha256 = (_own_dataset(path, file, name) for name in FILE_DATASETS)
    for dataset in (size, mtime_ns, sha256):
        if dataset.shape != (rows,) or (dataset is not sha256 and dataset.dtype != np.int64):
            raise Damaged(
                f"{path}: damaged: '{dataset.name[1:]}' is {dataset.dtype} of shape {dataset.shape}, "
                f"expected one value for each of {rows} rows; {MAKE_AGAIN}"
            )
    return FileStates(size[:], mtime_ns[:], list(sha256.asstr()[:]))


def _refuse_other_formats(path: Path, file: h5py.File) -> None:
    if _text(file.attrs.get("format", "")) != FORMAT:
        raise RanktagError(
            f"{path}: is HDF5, but not a feature cache of ranktag (no format='{FORMAT}'); "
            "make one with 'extract-features' or ranktag.cache_features"
        )
    version = int(file.attrs["format_version"])
    if version != FORMAT_VERSION:
        raise Mismatch(
            f"{path}: is of cache format {version}, this ranktag ({__version__}) reads format {FORMAT_VERSION}; "
            + ("install a newer ranktag" if version > FORMAT_VERSION else MAKE_AGAIN)
        )


def _features(path: Path, features: h5py.Dataset, files: OpenFiles | None) -> npt.NDArray[Any]:
    """The features, (N, D), mapped from the file or read through ``files``; refused unless all of them are in it."""
    if features.ndim != 2 or features.dtype not in (np.float16, np.float32):
        raise Damaged(
            f"{path}: damaged: 'features' is {features.dtype} of shape {features.shape}, "
            f"expected (N, D) float16 or float32; {MAKE_AGAIN}"
        )
    n, width = features.shape
    if width == 0:
        raise Damaged(f"{path}: damaged: holds 0-dimensional features, expected at least 1; {MAKE_AGAIN}")
    if features.chunks is not None:
        raise RanktagError(f"{path}: 'features' is stored in chunks, expected contiguous; {MAKE_AGAIN}")
    if not n:
        return np.empty((0, width), features.dtype)
    offset = features.id.get_offset()
    if offset is None or offset + n * width * features.dtype.itemsize > path.stat().st_size:
        raise Damaged(f"{path}: damaged: cut short, {n} rows of features do not fit the file; {MAKE_AGAIN}")
    if files is not None:
        rows = FileRows(files, path, int(offset), (n, width), features.dtype, Identity.of(path.stat()))
        return cast("npt.NDArray[Any]", rows)
    return np.memmap(path, np.dtype(features.dtype), "r", int(offset), (n, width))


def first_repeated(ids: Iterable[str]) -> str | None:
    """The first id that stood there before; None if they are unique."""
    seen: set[str] = set()
    for image_id in ids:
        if image_id in seen:
            return image_id
        seen.add(image_id)
    return None


def _text(value: Any) -> str:
    return value.decode("utf-8") if isinstance(value, bytes) else str(value)


def _own_dataset(path: Path, file: h5py.File, name: str) -> h5py.Dataset:
    """A dataset whose bytes are in this very file; links and virtual sources may point anywhere, or nowhere (zeros)."""
    if file.get(name, getlink=True) is None:
        raise Damaged(f"{path}: damaged: the dataset '{name}' is missing; {MAKE_AGAIN}")
    if not isinstance(file.get(name, getlink=True), h5py.HardLink):
        raise RanktagError(f"{path}: '{name}' is a link to elsewhere; a feature cache holds its own data")
    dataset = file[name]
    if not isinstance(dataset, h5py.Dataset):
        raise Damaged(f"{path}: damaged: '{name}' is not a dataset; {MAKE_AGAIN}")
    if dataset.is_virtual or dataset.external:
        raise RanktagError(f"{path}: '{name}' takes its data from other files; a feature cache holds its own data")
    return dataset
