"""Broken run folders, full and read-only disks, kills and rivals, over every command that is concerned.

The tables are in ``faults``.
"""

from __future__ import annotations

import json
import os
import random
import resource
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from faults import (
    MODEL_COMMANDS,
    MODEL_FAULTS,
    REFUSED,
    RUN_FAULTS,
    SMALL,
    STATE_FAULTS,
    Fault,
    Place,
    mark_of,
    snapshot,
)
from making import tiny
from outcome import Outcome
from tiny_backbone import load_tiny

from ranktag.config import EvaluationConfig
from ranktag.evaluation.evaluate import evaluate
from ranktag.evaluation.report.folder import FILES
from ranktag.feature_cache.inspection import inspect_cache
from ranktag.feature_cache.shards import Shard, folder_of, join_shards, read_shard, write_shard
from ranktag.feature_cache.store import open_features
from ranktag.feature_cache.write import cache_features
from ranktag.files.lock import FileLock
from ranktag.models.checkpoint import load_checkpoint, read_tensors, save_checkpoint
from ranktag.tags.predictions import read_predictions, write_predictions
from ranktag.training import run as training
from ranktag.training.names import EVENT_FILES
from ranktag.training.sweep import sweep
from ranktag.training.train import train


@pytest.mark.parametrize("command", MODEL_COMMANDS)
@pytest.mark.parametrize("fault", [*RUN_FAULTS, *MODEL_FAULTS], ids=str)
def test_fault_of_a_model(place: Place, fault: Fault, command: str) -> None:
    code = fault.codes.get(command, REFUSED)
    if code is None:
        return
    fault.make(place.model / "model.pt")
    place.does(command, code, place.model, *fault.words)
    assert not mark_of(place.model / "model.pt").exists(), "something in the file was run"


@pytest.mark.parametrize("fault", [*RUN_FAULTS, *STATE_FAULTS], ids=str)
def test_fault_of_a_state(place: Place, fault: Fault) -> None:
    fault.make(place.model / "state.pt")
    place.does("resume", REFUSED, place.model, *fault.words)
    assert not mark_of(place.model / "state.pt").exists(), "something in the file was run"


# Disks. Every command that writes -> its arguments with the output in a folder, and the names it makes there.


@dataclass(frozen=True)
class Writer:
    """name. arguments: of a call that writes into a folder. final: what stands there then. again: to go on with."""

    name: str
    arguments: Callable[[Place, Path], tuple[object, ...]]
    final: str
    again: tuple[object, ...] = ()

    def __str__(self) -> str:
        return self.name


def joining(place: Place, disk: Path) -> tuple[object, ...]:
    """Join shards that lie on another disk: there is no room for them on the small ones."""
    link = disk / "joined.h5.shards"
    if not link.is_symlink():
        link.parent.mkdir(exist_ok=True)
        link.symlink_to(place.folder / "some.shards")
    if not (place.folder / "some.shards").exists() or not list((place.folder / "some.shards").glob("*.h5")):
        shutil.copytree(place.shard.parent, place.folder / "some.shards", dirs_exist_ok=True)
    return "join-features", disk / "joined.h5", "--quiet"


EXTRACTION = (
    "--weights",
    "random:0",
    "--workers",
    0,
    "--shard-size",
    4,
    "--device",
    "cpu",
    "--precision",
    "fp32",
    "--quiet",
)
WRITERS = [
    Writer(
        "extract-features",
        lambda place, disk: ("extract-features", place.folder / "photos", "-o", disk / "c.h5", *EXTRACTION),
        "c.h5",
    ),
    Writer("join-features", joining, "joined.h5"),
    Writer(
        "train-from-cache",
        lambda place, disk: ("train-from-cache", place.cache, place.tags, "-o", disk / "run", *SMALL),
        "run",
        ("--resume",),
    ),
    Writer(
        "train with TensorBoard",
        lambda place, disk: (
            "train-from-cache",
            place.cache,
            place.tags,
            "-o",
            disk / "run",
            *SMALL,
            "--epochs",
            60,
            "--patience",
            60,
            "--tensorboard",
        ),
        "run",
        ("--resume",),
    ),
    Writer(
        "train a baseline",
        lambda place, disk: (
            "train-from-cache",
            place.cache,
            place.tags,
            "-o",
            disk / "run",
            "--model",
            "linear",
            "--device",
            "cpu",
            "--quiet",
        ),
        "run",
        ("--resume",),
    ),
    Writer(
        "train several",
        lambda place, disk: ("train-from-cache", place.cache, place.tags, "-o", disk / "run", *SMALL, "--seeds", "0,1"),
        "run",
        ("--resume",),
    ),
    Writer(
        "export-tags",
        lambda place, disk: (
            "export-tags",
            place.cache,
            "--model",
            place.model,
            "-o",
            disk / "p.csv",
            "--device",
            "cpu",
            "--quiet",
        ),
        "p.csv",
    ),
    Writer(
        "evaluate",
        lambda place, disk: ("evaluate", place.predictions, place.tags, "-o", disk / "report", "--resamples", 0),
        "report",
    ),
    Writer("prepare csv", lambda place, disk: ("prepare", "csv", place.tags, "-o", disk / "t.csv"), "t.csv"),
]


@pytest.fixture(autouse=True)
def network(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ranktag.features.network.load_network", load_tiny)


@contextmanager
def disk_of(folder: Path, kibibytes: int) -> Iterator[None]:
    """A small disk of its own (tmpfs), mounted at ``folder``."""
    folder.mkdir(exist_ok=True)
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={kibibytes}k", "tmpfs", str(folder)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip(
            "a disk of its own cannot be mounted here (it takes root and the right to mount); "
            "the limit on file sizes is tested"
        )
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


@contextmanager
def file_size_limit(kibibytes: int) -> Iterator[None]:
    """No file may grow beyond a size: the kernel fails writes with EFBIG."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (kibibytes * 1024, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def assert_failed_cleanly(outcome: Outcome, disk: Path, words: tuple[str, ...]) -> None:
    """One line on stderr with a remedy, and what stands under a final name is whole."""
    outcome.assert_refused(str(disk), *words, code=4)
    assert_whole(disk)
    assert not list(disk.rglob("*.tmp")), "something temporary was left"


def assert_whole(disk: Path) -> None:
    """Every file under a final name can be read as what its name says."""
    for path in disk.rglob("*"):
        if any(part.startswith(".") for part in path.relative_to(disk).parts) or not path.is_file():
            continue
        if path.suffix == ".h5":
            assert inspect_cache(path).problems == []
        elif path.name == "model.pt":
            load_checkpoint(path.parent)
        elif path.suffix == ".pt":
            read_tensors(path, "state")
        elif path.suffix == ".csv":
            assert path.read_bytes().endswith(b"\n")
        elif path.suffix == ".json":
            json.loads(path.read_text())
        elif path.suffix == ".tex":
            assert path.read_text().rstrip().endswith(r"\end{tabular}")
        elif path.suffix == ".html":
            assert path.read_text().rstrip().endswith("</html>")
        else:
            # Event files grow at their end; TensorBoard stops at a record that is cut short. So does what is noted of
            # shards, of which a lost or garbled line costs a reading.
            assert path.name in ("lock", "filler", "verified.txt") or path.match(EVENT_FILES), path


# KiB of room. There is a writer for each that it is too little for.
SIZES = (0, 8, 24, 56, 120)


@pytest.mark.parametrize("writer", WRITERS, ids=str)
def test_a_full_disk(place: Place, writer: Writer, tmp_path: Path) -> None:
    """One line, nothing half under a final name, and the same call goes on where there is room."""
    disk, failed = tmp_path / "disk", 0
    photos(place)
    for size in SIZES:
        with disk_of(disk, size + 4):
            (disk / "filler").write_bytes(bytes(4096))
            outcome = place.run(*writer.arguments(place, disk))
            if outcome.code == 4:
                failed += 1
                assert_failed_cleanly(outcome, disk, ("free some space",))
                subprocess.run(["mount", "-o", "remount,size=64m", str(disk)], check=True)
                outcome = place.run(
                    *writer.arguments(place, disk), *(writer.again if (disk / writer.final).exists() else ())
                )
            assert (outcome.code, outcome.err) == (0, ""), outcome
            assert (disk / writer.final).exists()
            assert_whole(disk)
    assert failed, "no disk was small enough"


@pytest.mark.parametrize("writer", WRITERS, ids=str)
def test_a_limit_on_file_sizes(place: Place, writer: Writer, tmp_path: Path) -> None:
    disk, failed = tmp_path / "disk", 0
    photos(place)
    for size in SIZES:
        disk = tmp_path / f"disk{size}"
        disk.mkdir()
        arguments = writer.arguments(place, disk)
        with file_size_limit(size):
            outcome = place.run(*arguments)
        if outcome.code == 4:
            failed += 1
            assert_failed_cleanly(outcome, disk, ("File too large",))
            outcome = place.run(
                *writer.arguments(place, disk), *(writer.again if (disk / writer.final).exists() else ())
            )
        assert (outcome.code, outcome.err) == (0, ""), outcome
        assert_whole(disk)
    assert failed


@pytest.mark.parametrize("writer", WRITERS, ids=str)
def test_a_full_disk_harms_nothing_that_is_there(place: Place, writer: Writer, tmp_path: Path) -> None:
    """Overwriting what exists fails on a full disk: the old file, or run, stands."""
    disk = tmp_path / "disk"
    photos(place)
    with disk_of(disk, 4096):
        assert place.run(*writer.arguments(place, disk)).code == 0
        before = snapshot(disk)
        for room in SIZES:
            arguments = (
                *writer.arguments(place, disk),
                "--overwrite",
                *(("--seed", 1) if writer.final == "run" else ()),
            )
            fill_but(disk, room)
            outcome = place.run(*arguments)
            (disk / "filler").unlink()
            if outcome.code == 0:
                assert room
                break
            assert_failed_cleanly(outcome, disk, ("free some space",))
            after = {name: content for name, content in snapshot(disk).items() if ".shards" not in name}
            if after != {name: content for name, content in before.items() if ".shards" not in name}:
                # Of a run, the first files of use had been saved: it is to be gone on with.
                assert room and writer.final == "run"
                resumed = place.run(*(argument if argument != "--overwrite" else "--resume" for argument in arguments))
                assert (resumed.code, resumed.err) == (0, ""), resumed
                break
        assert_whole(disk)


def fill_but(disk: Path, kibibytes: int) -> None:
    """A file ``filler`` that leaves so much room."""
    with open(disk / "filler", "wb") as file, pytest.raises(OSError, match="No space"):
        while True:
            os.write(file.fileno(), bytes(4096))
    os.truncate(disk / "filler", (disk / "filler").stat().st_size - kibibytes * 1024)


@pytest.mark.parametrize("writer", WRITERS, ids=str)
def test_a_read_only_disk(place: Place, writer: Writer, tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    photos(place)
    with disk_of(disk, 4096):
        arguments, before = writer.arguments(place, disk), sorted(disk.iterdir())
        subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
        outcome = place.run(*arguments)
        assert (
            outcome.code == 4
            and outcome.err.count("\n") == 1
            and str(disk) in outcome.err
            and "Read-only" in outcome.err
        ), outcome
        assert sorted(disk.iterdir()) == before


def test_a_read_only_run_is_read(place: Place, tmp_path: Path) -> None:
    """Exporting needs nothing of a run folder but to read it; resuming says what it cannot."""
    disk = tmp_path / "disk"
    with disk_of(disk, 4096):
        assert place.run("train-from-cache", place.cache, place.tags, "-o", disk / "run", *SMALL).code == 0
        subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
        out = place.folder / "new.csv"
        assert (
            place.run("export-tags", place.cache, "--model", disk / "run", "-o", out, "--device", "cpu", "--quiet").code
            == 0
        )
        for option in ("--resume", "--overwrite"):
            outcome = place.run("train-from-cache", place.cache, place.tags, "-o", disk / "run", *SMALL, option)
            assert (
                outcome.code == 4
                and outcome.err.count("\n") == 1
                and str(disk) in outcome.err
                and "Read-only" in outcome.err
            ), outcome
        load_checkpoint(disk / "run")


def photos(place: Place) -> None:
    from PIL import Image

    for number in range(6):
        Image.fromarray(np.full((8, 8, 3), number * 40, np.uint8)).save(place.folder / "photos" / f"{number}.png")
    (place.folder / "photos/a.png").unlink()


# Kills. Each writer runs in a forked process, over and over, and is killed at a random moment.


@dataclass(frozen=True)
class Victim:
    """name. write: its k-th turn in a folder. check: after a kill, that what stands under final names is whole."""

    name: str
    write: Callable[[Path, int], object]
    check: Callable[[Path], None]

    def __str__(self) -> str:
        return self.name


IDS = [f"{n:03}.jpg" for n in range(40)]
# Written in turn k: a file that mixes two turns is noticed.
FEATURES = [np.full((40, 4096), k, np.float16) for k in range(1, 5)]


def write_cache(folder: Path, k: int) -> None:
    cache_features(FEATURES[k % 4], IDS, folder / "cache.h5", overwrite=True)


def check_cache(folder: Path) -> None:
    if (folder / "cache.h5").exists():
        assert inspect_cache(folder / "cache.h5").problems == []


def write_shards(folder: Path, k: int) -> None:
    output, source = folder / "joined.h5", open_features(folder.parent / "place/cache.h5")
    folder_of(output).mkdir(exist_ok=True)
    for number in range(4):
        shard = Shard(number, 4, 5 * number, 5 * number + 5)
        rows = slice(shard.start, shard.stop)
        write_shard(
            output, shard, source.image_id[rows], np.array(source.features[rows]), [""] * 5, source.provenance, 20
        )
    join_shards(output, overwrite=True)


def check_shards(folder: Path) -> None:
    for path in folder_of(folder / "joined.h5").glob("*.h5"):
        read_shard(path)
    if (folder / "joined.h5").exists():
        assert inspect_cache(folder / "joined.h5").problems == []


def write_model(folder: Path, k: int) -> None:
    checkpoint = load_checkpoint(folder.parent / "place/run")
    checkpoint.model.load_state_dict(
        {name: value.new_full(value.shape, k) for name, value in checkpoint.model.state_dict().items()}
    )
    save_checkpoint(folder / "model.pt", checkpoint)


def check_model(folder: Path) -> None:
    if (folder / "model.pt").exists():
        assert len({float(value.flatten()[0]) for value in load_checkpoint(folder).model.state_dict().values()}) == 1


def write_run(folder: Path, k: int) -> None:
    place = folder.parent / "place"
    # A run that is finished is begun again; one that was killed goes on.
    finished = (folder / "run/config.json").exists()
    train(
        place / "cache.h5",
        place / "tags.csv",
        folder / "run",
        tiny(embedding=8, epochs=4),
        resume=not finished,
        overwrite=finished,
    )


def check_run(folder: Path) -> None:
    run = folder / "run"
    # The old one stands until the new one is complete, which may be on its way into its place.
    kept = [place for place in (run, *run.glob(".new-*")) if (place / "model.pt").exists()]
    assert kept, "neither the old run nor the new one is there"
    for place in (*kept, *(place for place in run.glob(".new") if (place / "model.pt").exists())):
        load_checkpoint(place)
    for path in run.rglob("state.pt"):
        read_tensors(path, "state")
    for path in (*run.rglob("*.csv"), *run.rglob("*.json")):
        assert path.read_text().endswith("\n")


def write_sweep(folder: Path, k: int) -> None:
    place = folder.parent / "place"
    finished = (folder / "run/model.pt").exists()
    sweep(
        place / "cache.h5",
        place / "tags.csv",
        folder / "run",
        tiny(embedding=8, epochs=2),
        {},
        [0, 1],
        resume=not finished,
        overwrite=finished,
    )


def check_sweep(folder: Path) -> None:
    # Its first training is of use before the best of all of them is chosen.
    if not [*folder.glob("run/points/*/model.pt"), *folder.glob("run/.new-*/points/*/model.pt")]:
        check_run(folder)
    for path in (folder / "run").rglob("model.pt"):
        load_checkpoint(path)


def write_csv(folder: Path, k: int) -> None:
    write_predictions(folder / "predictions.csv", {i: [(f"tag {k}", 0.5)] * 50 for i in IDS})


def check_csv(folder: Path) -> None:
    if (folder / "predictions.csv").exists():
        read = read_predictions(folder / "predictions.csv")
        assert list(read) == IDS and len({tag for tags in read.values() for tag, _ in tags}) == 1


def write_folder(folder: Path, k: int) -> None:
    place = folder.parent / "place"
    evaluate(
        [place / "predictions.csv"],
        place / "tags.csv",
        folder / "report",
        EvaluationConfig(resamples=0, seed=k),
        overwrite=True,
    )


def check_folder(folder: Path) -> None:
    report = folder / "report"
    if not report.exists():
        return
    found = {path.name for path in report.iterdir() if not path.name.startswith(".new")}
    if coming := {path.name for step in report.glob(".new-*") for path in step.iterdir()}:
        # Complete, and killed on its way into its place: the next evaluation goes on.
        assert (found | coming) == set(FILES)
    else:
        assert found in (set(FILES), set())
    assert_whole(report)


VICTIMS = [
    Victim("a cache", write_cache, check_cache),
    Victim("shards, and joining them", write_shards, check_shards),
    Victim("model.pt", write_model, check_model),
    Victim("a run folder", write_run, check_run),
    Victim("the folder of several runs", write_sweep, check_sweep),
    Victim("predictions", write_csv, check_csv),
    Victim("a report", write_folder, check_folder),
]
KILLS = 20


def forked(action: Callable[[], object]) -> int:
    """A child that does something and exits with 0, or with 1 if that raises. Torch has no threads here."""
    child = os.fork()
    if child == 0:
        try:
            action()
            os._exit(0)
        finally:
            os._exit(1)
    return child


def turns(victim: Victim, folder: Path, first: int) -> None:
    for k in range(first, first + 10_000):
        victim.write(folder, k)


@pytest.mark.slow
@pytest.mark.parametrize("victim", VICTIMS, ids=str)
def test_sigkill_at_random_moments(
    place: Place, victim: Victim, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """140 kills in all, 20 a kind of write: what stands is whole, and what is left behind disturbs nobody."""
    if victim.write in (write_run, write_sweep) and torch.cuda.is_available():
        pytest.skip("torch computes no gradients in a fork of a process that has a GPU's threads")
    monkeypatch.setattr(training, "SECONDS_BETWEEN_STATES", 0.0)
    folder, moment = tmp_path / "folder", random.Random(victim.name)
    folder.mkdir()
    begin = time.monotonic()
    victim.write(folder, 0)
    victim.write(folder, 1)
    a_turn = (time.monotonic() - begin) / 2
    for kill in range(KILLS):
        child = forked(lambda kill=kill: turns(victim, folder, 100 * kill))
        # Somewhere in the first turns after the child has come up.
        time.sleep(0.01 + moment.uniform(0, min(2.5 * a_turn, 0.25)))
        os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        assert os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL, (
            "it ended by itself, so a turn failed on what was left"
        )
        victim.check(folder)
    # And the next run is as any other.
    victim.write(folder, 1)
    victim.check(folder)


# Rivals.


@pytest.mark.parametrize("victim", [v for v in VICTIMS if v.name in ("a cache", "model.pt", "predictions")], ids=str)
def test_two_at_once_on_one_file_leave_one_of_both_whole(place: Place, victim: Victim, tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    children = [forked(lambda first=first: [victim.write(folder, first + k) for k in range(8)]) for first in (0, 100)]
    while children:
        # Whoever reads meanwhile sees the one or the other, whole.
        victim.check(folder)
        child, status = os.waitpid(children[0], os.WNOHANG)
        if child:
            assert status == 0
            children.remove(child)
    victim.check(folder)
    assert not list(folder.glob(".*"))


def test_two_trainings_in_one_folder_at_once(place: Place) -> None:
    held, release = os.pipe(), os.pipe()

    def hold() -> None:
        with FileLock(place.folder / "new/.lock") as lock:
            assert lock.acquire()
            os.write(held[1], b"x")
            os.read(release[0], 1)

    child = forked(hold)
    os.read(held[0], 1)
    outcome = place.run(*place.command("train-from-cache"))
    os.write(release[1], b"x")
    assert os.waitpid(child, 0)[1] == 0
    outcome.assert_refused(str(place.folder / "new"), "another process", "wait for it or choose another folder", code=3)
    assert [path.name for path in (place.folder / "new").iterdir()] == [".lock"]
    assert place.run(*place.command("train-from-cache")).code == 0


def test_two_extractions_of_one_cache_at_once(place: Place) -> None:
    photos(place)
    output = place.folder / "c.h5"
    held, release = os.pipe(), os.pipe()

    def hold() -> None:
        with FileLock(folder_of(output) / "lock") as lock:
            assert lock.acquire()
            os.write(held[1], b"x")
            os.read(release[0], 1)

    child = forked(hold)
    os.read(held[0], 1)
    arguments = ("extract-features", place.folder / "photos", "-o", output, *EXTRACTION)
    outcome = place.run(*arguments)
    joined = place.run("join-features", output)
    os.write(release[1], b"x")
    assert os.waitpid(child, 0)[1] == 0
    outcome.assert_refused(str(output), "another process", "wait for it", code=3)
    joined.assert_refused(str(output), "still being worked on", code=3)
    assert place.run(*arguments).code == 0


# Calls that fail, with --overwrite on.


@pytest.mark.parametrize("writer", WRITERS, ids=str)
def test_overwriting_with_broken_input_harms_nothing(place: Place, writer: Writer) -> None:
    photos(place)
    output = place.folder / "output"
    assert place.run(*writer.arguments(place, output)).code == 0
    broken = place.cache
    if writer.name in ("evaluate", "prepare csv"):
        broken = place.tags
    elif writer.name == "join-features":
        joining(place, output)
        broken = next((place.folder / "some.shards").glob("*.h5"))
    elif writer.name == "extract-features":
        broken = place.folder / "photos"
        for photo in broken.iterdir():
            photo.unlink()
    if broken.is_file():
        os.truncate(broken, broken.stat().st_size // 2)
        broken.write_bytes(b"\0" + broken.read_bytes())
    named = output if writer.name == "join-features" else broken
    place.refuses((*writer.arguments(place, output), "--overwrite"), REFUSED, named)
