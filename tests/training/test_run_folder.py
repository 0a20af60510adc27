"""The run folder: its files, what may not be replaced, and what stands while a run is replaced."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from making import TAGS, make_data, tiny
from trainings import Killed, contents, history, killed_after

from ranktag.errors import RanktagError
from ranktag.models.checkpoint import load_checkpoint, read_tensors
from ranktag.training import run
from ranktag.training.history import Epoch
from ranktag.training.train import train


def test_the_run_folder_holds_what_the_contract_names(tmp_path: Path, curves: None) -> None:
    cache, tags = make_data(tmp_path)
    rows: list[Epoch] = []
    report = train(cache, tags, tmp_path / "run", tiny(epochs=4), report=rows.append)
    assert {path.name for path in (tmp_path / "run").iterdir()} == {
        ".lock",
        "model.pt",
        "config.json",
        "history.csv",
        "state.pt",
        "curves.png",
    }
    assert [row["epoch"] for row in history(tmp_path / "run")] == ["1", "2", "3", "4"]
    assert [float(row["ndcg5"]) for row in history(tmp_path / "run")] == pytest.approx(
        [row.ndcg5 for row in rows], rel=1e-5
    )
    assert all(np.isfinite([row.loss, row.validation_loss, row.lr, row.images_per_second]).all() for row in rows)
    assert (tmp_path / "run/curves.png").read_bytes().startswith(b"\x89PNG\r\n")
    config = json.loads((tmp_path / "run/config.json").read_text())
    assert config["settings"] == tiny(epochs=4).to_dict()
    assert config["images"] == {"train": 21, "val": 6, "test": 3}
    assert config["validation"] == {
        "ndcg5": report.ndcg5,
        "epoch": report.epoch,
        "images": 6,
        "low": report.low,
        "high": report.high,
    }
    assert report.low < report.ndcg5 < report.high
    checkpoint = load_checkpoint(tmp_path / "run")
    assert checkpoint.training == tiny(epochs=4).to_dict()
    assert {split: len(ids) for split, ids in checkpoint.split.items()} == {"train": 21, "val": 6, "test": 3}
    assert (report.images, report.lists, report.vocabulary, report.epochs) == (21, 21, len(TAGS), 4)


def test_a_run_is_not_overwritten_unless_asked(tmp_path: Path) -> None:
    cache, tags = make_data(tmp_path)
    train(cache, tags, tmp_path / "run", tiny())
    before = (tmp_path / "run/model.pt").read_bytes()
    with pytest.raises(RanktagError, match="holds a run already; .*--resume or pass --overwrite"):
        train(cache, tags, tmp_path / "run", tiny(seed=1))
    with pytest.raises(RanktagError, match="no such file"):
        train(cache, tmp_path / "missing.csv", tmp_path / "run", tiny(seed=1), overwrite=True)
    assert (tmp_path / "run/model.pt").read_bytes() == before
    train(cache, tags, tmp_path / "run", tiny(seed=1), overwrite=True)
    assert (tmp_path / "run/model.pt").read_bytes() != before


@pytest.mark.parametrize("model", ["every-step", "linear"])
@pytest.mark.parametrize("failure", [OSError, KeyboardInterrupt, RanktagError])
def test_an_overwrite_that_fails_brings_the_old_run_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, model: str, failure: type[BaseException], curves: None
) -> None:
    cache, tags = make_data(tmp_path)
    train(cache, tags, tmp_path / "run", tiny(), tensorboard=True)
    (tmp_path / "run/notes.txt").write_text("mine")
    before = contents(tmp_path / "run")

    def fails(*arguments: object) -> None:
        # Until then a reader finds the old run.
        found = contents(tmp_path / "run")
        assert ".new/state.pt" in found and {name: found[name] for name in before} == before
        raise failure("no")

    # The last that either writes before its first save is complete.
    monkeypatch.setattr(run, "write_history" if model == "every-step" else "save_checkpoint", fails)
    with pytest.raises(failure):
        train(cache, tags, tmp_path / "run", tiny(seed=1, model=model), overwrite=True, tensorboard=True)
    assert contents(tmp_path / "run") == before
    # And it is a run as before.
    with pytest.raises(RanktagError, match="holds a run already"):
        train(cache, tags, tmp_path / "run", tiny())
    train(cache, tags, tmp_path / "run", tiny(), resume=True, report=lambda row: pytest.fail("an epoch was run"))


def test_an_overwrite_that_fails_later_leaves_the_new_run_to_go_on_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache, tags = make_data(tmp_path)
    train(cache, tags, tmp_path / "straight", tiny(seed=1))
    train(cache, tags, tmp_path / "run", tiny())
    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(run, "SECONDS_BETWEEN_STATES", 0.0)
        train(cache, tags, tmp_path / "run", tiny(seed=1), overwrite=True, report=killed_after(3))
    assert not list((tmp_path / "run").glob(".new*"))
    train(cache, tags, tmp_path / "run", tiny(seed=1), resume=True)
    assert (tmp_path / "run/model.pt").read_bytes() == (tmp_path / "straight/model.pt").read_bytes()


@pytest.mark.parametrize("model", ["every-step", "linear"])
def test_an_overwrite_that_was_killed_goes_on_with_its_settings_or_gives_the_old_run_back(
    tmp_path: Path, model: str
) -> None:
    cache, tags = make_data(tmp_path)
    train(cache, tags, tmp_path / "run", tiny())
    before = contents(tmp_path / "run")
    new = tiny(seed=1, model=model)
    train(cache, tags, tmp_path / "straight", new)
    # Killed when the first files were there, and the second time before.
    shutil.copytree(tmp_path / "run", tmp_path / "bare")
    for folder in (tmp_path / "run", tmp_path / "bare"):
        os.mkdir(folder / ".new")
    state = read_tensors(tmp_path / "straight/state.pt", "state")
    torch.save(state | {"history": [], "ndcg5": -1.0, "epoch": 0}, tmp_path / "run/.new/state.pt")
    for folder in (tmp_path / "run", tmp_path / "bare"):
        with pytest.raises(RanktagError, match="holds a run already; .*--resume or pass --overwrite"):
            train(cache, tags, folder, new)
        shutil.copytree(folder, tmp_path / "again")
        with pytest.raises(RanktagError, match="no such file"):
            train(cache, tmp_path / "missing.csv", tmp_path / "again", tiny(), overwrite=True)
        with pytest.raises(Killed):
            train(cache, tags, tmp_path / "again", tiny(seed=2), overwrite=True, report=killed_after(1))
        assert contents(tmp_path / "again") == before and not (tmp_path / "again/.new").exists()
        shutil.rmtree(tmp_path / "again")
        if model == "every-step":
            # A resume that fails, on a full disk say, can be resumed again.
            with pytest.raises(Killed):
                train(cache, tags, folder, new, resume=True, report=killed_after(1))
            with pytest.raises(RanktagError, match="was begun with seed 1, not 2"):
                train(cache, tags, folder, tiny(seed=2), resume=True)
        # All the while the old run stands.
        found = contents(folder)
        assert {name: found[name] for name in before} == before
        train(cache, tags, folder, new, resume=True)
        assert (folder / "model.pt").read_bytes() == (tmp_path / "straight/model.pt").read_bytes()
        assert contents(folder).keys() == contents(tmp_path / "straight").keys()


def killed_at(moment: int) -> Callable[[Path, Path], Path]:
    """``Path.rename``, until a process is killed at the ``moment``-th time."""
    rename, times = Path.rename, iter(range(100))

    def instead(source: Path, target: Path) -> Path:
        if next(times) == moment:
            raise Killed
        return rename(source, target)

    return instead


def nothing_more(*arguments: object, **options: object) -> None:
    """A process that was killed clears nothing up."""


@pytest.mark.parametrize("options", [{"resume": True}, {"overwrite": True}], ids=["resumed", "overwritten"])
def test_an_overwrite_that_was_killed_when_it_was_of_use_is_finished(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: dict[str, bool]
) -> None:
    cache, tags = make_data(tmp_path)
    train(cache, tags, tmp_path / "straight", tiny(seed=1))
    # Into the two hidden names, and of model.pt, history.csv and state.pt into their places.
    for moment in range(5):
        train(cache, tags, tmp_path / str(moment), tiny())
        with monkeypatch.context() as patch, pytest.raises(Killed):
            patch.setattr(Path, "rename", killed_at(moment))
            patch.setattr("ranktag.files.replacement.shutil.rmtree", nothing_more)
            train(cache, tags, tmp_path / str(moment), tiny(seed=1), overwrite=True)
        train(cache, tags, tmp_path / str(moment), tiny(seed=1), **options)
        assert (tmp_path / str(moment) / "model.pt").read_bytes() == (tmp_path / "straight/model.pt").read_bytes()
        assert history(tmp_path / str(moment)) == history(tmp_path / "straight")
        assert contents(tmp_path / str(moment)).keys() == contents(tmp_path / "straight").keys()


def test_resuming_a_finished_baseline_does_not_risk_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache, tags = make_data(tmp_path)
    train(cache, tags, tmp_path / "run", tiny(model="knn"))
    before = contents(tmp_path / "run")

    def full(*arguments: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(run, "save_checkpoint", full)
    with pytest.raises(OSError, match="No space"):
        train(cache, tags, tmp_path / "run", tiny(model="knn"), resume=True)
    assert contents(tmp_path / "run") == before


def test_a_folder_with_other_things_and_a_file_are_refused(tmp_path: Path) -> None:
    cache, tags = make_data(tmp_path)
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos/a.jpg").touch()
    for resume, overwrite in ((False, False), (False, True), (True, False)):
        with pytest.raises(RanktagError, match="is a folder with other things in it"):
            train(cache, tags, tmp_path / "photos", tiny(), resume=resume, overwrite=overwrite)
        with pytest.raises(RanktagError, match="is a file"):
            train(cache, tags, tags, tiny(), resume=resume, overwrite=overwrite)
    assert [path.name for path in (tmp_path / "photos").iterdir()] == ["a.jpg"]
    (tmp_path / "empty").mkdir()
    train(cache, tags, tmp_path / "empty", tiny(epochs=1))


def test_a_model_without_a_state_is_not_resumed_over(tmp_path: Path) -> None:
    cache, tags = make_data(tmp_path)
    (tmp_path / "run").mkdir()
    (tmp_path / "run/model.pt").write_bytes(b"somebody's")
    with pytest.raises(RanktagError, match="holds no state.pt"):
        train(cache, tags, tmp_path / "run", tiny(), resume=True)
    assert (tmp_path / "run/model.pt").read_bytes() == b"somebody's"


def test_what_a_killed_process_was_writing_is_no_obstacle_and_is_removed(tmp_path: Path) -> None:
    cache, tags = make_data(tmp_path)
    (tmp_path / "run").mkdir()
    (tmp_path / "run/.state.pt.abc.tmp").write_bytes(b"half")
    train(cache, tags, tmp_path / "run", tiny(epochs=1))
    assert not list((tmp_path / "run").glob("*.tmp"))


HOLDER = """
    import sys
    from pathlib import Path
    from ranktag.files.lock import FileLock
    with FileLock(Path(sys.argv[1])) as lock:
        assert lock.acquire()
        print("held", flush=True)
        sys.stdin.read()
"""


def test_two_runs_in_one_folder_at_once_are_refused(tmp_path: Path) -> None:
    cache, tags = make_data(tmp_path)
    lock = tmp_path / "run/.lock"
    holder = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(HOLDER), str(lock)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with holder:
        assert holder.stdout is not None and holder.stdout.readline() == "held\n"
        for options in ({}, {"overwrite": True}, {"resume": True}):
            with pytest.raises(RanktagError, match="another process is training there"):
                train(cache, tags, tmp_path / "run", tiny(), **options)
        assert [path.name for path in (tmp_path / "run").iterdir()] == [".lock"]
        holder.communicate("")
    train(cache, tags, tmp_path / "run", tiny(epochs=1))


def test_a_run_that_was_finished_while_the_data_was_loaded_is_not_overwritten(tmp_path: Path) -> None:
    cache, tags = make_data(tmp_path)

    def another_process(data: object) -> None:
        (tmp_path / "run").mkdir()
        (tmp_path / "run/model.pt").write_bytes(b"theirs")

    with pytest.raises(RanktagError, match="holds a run already"):
        train(cache, tags, tmp_path / "run", tiny(), started=another_process)
    assert (tmp_path / "run/model.pt").read_bytes() == b"theirs"
