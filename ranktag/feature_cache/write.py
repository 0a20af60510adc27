"""Writing a feature cache: of extraction, or of features that were computed elsewhere."""

from __future__ import annotations

import dataclasses
import itertools
import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt

from ranktag.errors import RanktagError
from ranktag.feature_cache.digest import ContentDigest, image_list_sha256
from ranktag.feature_cache.file_states import FileStates
from ranktag.feature_cache.hdf5 import KeepsFailure, created_hdf5, reason_of
from ranktag.feature_cache.provenance import Provenance, utc_now
from ranktag.feature_cache.store import FORMAT, FORMAT_VERSION, first_repeated
from ranktag.files.atomic import atomic_path, refuse_existing
from ranktag.version import __version__

BLOCK = 1024  # rows converted at once
_NO_TEXT = re.compile("[\0\ud800-\udfff]")


def write_features(
    path: Path,
    image_ids: Sequence[str],
    blocks: Iterable[npt.NDArray[Any]],
    valid: npt.NDArray[np.bool_],
    error: Sequence[str],
    provenance: Provenance,
    dtype: str,
    width: int,
    attributes: Mapping[str, Any] | None = None,
    files: FileStates | None = None,
    read_back: ContentDigest | None = None,
) -> None:
    """Write a cache file at ``path``, which the caller makes atomic.

    blocks: arrays of shape (rows, D), of type ``dtype``, that together hold the N rows in order.
    valid, error, files: looked at when the last block is taken, so that they may be found out on the way.
    provenance: where it says no time, that is written when all the rest is. dtype: 'float16' or 'float32'. width: D.
    attributes: more root attributes. files: of the N images, if they are known. read_back: is given what the disk
    has of the features, once each block is on it; if left out, they are not read.
    """
    n = len(image_ids)
    digest = ContentDigest()
    strings = h5py.string_dtype("utf-8")
    with created_hdf5(path) as (file, raw):
        made = dataclasses.asdict(provenance)
        created = made.pop("created")
        file.attrs.update({"format": FORMAT, "format_version": FORMAT_VERSION, **made, **(attributes or {})})
        features = file.create_dataset("features", (n, width), dtype)
        file.create_dataset("image_id", (n,), strings, data=np.array(image_ids, dtype=object))
        row = 0
        for block in blocks:
            if raw.failure is not None:
                break
            block = np.asarray(block, dtype)
            features[row : row + len(block)] = block
            digest.features(block)
            if read_back is not None and len(block):
                read_back.features(_on_disk(raw, features, row, len(block)))
            row += len(block)
        if row != n:
            raise ValueError(f"{row} rows of features for {n} images")
        file.create_dataset("valid", data=np.asarray(valid, bool))
        file.create_dataset("error", (n,), strings, data=np.array(error, dtype=object))
        if files is not None:
            file.create_dataset("file_size", data=files.size)
            file.create_dataset("file_mtime_ns", data=files.mtime_ns)
            file.create_dataset("file_sha256", (n,), strings, data=np.array(files.sha256, dtype=object))
        file.attrs["created"] = created or utc_now()
        file.attrs["content_sha256"] = digest.finish(image_ids, valid, error)


def _on_disk(raw: KeepsFailure, features: h5py.Dataset, row: int, rows: int) -> npt.NDArray[Any]:
    """Rows of the features, as the disk has them once they are synced; fewer, if it does not take them."""
    features.flush()
    os.fsync(raw.fileno())
    size = features.shape[1] * features.dtype.itemsize
    found = os.pread(raw.fileno(), rows * size, features.id.get_offset() + row * size)
    return np.frombuffer(found, np.uint8)


def cache_features(
    features: Any,
    image_ids: Iterable[str] | None = None,
    path: str | Path | None = None,
    *,
    source: str = "bring-your-own",
    dtype: str = "float16",
    overwrite: bool = False,
) -> Path:
    """Write features you have computed yourself as a cache that stage two takes.

    features: (N, D) array or DataFrame, D at least 1, or an iterator of such arrays, (rows, D), that hold the N rows
    one after the other; rows that are not finite become failed rows. An array is taken a block at a time, so a
    memory-mapped one may be larger than the memory. image_ids: N unique ids, bytes are read as UTF-8; left out, they
    are the index of the DataFrame: ``cache_features(frame, path="features.h5")``. source: what made the features;
    models trained on one source refuse caches of another. dtype: what is stored. Returns ``path``.

    Raises RanktagError for what is no array of numbers, a wrong shape, ids that are
    empty, repeated or no text, and an existing file.
    """
    if path is None:
        raise RanktagError("no path is given for the cache; name the .h5 file to write")
    path = Path(path)
    refuse_existing(path, overwrite)
    batches = (_array(batch) for batch in features) if isinstance(features, Iterator) else iter([_array(features)])
    ids = [_id_text(i) for i in (_index(features) if image_ids is None else image_ids)]
    first = next(batches, None)
    if first is None:
        raise RanktagError("the iterator of features holds no batch; it gives arrays of shape (rows, D)")
    if not isinstance(features, Iterator) and len(ids) != len(first):
        raise RanktagError(f"{len(ids)} image ids for {len(first)} rows of features; each row has one")
    _refuse_bad_ids(ids)
    if dtype not in ("float16", "float32"):
        raise RanktagError(f"dtype '{dtype}' is not one of float16, float32; choose one of them")
    valid, errors = np.ones(len(ids), bool), [""] * len(ids)
    blocks = _stored(itertools.chain([first], batches), dtype, first.shape[1], valid, errors)
    with atomic_path(path) as temporary:
        write_features(temporary, ids, blocks, valid, errors, _brought(source, ids), dtype, first.shape[1])
    return path


def _stored(
    batches: Iterable[npt.NDArray[Any]], dtype: str, width: int, valid: npt.NDArray[np.bool_], error: list[str]
) -> Iterator[npt.NDArray[Any]]:
    """The rows of all batches as they are stored, at most BLOCK at a time; which are valid, (N,), is noted on the way.

    Raises RanktagError for what is no number, a batch of another width, and more or fewer rows than N.
    """
    row = 0
    for batch in batches:
        if batch.shape[1] != width:
            raise RanktagError(
                f"the batch of features from row {row:,} on has {batch.shape[1]} columns, the first one {width}; "
                "all have as many"
            )
        if row + len(batch) > len(valid):
            break
        for start in range(0, len(batch), BLOCK):
            with np.errstate(over="ignore"):
                stored = _numbers(batch[start : start + BLOCK]).astype(dtype)
            finite = np.isfinite(stored).all(axis=1)
            for bad in np.flatnonzero(~finite).tolist():
                stored[bad], valid[row + bad], error[row + bad] = np.nan, False, "the feature is not finite"
            yield stored
            row += len(stored)
    else:
        if row == len(valid):
            return
    raise RanktagError(f"{len(valid):,} image ids for more or fewer rows of features than that; each row has one")


def _brought(source: str, ids: Sequence[str]) -> Provenance:
    """The provenance of features that ranktag has not computed."""
    return Provenance(
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


def _index(features: Any) -> Iterable[Any]:
    """The ids in the index of a DataFrame. Raises RanktagError for anything else."""
    import pandas as pd

    if not isinstance(features, pd.DataFrame):
        raise RanktagError("the features have no image ids; give image_ids, or a DataFrame whose index they are")
    index: Iterable[Any] = features.index
    return index


def _id_text(image_id: Any) -> str:
    """An id as text. Raises RanktagError for bytes that are no text."""
    if not isinstance(image_id, (bytes, bytearray)):
        return str(image_id)
    try:
        return image_id.decode("utf-8")
    except UnicodeDecodeError as error:
        raise RanktagError(
            f"image id {bytes(image_id)!r} is not UTF-8 ({error.reason} at byte {error.start}); decode it first"
        ) from None


def _refuse_bad_ids(ids: Sequence[str]) -> None:
    repeated = first_repeated(ids)
    if repeated is not None:
        raise RanktagError(f"image id '{repeated}' is there twice; ids must be unique")
    bad = next((i for i in ids if not i or _NO_TEXT.search(i)), None)
    if bad is not None:
        raise RanktagError(
            f"image id {bad!r} is empty or holds a NUL byte or what is no text; give the image another id"
        )


def _array(features: Any) -> npt.NDArray[Any]:
    """Whatever holds rows of numbers as an array (N, D), of any type. Raises RanktagError."""
    try:
        array = np.asarray(features)
    # RuntimeError: what a tensor of torch raises that is still part of a graph.
    except (TypeError, ValueError, RuntimeError) as error:
        raise _no_numbers(error) from None
    if array.ndim == 2 and array.shape[1]:
        return array
    _numbers(array[:0] if array.ndim else array)
    raise RanktagError(
        f"features have shape {array.shape}, expected (N, D), D at least 1; one row an image, one column a number"
    )


def _numbers(rows: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
    """Real numbers as float32. Raises RanktagError for anything else."""
    try:
        if rows.dtype.kind == "c":
            raise TypeError("they are complex")
        with np.errstate(over="ignore"):
            return rows.astype(np.float32, copy=False)
    except (TypeError, ValueError) as error:
        raise _no_numbers(error) from None


def _no_numbers(error: Exception) -> RanktagError:
    return RanktagError(f"features are not numbers ({reason_of(error)}); give a numeric array or DataFrame")
