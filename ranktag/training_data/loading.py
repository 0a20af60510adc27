"""A cache's features, brought where a training can take them from, while other things are made ready."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ranktag.errors import Damaged
from ranktag.feature_cache.store import MAKE_AGAIN, FeatureStore
from ranktag.files.atomic import blaming
from ranktag.training_data.examples import StoredRows

# In bytes: what is waited for where reading is given up, and what is taken beside the features.
READ_AT_ONCE = 2**26


class Loading:
    """Loads a cache's features in a thread, while other things are done within; an error there ends the reading."""

    def __init__(self, device: torch.device, max_memory: float) -> None:
        """max_memory: GiB from which on they are left on disk; so are those larger than half of a GPU's free memory."""
        self._device, self._max_memory = device, max_memory
        self._beside = ThreadPoolExecutor(1)
        self._reading: Future[Tensor] | None = None
        self._given_up = False

    def begin(self, store: FeatureStore) -> None:
        """Begin to read the features of ``store``, unless they are left on disk."""
        self._store, gibibytes = store, store.features.nbytes / 2**30
        if gibibytes <= self._max_memory and (
            self._device.type != "cuda" or gibibytes <= 0.5 * torch.cuda.mem_get_info(self._device)[0] / 2**30
        ):
            self._reading = self._beside.submit(self._read, store)

    def features(self) -> Tensor | StoredRows:
        """All rows, (N, D) as stored: in the device's memory, or left on disk."""
        return _left_on_disk(self._store) if self._reading is None else self._reading.result().to(self._device)

    def _read(self, store: FeatureStore) -> Tensor:
        # Not numpy's memory, for which the system looks for huge pages: measured, 25 ms for 82 MB or 100 to 200 ms.
        rows = torch.empty(store.features.shape, dtype=getattr(torch, store.features.dtype.name))
        self._fill(rows, store)
        return rows

    def _fill(self, rows: Tensor, store: FeatureStore) -> None:
        """Read a cache's features to where they belong, (N, D)."""
        features = store.features
        if store.parts and store.order is None:
            for place, part in zip(rows.split([len(part) for part in store.parts]), store.parts):
                self._fill(place, part)
        elif isinstance(features, np.memmap):
            self._fill_from_file(rows.numpy().data.cast("B"), store.path, features.offset)
        else:
            size = max(1, READ_AT_ONCE // (features.dtype.itemsize * store.width))
            for place, block in zip(rows.split(size), store.blocks(size)):
                if self._given_up:
                    return
                place.copy_(torch.from_numpy(block))

    def _fill_from_file(self, rest: memoryview, path: Path, offset: int) -> None:
        # Read, not copied from a mapping: a page fault for every 4 KiB would take several times as long.
        with blaming(path), open(path, "rb", buffering=0) as file:
            file.seek(offset)
            while len(rest) and not self._given_up and (read := file.readinto(rest[:READ_AT_ONCE])):
                rest = rest[read:]
        if len(rest) and not self._given_up:
            raise Damaged(f"{path}: was cut short while it was read; {MAKE_AGAIN}")

    def __enter__(self) -> Loading:
        return self

    def __exit__(self, *_: object) -> None:
        self._given_up = True
        self._beside.shutdown()


def _left_on_disk(store: FeatureStore) -> Tensor | StoredRows:
    features = store.features
    if not isinstance(features, np.memmap):
        return StoredRows(features)
    # Copy-on-write pages: torch wants writable memory, the file stays as it is.
    return torch.from_numpy(np.memmap(store.path, features.dtype, "c", features.offset, features.shape))
