"""Joining shards: what is missing, doubled or of another run is named."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from extracting import SETTINGS, assert_same, make_photos, use_tiny_network
from tiny_backbone import tiny_network

from ranktag.errors import RanktagError
from ranktag.feature_cache import shards
from ranktag.features.extract import extract_features
from ranktag.files.isolation import Trial


@pytest.fixture(autouse=True)
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    use_tiny_network(monkeypatch)


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_photos(tmp_path_factory.mktemp("photos"))


@pytest.fixture(scope="module")
def whole(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The cache of the photos, made in one go."""
    output = tmp_path_factory.mktemp("whole") / "cache.h5"
    extract_features(photos, output, SETTINGS, network=tiny_network())
    return output


@pytest.fixture
def begun(photos: Path, tmp_path: Path) -> Path:
    """The output of a run of which shards 0 and 2 of 4 are done."""
    output = tmp_path / "c.h5"
    extract_features(photos, output, SETTINGS.replace(worker_index=0, worker_count=2))
    return output


def test_missing_shards_are_named(begun: Path) -> None:
    with pytest.raises(RanktagError, match="of 4 shards 2 are missing: 1, 3"):
        shards.join_shards(begun)
    (shards.folder_of(begun) / "00002-of-00004.h5").unlink()
    (shards.folder_of(begun) / "00000-of-00004.h5").unlink()
    with pytest.raises(RanktagError, match="holds no finished shard"):
        shards.join_shards(begun)


def complete(photos: Path, begun: Path) -> Path:
    extract_features(photos, begun, SETTINGS.replace(worker_index=1, worker_count=2))
    return shards.folder_of(begun)


def test_the_last_shard_missing_is_noticed(photos: Path, begun: Path) -> None:
    (complete(photos, begun) / "00003-of-00004.h5").unlink()
    with pytest.raises(RanktagError, match="of 4 shards 1 is missing: 3"):
        shards.join_shards(begun)


def test_a_doubled_shard_is_named(photos: Path, begun: Path) -> None:
    folder = complete(photos, begun)
    shutil.copy(folder / "00001-of-00004.h5", folder / "copy of 1.h5")
    with pytest.raises(
        RanktagError, match=r"(copy of 1|00001-of-00004)\.h5 and (copy of 1|00001-of-00004)\.h5 hold the same images"
    ):
        shards.join_shards(begun)


def test_a_shard_of_another_run_is_named(photos: Path, begun: Path, tmp_path: Path) -> None:
    folder = complete(photos, begun)
    extract_features(photos, tmp_path / "d.h5", SETTINGS.replace(layer="fc6", worker_index=1, worker_count=4))
    shutil.copy(shards.folder_of(tmp_path / "d.h5") / "00001-of-00004.h5", folder)
    with pytest.raises(RanktagError, match=r"00001-of-00004.h5: is of another run than .*layer: 'fc7' / 'fc6'"):
        shards.join_shards(begun)


def test_a_cache_is_no_shard(photos: Path, begun: Path, whole: Path) -> None:
    shutil.copy(whole, shards.folder_of(begun) / "whole.h5")
    with pytest.raises(RanktagError, match="whole.h5: is a feature cache, but not a shard"):
        shards.join_shards(begun)


def test_joining_replaces_nothing_unasked(photos: Path, begun: Path, whole: Path) -> None:
    complete(photos, begun)
    shutil.copy(whole, begun)
    with pytest.raises(RanktagError, match="exists already"):
        shards.join_shards(begun)
    shards.join_shards(begun, overwrite=True)
    assert_same(begun, whole)
    with pytest.raises(RanktagError, match="no such folder of shards"):
        shards.join_shards(begun, overwrite=True)


def test_a_shard_of_another_width_is_named(photos: Path, begun: Path) -> None:
    folder = complete(photos, begun)
    path = folder / "00001-of-00004.h5"
    store = shards.read_shard(path)
    narrow = np.array(store.features[:, :1000])
    shard = shards.Shard(1, 4, 8, 16)
    shards.write_shard(begun, shard, store.image_id, narrow, store.error, store.provenance, 30)
    assert shards.read_shard(path).width == 1000
    with pytest.raises(RanktagError, match=r"00001-of-00004.h5: is of another run than .*width: 4096 / 1000"):
        shards.join_shards(begun)


def test_what_this_process_writes_is_read_back_without_a_fork(
    photos: Path, begun: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = complete(photos, begun)
    tried: list[Path] = []

    def count(action: Callable[[], object]) -> Trial:
        tried.append(folder)
        return Trial(action)

    monkeypatch.setattr("ranktag.feature_cache.store.Trial", count)
    store = shards.read_shard(folder / "00001-of-00004.h5")
    assert len(tried) == 1
    features = np.array(store.features)
    shards.write_shard(begun, shards.Shard(1, 4, 8, 16), store.image_id, features, store.error, store.provenance, 30)
    assert len(tried) == 1
    # The shards may be of other workers, and are tried in one fork; what is joined of them is this process's own.
    shards.join_shards(begun)
    assert len(tried) == 1 + 1


def test_a_shard_that_reads_back_differently_is_refused(
    photos: Path, begun: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = shards.read_shard(shards.folder_of(begun) / "00000-of-00004.h5")
    features = np.array(store.features)
    other = np.array(features)
    other[3, 5] += 1
    opened = shards.open_own
    monkeypatch.setattr(shards, "open_own", lambda path: replace(opened(path), features=other))
    with pytest.raises(RanktagError, match="reads back differently; check the disk"):
        shards.write_shard(
            begun, shards.Shard(1, 4, 8, 16), store.image_id, features, store.error, store.provenance, 30
        )
    assert not (shards.folder_of(begun) / "00001-of-00004.h5").exists()
