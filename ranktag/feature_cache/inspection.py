"""What a feature cache holds, and whether every byte of it is as it was written."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ranktag.errors import Outage, RanktagError
from ranktag.feature_cache.digest import content_sha256, image_list_sha256
from ranktag.feature_cache.provenance import Provenance
from ranktag.feature_cache.store import FeatureStore
from ranktag.feature_cache.together import local_place, open_cache
from ranktag.progress import Progress

BLOCK = 1024  # rows read at once


@dataclass(frozen=True)
class Statistics:
    """Of the valid rows, one number a feature: (D,) float64 arrays. zeros: share of rows in which it is 0."""

    zeros: npt.NDArray[np.float64]
    mean: npt.NDArray[np.float64]
    minimum: npt.NDArray[np.float64]
    maximum: npt.NDArray[np.float64]

    def summary(self) -> dict[str, float | int]:
        """Over all features: the share of zeros, the mean, the range, and how many features never differ from 0."""
        return {
            "zeros": float(self.zeros.mean()),
            "mean": float(self.mean.mean()),
            "minimum": float(self.minimum.min()),
            "maximum": float(self.maximum.max()),
            "features_always_zero": int((self.zeros == 1).sum()),
        }


@dataclass(frozen=True)
class Inspection:
    """What was found. Of a file that cannot be opened only ``problems`` is known.

    nan_rows: rows that hold a NaN; in a sound cache those that failed. statistics:
    None without a valid row.
    """

    path: Path
    size: int
    problems: Sequence[str]
    provenance: Provenance | None = None
    dtype: str = ""
    images: int = 0
    failures: Sequence[tuple[str, str]] = ()
    nan_rows: int = 0
    statistics: Statistics | None = None

    def to_dict(self) -> dict[str, Any]:
        """Everything, ready for JSON."""
        statistics = self.statistics
        return {
            "path": str(self.path),
            "bytes": self.size,
            "whole": not self.problems,
            "problems": list(self.problems),
            "provenance": dataclasses.asdict(self.provenance) if self.provenance else None,
            "dtype": self.dtype,
            "images": self.images,
            "valid": self.images - len(self.failures),
            "failed": len(self.failures),
            "nan_rows": self.nan_rows,
            "failures": [{"image_id": image_id, "error": error} for image_id, error in self.failures],
            "statistics": None if statistics is None else statistics.summary(),
            "per_feature": None
            if statistics is None
            else {k: v.tolist() for k, v in dataclasses.asdict(statistics).items()},
        }


def inspect_cache(path: str | Path, progress: Progress | None = None) -> Inspection:
    """Read all of a cache or of a folder of shards, a block of rows at a time.

    progress: is told how many rows are read. Raises RanktagError only if there is no file to read, or a shard is
    missing; what is wrong with a file is in the result's ``problems``.
    """
    path, progress = local_place(path), progress or Progress()
    readable = path.is_file() and os.access(path, os.R_OK)
    try:
        store = open_cache(path)
    except RanktagError as error:
        if not readable or isinstance(error, Outage):
            raise
        return Inspection(path, path.stat().st_size, [str(error)])
    # Every row is read twice: for the statistics, and for the digest.
    with progress.working("Reading", 2 * len(store), "rows"):
        statistics, nan_rows, problems = _read_rows(store, progress)
        problems += _disagreements(store)
        problems = [f"{path}: damaged: {problem}" for problem in problems] + _changed_content(store, progress)
    return Inspection(
        path,
        sum(one.path.stat().st_size for one in store.parts or [store]),
        problems,
        store.provenance,
        store.features.dtype.name,
        len(store),
        [(image_id, error) for image_id, error, valid in zip(store.image_id, store.error, store.valid) if not valid],
        nan_rows,
        statistics,
    )


def _changed_content(store: FeatureStore, progress: Progress) -> list[str]:
    """A sentence for every file of the cache whose bytes are not those that were written."""
    return [
        f"{one.path}: damaged: its content is not what was written (content_sha256 differs)"
        for one in store.parts or [store]
        if (recorded := one.attributes.get("content_sha256")) is not None
        and recorded != content_sha256(one, progress=progress)
    ]


def _disagreements(store: FeatureStore) -> list[str]:
    problems = []
    without = [
        image_id for image_id, error, valid in zip(store.image_id, store.error, store.valid) if not valid and not error
    ]
    if without:
        problems.append(f"{len(without):,} failed rows have no reason ('{without[0]}' first)")
    # A shard holds some of the list's images, and the digest of the whole list.
    if "row_start" not in store.attributes and image_list_sha256(store.image_id) != store.provenance.image_list_sha256:
        problems.append("the image ids are not those the features were made of (image_list_sha256 differs)")
    return problems


def _read_rows(store: FeatureStore, progress: Progress) -> tuple[Statistics | None, int, list[str]]:
    """Statistics of the valid rows, the number of rows that hold a NaN, and what is wrong with the numbers."""
    zeros, total = np.zeros(store.width), np.zeros(store.width)
    low, high = np.full(store.width, np.inf), np.full(store.width, -np.inf)
    nan_rows = 0
    infinite: list[int] = []
    filled: list[int] = []
    for start, block in zip(range(0, len(store), BLOCK), store.blocks(BLOCK)):
        # float32 is exact for both stored types and spares float16's slow arithmetic.
        rows = np.asarray(block, np.float32)
        valid = store.valid[start : start + BLOCK]
        finite = np.isfinite(rows).all(axis=1)
        nan_rows += int(np.isnan(rows).any(axis=1).sum())
        infinite.extend((start + np.flatnonzero(valid & ~finite)).tolist())
        filled.extend((start + np.flatnonzero(~valid & ~np.isnan(rows).all(axis=1))).tolist())
        good = rows[valid & finite]
        if len(good):
            zeros += (good == 0).sum(axis=0)
            total += good.sum(axis=0, dtype=np.float64)
            np.minimum(low, good.min(axis=0), out=low)
            np.maximum(high, good.max(axis=0), out=high)
        progress.advance(len(rows))
    problems = []
    if infinite:
        problems.append(
            f"{len(infinite):,} valid rows hold numbers that are not finite ('{store.image_id[infinite[0]]}' first)"
        )
    if filled:
        problems.append(
            f"{len(filled):,} failed rows hold numbers instead of NaN ('{store.image_id[filled[0]]}' first)"
        )
    count = int(store.valid.sum()) - len(infinite)
    if not count:
        return None, nan_rows, problems
    if zeros.min() == count:
        problems.append("every feature of every image is 0, as in a file whose data were never written")
    return Statistics(zeros / count, total / count, low, high), nan_rows, problems
