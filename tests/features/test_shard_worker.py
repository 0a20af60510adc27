"""The process that computes shards for an engine: what it answers, what it keeps, when it ends."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from added import TINY
from extracting import SETTINGS, assert_same

from ranktag.feature_cache.shards import join_shards
from ranktag.features import backbones, network, shard_worker
from ranktag.features.executors import _ray_task
from ranktag.features.extract import extract_features
from ranktag.features.manifest import for_workers, open_manifest
from ranktag.features.shard_worker import ShardWorker

CONFIG = SETTINGS.replace(backbone="tiny")


@pytest.fixture
def networks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a network that is added here."""
    folder = tmp_path / "networks"
    folder.mkdir()
    (folder / "tiny.py").write_text(TINY)
    monkeypatch.setattr(backbones, "__path__", [*backbones.__path__, str(folder)])
    return folder


@pytest.fixture
def manifest(photos: Path, networks: Path, tmp_path: Path) -> Path:
    """Of 30 photos in 4 shards."""
    report = extract_features(photos, tmp_path / "c.h5", CONFIG.replace(executor="manifest"))
    assert report.manifest is not None
    return report.manifest


def load_request(manifest: Path, **changes: str) -> dict[str, Any]:
    opened = open_manifest(manifest)
    wanted = {**dataclasses.asdict(opened.wanted), **changes}
    return {"load": for_workers(CONFIG.replace(batch_size=None)).to_dict(), "wanted": wanted}


def test_a_network_that_is_loaded_computes_what_comes_then(
    photos: Path, manifest: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded = []
    load = network.load_network
    monkeypatch.setattr(network, "load_network", lambda *a, **k: (loaded.append(a), load(*a, **k))[1])
    worker = ShardWorker(1)
    said = worker.answer(load_request(manifest))
    wanted = open_manifest(manifest).wanted
    assert said == {"weights_sha256": wanted.weights_sha256, "compute_dtype": "float32", "batch_size": 16}
    first = worker.answer({"manifest": str(manifest), "shards": "0-1"})
    assert (first["images"], first["kept"]) == (16, 0)
    assert [[row, reason[:5]] for row, reason in first["failures"]] == [[5, "empty"], [13, "not a"]]
    rest = worker.answer({"manifest": str(manifest), "shards": "1-3"})
    assert (rest["images"], rest["kept"], rest["failures"][0][0]) == (14, 8, 13)
    assert len(loaded) == 1
    alone = tmp_path / "alone.h5"
    extract_features(photos, alone, CONFIG)
    output = open_manifest(manifest).output
    join_shards(output)
    assert_same(output, alone)


def test_it_says_what_is_wrong_here(manifest: Path) -> None:
    worker = ShardWorker(1)
    other = worker.answer(load_request(manifest, ranktag_version="9.1"))
    assert other["error"] == "mismatch" and "ranktag_version: '9.1'" in other["message"] and not other["blind"]
    weights = worker.answer(load_request(manifest, weights_sha256="0" * 64))
    assert weights["error"] == "mismatch" and "is another file here" in weights["message"]
    gone = worker.answer({"manifest": str(manifest) + "x", "shards": "0"})
    assert gone["error"] == "not-found" and "no such manifest" in gone["message"]


def test_it_ends_when_standard_input_closes() -> None:
    command = [sys.executable, "-m", "ranktag.features.shard_worker"]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdin is not None
    time.sleep(0.2)
    assert process.poll() is None
    process.stdin.close()
    assert process.wait(shard_worker.GRACE + 5) == -signal.SIGTERM
    assert process.stdout is not None and process.stdout.read() == b""


@pytest.fixture
def task(monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    """What a node of Ray runs, without Ray; its child says its number, what it sees of GPUs, and what it is told to."""
    child = """if True:
        import json, os, sys
        for line in sys.stdin:
            request = json.loads(line)
            if "exit" in request:
                print("last words", file=sys.stderr, flush=True)
                os._exit(request["exit"])
            print(json.dumps({"pid": os.getpid(), "gpus": os.environ["CUDA_VISIBLE_DEVICES"], **request}), flush=True)
    """
    monkeypatch.setattr(_ray_task, "CHILD", ("-c", child))
    monkeypatch.setattr(_ray_task, "_node", lambda: "n")
    yield monkeypatch
    for kind in list(_ray_task._idle):
        _ray_task._end(kind)


def ask(gpus: float = 0.0, **request: object) -> dict[str, Any]:
    return _ray_task.compute(json.dumps(request), 1, gpus)


def ended(pid: int) -> bool:
    until = time.monotonic() + 10
    while time.monotonic() < until:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.02)
    return False


def test_a_child_is_kept_for_the_next_task(task: pytest.MonkeyPatch) -> None:
    task.setenv("CUDA_VISIBLE_DEVICES", "3")
    first = ask(images=1)
    assert (first["node"], first["images"], first["gpus"]) == ("n", 1, "")
    assert ask(images=2)["pid"] == first["pid"]
    # One that sees a GPU is another, and there is one at a time.
    other = ask(gpus=0.5)
    assert other["gpus"] == "3" and other["pid"] != first["pid"] and ended(first["pid"])


def test_a_child_that_failed_is_not_kept(task: pytest.MonkeyPatch) -> None:
    first = ask(images=1)
    lost = ask(exit=7)
    assert lost["lost"] == "the process that computed ended with exit code 7: last words" and lost["node"] == "n"
    second = ask(error="outage", message="no more memory")
    assert second["pid"] != first["pid"] and ended(second["pid"])
    # One that is killed while nobody asks it is replaced without a word.
    third = ask(images=1)
    (child,) = _ray_task._idle.values()
    os.kill(third["pid"], signal.SIGKILL)
    while child.lives:
        time.sleep(0.02)
    assert ask(images=2)["images"] == 2


def test_an_idle_child_ends(task: pytest.MonkeyPatch) -> None:
    task.setattr(_ray_task, "IDLE", 0.2)
    assert ended(ask(images=1)["pid"]) and not _ray_task._idle
