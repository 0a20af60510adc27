"""Features that are read while other things are made ready."""

from __future__ import annotations

import io
import time
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from making import make_cache

from ranktag.errors import Damaged
from ranktag.feature_cache.shard_folder import open_shards
from ranktag.feature_cache.shards import cut, folder_of, write_shard
from ranktag.feature_cache.store import FeatureStore, open_features
from ranktag.feature_cache.together import open_together
from ranktag.training_data import loading as module
from ranktag.training_data.loading import Loading

CPU = torch.device("cpu")
FEATURES = np.random.default_rng(0).standard_normal((37, 5)).astype(np.float16)


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return make_cache(tmp_path / "c.h5", [f"{n}.jpg" for n in range(len(FEATURES))], FEATURES)


def in_shards(cache: Path, size: int) -> FeatureStore:
    """The rows of a cache in shards of so many."""
    store, output = open_features(cache), cache.with_name("sharded.h5")
    folder_of(output).mkdir()
    for shard in cut(len(store), size):
        rows = slice(shard.start, shard.stop)
        parts = store.image_id[rows], store.features[rows], store.error[rows]
        write_shard(output, shard, *parts, store.provenance, len(store))
    return open_shards(folder_of(output))


@pytest.fixture(params=["one file", "two files", "shards"])
def store(request: pytest.FixtureRequest, cache: Path) -> FeatureStore:
    if request.param == "shards":
        return in_shards(cache, 8)
    return open_together(cache if request.param == "one file" else [cache, f"again/={cache}"])


@pytest.mark.parametrize("max_memory", [1.0, 0.0], ids=["read", "left"])
def test_all_rows_are_there_as_stored_however_little_is_read_at_once(
    store: FeatureStore, monkeypatch: pytest.MonkeyPatch, max_memory: float
) -> None:
    monkeypatch.setattr(module, "READ_AT_ONCE", 7)
    with Loading(CPU, max_memory) as loading:
        loading.begin(store)
        features = loading.features()
    expected = np.tile(FEATURES, (len(store) // len(FEATURES), 1))
    np.testing.assert_array_equal(features[torch.arange(len(store))].numpy(), expected)


def test_shards_are_read_without_a_second_copy_of_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    features = np.ones((4096, 256), np.float16)
    store = in_shards(make_cache(tmp_path / "large.h5", [str(n) for n in range(len(features))], features), 512)
    monkeypatch.setattr(module, "READ_AT_ONCE", 2**16)
    # What numpy takes, into which a shard's rows are read; torch's own, the two MiB that are returned, are not counted.
    tracemalloc.start()
    try:
        with Loading(CPU, 1.0) as loading:
            loading.begin(store)
            loaded = loading.features()
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert loaded.shape == features.shape and most < 2**19


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
