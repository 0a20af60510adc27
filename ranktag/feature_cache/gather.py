"""Rows of several caches as one file, whatever their order: how caches are joined and brought up to date."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ranktag.feature_cache.file_states import FileStates
from ranktag.feature_cache.provenance import Provenance
from ranktag.feature_cache.store import FeatureStore
from ranktag.feature_cache.write import write_features
from ranktag.progress import Progress

BLOCK = 1024  # rows copied at once
NOWHERE = -1


def write_gathered(
    path: Path,
    image_ids: Sequence[str],
    stores: Sequence[FeatureStore],
    source: npt.NDArray[np.int64],
    row: npt.NDArray[np.int64],
    provenance: Provenance,
    *,
    files: FileStates | None = None,
    missing: str = "",
    progress: Progress | None = None,
) -> None:
    """Write N rows of ``stores``, which are of one type and width, at ``path``, which the caller makes atomic.

    source, row: (N,), the number of each image's store and its row there; where the source is -1 the row failed
    for the reason ``missing``. files: of the N images. progress: is told how many rows are written.
    """
    where = list(zip(source.tolist(), row.tolist()))
    write_features(
        path,
        image_ids,
        _blocks(stores, source, row, progress or Progress()),
        np.array([s != NOWHERE and stores[s].valid[r] for s, r in where], bool),
        [missing if s == NOWHERE else stores[s].error[r] for s, r in where],
        provenance,
        stores[0].features.dtype.name,
        stores[0].width,
        files=files,
    )


def gathered_files(
    stores: Sequence[FeatureStore], source: npt.NDArray[np.int64], row: npt.NDArray[np.int64]
) -> FileStates | None:
    """The files of N rows of ``stores``; None where no store knows any. A row of no store is of an unknown file."""
    if all(store.files is None for store in stores):
        return None
    parts = [*(store.files or FileStates.unknown(len(store)) for store in stores), FileStates.unknown(1)]
    first = np.cumsum([0, *map(len, parts[:-1])])
    return FileStates.chained(parts).take(np.where(source == NOWHERE, first[-1], first[source] + row))


def _blocks(
    stores: Sequence[FeatureStore], source: npt.NDArray[np.int64], row: npt.NDArray[np.int64], progress: Progress
) -> Iterator[npt.NDArray[Any]]:
    """The features, (<= BLOCK, D) at a time."""
    for start in range(0, len(source), BLOCK):
        sources, rows = source[start : start + BLOCK], row[start : start + BLOCK]
        block = np.full((len(sources), stores[0].width), np.nan, stores[0].features.dtype)
        for number in np.unique(sources[sources != NOWHERE]).tolist():
            mine = sources == number
            block[mine] = stores[number].features[rows[mine]]
            stores[number].forget_pages()
        yield block
        progress.advance(len(block))
