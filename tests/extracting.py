"""Extractions by a tiny network: photos, settings, and what the caches that come of them must have in common."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tiny_backbone import load_tiny

from ranktag.config import ExtractionConfig
from ranktag.feature_cache import shards
from ranktag.feature_cache.store import open_features

SETTINGS = ExtractionConfig(weights="random:0", precision="fp32", batch_size=4, workers=0, shard_size=8, device="cpu")
PROGRAM = [sys.executable, str(Path(__file__).parent / "tiny_backbone.py")]
# fmt: off
OPTIONS = [
    "--weights", "random:0", "--precision", "fp32", "--batch-size", "4", "--workers", "1", "--shard-size", "8",
    "--device", "cpu",
]
# fmt: on
# What torchrun and Slurm say which worker this is with.
VARIABLES = (
    "RANK",
    "WORLD_SIZE",
    "LOCAL_RANK",
    "LOCAL_WORLD_SIZE",
    "SLURM_ARRAY_TASK_ID",
    "SLURM_PROCID",
    "SLURM_NTASKS",
    "JOB_COMPLETION_INDEX",
)  # fmt: skip


def use_tiny_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """The tiny network is loaded in VGG's place, by one worker that is alone."""
    monkeypatch.setattr("ranktag.features.network.load_network", load_tiny)
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)


def make_photos(folder: Path) -> Path:
    """30 photos of noise, two of which cannot be read: numbers 5 and 13."""
    random = np.random.default_rng(0)
    for number in range(30):
        path = folder / f"{number:02}.png"
        if number in (5, 13):
            path.write_bytes(b"" if number == 5 else b"text")
        else:
            Image.fromarray(random.integers(0, 256, (16, 20, 3), np.uint8)).save(path)
    return folder


def assert_same(one: Path, other: Path) -> None:
    """Equal to the bit in features, and in all else but the time."""
    a, b = open_features(one), open_features(other)
    assert a.features.dtype == b.features.dtype and a.features.tobytes() == b.features.tobytes()
    assert list(a.image_id) == list(b.image_id) and list(a.error) == list(b.error) and (a.valid == b.valid).all()
    assert a.attributes["content_sha256"] == b.attributes["content_sha256"]
    assert not a.provenance.differences(b.provenance, [n for n in vars(a.provenance) if n != "created"])


def finished_shards(output: Path) -> int:
    return len(list(shards.folder_of(output).glob("[0-9]*.h5")))


def start(photos: Path, output: Path, *options: str, seconds_per_batch: float = 0.3) -> subprocess.Popen[str]:
    """The command in a process of its own, slowly."""
    command = [*PROGRAM, "extract-features", str(photos), "-o", str(output), *OPTIONS, *options]
    environment = {**os.environ, "SECONDS_PER_BATCH": str(seconds_per_batch)}
    return subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )


def wait_for(condition: Callable[[], bool], seconds: float = 60) -> None:
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, "waited in vain"
        time.sleep(0.02)
