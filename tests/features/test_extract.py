"""Stage one as a whole: nothing is lost, nothing depends on how often or by how many it was run."""

from __future__ import annotations

import json
import signal
import subprocess
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from extracting import PROGRAM, SETTINGS, assert_same, finished_shards, start, wait_for
from tiny_backbone import tiny_network

from ranktag.feature_cache import shards
from ranktag.feature_cache.store import open_features
from ranktag.features.backbones import vgg16
from ranktag.features.extract import extract_features
from ranktag.images.listing import list_images
from ranktag.images.pixels import read_pixels

pytestmark = pytest.mark.usefixtures("tiny")


def test_the_cache_is_as_the_contract_says(whole: Path, photos: Path) -> None:
    with h5py.File(whole) as file:
        assert set(file) == {"features", "image_id", "valid", "error", "file_size", "file_mtime_ns", "file_sha256"}
        assert (
            file["features"].shape == (30, 4096)
            and file["features"].dtype == np.float16
            and file["features"].chunks is None
        )
        assert file.attrs["format"] == "ranktag-features" and file.attrs["format_version"] == 1
        assert (file.attrs["backbone"], file.attrs["layer"], file.attrs["weights"]) == ("vgg16", "fc7", "random:0")
        assert file.attrs["compute_dtype"] == "float32" and json.loads(file.attrs["preprocessing"])["resize"] == 256
    store = open_features(whole)
    assert (
        list(store.image_id) == [f"{k:02}.png" for k in range(30)]
        and store.provenance.image_list_sha256 == list_images(photos).sha256()
    )
    assert np.flatnonzero(~store.valid).tolist() == [5, 13]
    assert (
        store.error[5] == "empty (0 bytes)"
        and "not an image" in store.error[13]
        and not any(store.error[k] for k in range(30) if k not in (5, 13))
    )
    assert np.isnan(store.features[[5, 13]]).all() and np.isfinite(store.features[store.valid]).all()
    with torch.inference_mode():
        expected = tiny_network()(
            torch.from_numpy(read_pixels(photos / "17.png", vgg16.BACKBONE.preprocessing)[None].copy())
        )[0].numpy()
    np.testing.assert_allclose(store.features[17], expected, rtol=1e-3, atol=1e-4)
    assert not whole.with_name("cache.h5.shards").exists()


@pytest.mark.parametrize("change", [{"workers": 1}, {"workers": 3}, {"shard_size": 12}, {"shard_size": 1000}])
def test_neither_workers_nor_shards_change_the_file(
    photos: Path, whole: Path, tmp_path: Path, change: dict[str, int]
) -> None:
    report = extract_features(photos, tmp_path / "c.h5", SETTINGS.replace(**change))
    assert_same(tmp_path / "c.h5", whole)
    assert (report.images, report.computed, report.cache) == (30, 30, tmp_path / "c.h5")
    assert [image_id for image_id, _ in report.failures] == ["05.png", "13.png"]


@pytest.mark.parametrize("count", [2, 3, 7])
def test_workers_share_the_shards_and_joining_gives_the_same_file(
    photos: Path, whole: Path, tmp_path: Path, count: int
) -> None:
    output = tmp_path / "c.h5"
    for index in reversed(range(count)):
        report = extract_features(photos, output, SETTINGS.replace(worker_index=index, worker_count=count))
        assert report.cache is None and report.worker == (index, count) and not output.exists()
    shards.join_shards(output)
    assert_same(output, whole)
    assert not shards.folder_of(output).exists()


def test_the_second_process_on_one_output_says_so_and_stops(photos: Path, whole: Path, tmp_path: Path) -> None:
    output = tmp_path / "c.h5"
    first = start(photos, output)
    wait_for(lambda: finished_shards(output) >= 1)
    first.send_signal(signal.SIGSTOP)
    second = start(photos, output)
    _, err = second.communicate(timeout=60)
    assert second.returncode == 3 and "another process is at work on it" in err and err.count("\n") == 1
    join = subprocess.run([*PROGRAM, "join-features", str(output)], capture_output=True, text=True, check=False)
    assert join.returncode == 3 and "still being worked on" in join.stderr
    first.send_signal(signal.SIGCONT)
    assert first.wait(timeout=60) == 1  # two images failed
    assert_same(output, whole)


def test_two_workers_at_once_make_the_same_file(photos: Path, whole: Path, tmp_path: Path) -> None:
    output = tmp_path / "c.h5"
    both = [
        start(photos, output, "--worker-index", str(k), "--worker-count", "2", seconds_per_batch=0.05) for k in range(2)
    ]
    assert [process.wait(timeout=120) for process in both] == [1, 1]  # each met an image that failed
    shards.join_shards(output)
    assert_same(output, whole)
