"""Rows of several caches as one file, whatever their order: how caches are joined and brought up to date."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from ranktag.feature_cache.digest import ContentDigest
from ranktag.feature_cache.file_states import FileStates
from ranktag.feature_cache.provenance import Provenance
from ranktag.feature_cache.store import FeatureStore
from ranktag.feature_cache.write import write_features
from ranktag.progress import Progress

BLOCK = 1024  # rows copied at once
NOWHERE = -1


class Stores(Protocol):
    """Stores by number."""

    def __getitem__(self, number: int, /) -> FeatureStore:
        """The store of that number."""


def write_gathered(
    path: Path,
    image_ids: Sequence[str],
    stores: Stores,
    source: npt.NDArray[np.int64],
    row: npt.NDArray[np.int64],
    provenance: Provenance,
    *,
    files: FileStates | None = None,
    fill_files: bool = False,
    missing: str = "",
    read_back: ContentDigest | None = None,
    progress: Progress | None = None,
) -> None:
    """Write N rows of ``stores``, which are of one type and width, at ``path``, which the caller makes atomic.

    source, row: (N,), the number of each image's store and its row there; where the source is -1 the row failed
    for the reason ``missing``. A store is asked for once for each block that rows of it are in. files: of the N images.
    fill_files: they are filled in with what the stores know. read_back: see ``write_features``. progress: is told how
    many rows are written.
    """
    gathered = _Gathered(stores, source, row, missing, files if fill_files else None)
    write_features(
        path,
        image_ids,
        gathered.blocks(progress or Progress()),
        gathered.valid,
        gathered.error,
        provenance,
        stores[0].features.dtype.name,
        stores[0].width,
        files=files,
        read_back=read_back,
    )


class _Gathered:
    """N rows of several stores.

    valid: (N,) bool, error: N reasons; of the rows whose features were taken, as is what is filled into ``files``.
    """

    def __init__(
        self,
        stores: Stores,
        source: npt.NDArray[np.int64],
        row: npt.NDArray[np.int64],
        missing: str,
        files: FileStates | None,
    ) -> None:
        self._stores, self._source, self._row, self._files = stores, source, row, files
        self._empty = np.full((1, stores[0].width), np.nan, stores[0].features.dtype)
        self.valid, self.error = np.zeros(len(source), bool), [missing] * len(source)

    def blocks(self, progress: Progress) -> Iterator[npt.NDArray[Any]]:
        """The features, (<= BLOCK, D) at a time."""
        for start in range(0, len(self._source), BLOCK):
            source = self._source[start : start + BLOCK]
            stores = {number: self._stores[number] for number in np.unique(source[source != NOWHERE]).tolist()}
            for number, store in stores.items():
                self._note(store, start + np.flatnonzero(source == number))
            yield self._block(source, self._row[start : start + BLOCK], stores)
            for store in stores.values():
                store.forget_pages()
            progress.advance(len(source))

    def _note(self, store: FeatureStore, places: npt.NDArray[np.int64]) -> None:
        """What is known of its rows, beside their features."""
        rows = self._row[places]
        self.valid[places] = store.valid[rows]
        for place, row in zip(places.tolist(), rows.tolist()):
            self.error[place] = store.error[row]
        if self._files is not None and store.files is not None:
            self._files.put(places, store.files.take(rows))

    def _block(
        self, source: npt.NDArray[np.int64], row: npt.NDArray[np.int64], stores: Mapping[int, FeatureStore]
    ) -> npt.NDArray[Any]:
        """The features of the rows of some stores."""
        if len(stores) == 1 and NOWHERE not in source:
            features = next(iter(stores.values())).features
            # Rows that lie together need not be copied.
            together = np.array_equal(row, np.arange(row[0], row[0] + len(row)))
            return features[int(row[0]) : int(row[-1]) + 1] if together else features[row]
        block = self._empty.repeat(len(source), 0)
        for number, store in stores.items():
            mine = source == number
            block[mine] = store.features[row[mine]]
        return block


def gathered_files(
    stores: Sequence[FeatureStore], source: npt.NDArray[np.int64], row: npt.NDArray[np.int64]
) -> FileStates | None:
    """The files of N rows of ``stores``; None where no store knows any. A row of no store is of an unknown file."""
    if all(store.files is None for store in stores):
        return None
    parts = [*(store.files or FileStates.unknown(len(store)) for store in stores), FileStates.unknown(1)]
    first = np.cumsum([0, *map(len, parts[:-1])])
    return FileStates.chained(parts).take(np.where(source == NOWHERE, first[-1], first[source] + row))
