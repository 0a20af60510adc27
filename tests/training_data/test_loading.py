"""Features that are read while other things are made ready."""

from __future__ import annotations

import io
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from making import make_cache

from ranktag.errors import Damaged
from ranktag.feature_cache.store import open_features
from ranktag.training_data import loading as module
from ranktag.training_data.loading import Loading

CPU = torch.device("cpu")
FEATURES = np.random.default_rng(0).standard_normal((37, 5)).astype(np.float16)


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return make_cache(tmp_path / "c.h5", [f"{n}.jpg" for n in range(len(FEATURES))], FEATURES)


@pytest.mark.parametrize("max_memory", [1.0, 0.0], ids=["read", "mapped"])
def test_all_rows_are_there_as_stored_however_little_is_read_at_once(
    cache: Path, monkeypatch: pytest.MonkeyPatch, max_memory: float
) -> None:
    monkeypatch.setattr(module, "READ_AT_ONCE", 7)
    with Loading(CPU, max_memory) as loading:
        loading.begin(open_features(cache))
        features = loading.features()
    assert isinstance(features, torch.Tensor)
    np.testing.assert_array_equal(features.numpy(), open_features(cache).features)


def test_a_file_that_is_cut_meanwhile_is_refused(cache: Path) -> None:
    store = open_features(cache)
    end = store.features.offset + store.features.nbytes  # type: ignore[attr-defined]
    with Loading(CPU, 1.0) as loading:
        cache.write_bytes(cache.read_bytes()[: end - 1])
        loading.begin(store)
        with pytest.raises(Damaged, match="cut short while it was read"):
            loading.features()


def test_reading_that_nobody_waits_for_any_more_ends(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reads = 0

    class Slow(io.FileIO):
        def readinto(self, buffer: Any) -> int:
            nonlocal reads
            reads += 1
            while not loading._given_up:
                time.sleep(0.001)
            return super().readinto(buffer)

    monkeypatch.setattr(module, "READ_AT_ONCE", 1)
    monkeypatch.setattr(module, "open", lambda path, mode, buffering: Slow(path), raising=False)
    with pytest.raises(ValueError, match="something else"), Loading(CPU, 1.0) as loading:
        loading.begin(open_features(cache))
        raise ValueError("something else")
    assert reads <= 1
