"""What TensorBoard shows of a run."""

from __future__ import annotations

import csv
import sys
from pathlib import Path

import pytest
from making import make_data, tiny
from trainings import Killed, killed_after

from ranktag.errors import RanktagError
from ranktag.training import run
from ranktag.training.train import train


def shown(run: Path) -> dict[str, list[tuple[int, float]]]:
    """What TensorBoard shows of a run: curve -> (epoch, value)."""
    accumulator = pytest.importorskip(
        "tensorboard.backend.event_processing.event_accumulator", reason="TensorBoard is an extra"
    )
    events = accumulator.EventAccumulator(str(run)).Reload()
    return {name: [(event.step, event.value) for event in events.Scalars(name)] for name in events.Tags()["scalars"]}


def of_history(run: Path) -> dict[str, list[tuple[int, float]]]:
    """The same, as history.csv has it."""
    with open(run / "history.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    names = [name for name in rows[0] if name != "epoch"]
    return {name: [(int(row["epoch"]), pytest.approx(float(row[name]), rel=1e-5)) for row in rows] for name in names}


def test_tensorboard_files_are_written_when_asked_for(tmp_path: Path) -> None:
    cache, tags = make_data(tmp_path)
    train(cache, tags, tmp_path / "run", tiny(), tensorboard=True)
    assert shown(tmp_path / "run") == of_history(tmp_path / "run")
    # Of a run that takes its place, nothing but its own is shown.
    train(cache, tags, tmp_path / "run", tiny(epochs=2), tensorboard=True, overwrite=True)
    assert shown(tmp_path / "run") == of_history(tmp_path / "run")
    train(cache, tags, tmp_path / "run", tiny(epochs=1), overwrite=True)
    assert shown(tmp_path / "run") == {}


@pytest.mark.parametrize("tensorboard", [True, False], ids=["from the start", "later"])
def test_tensorboard_shows_every_epoch_of_a_resumed_run_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tensorboard: bool
) -> None:
    cache, tags = make_data(tmp_path)
    config = tiny(epochs=6, patience=6)
    monkeypatch.setattr(run, "SECONDS_BETWEEN_STATES", 0.0)
    for epoch in (1, 3, 5):
        with pytest.raises(Killed):
            train(
                cache, tags, tmp_path / "run", config, resume=True, tensorboard=tensorboard, report=killed_after(epoch)
            )
    train(cache, tags, tmp_path / "run", config, resume=True, tensorboard=True)
    assert [step for step, _ in shown(tmp_path / "run")["ndcg5"]] == [1, 2, 3, 4, 5, 6]
    assert shown(tmp_path / "run") == of_history(tmp_path / "run")
    # Finished already.
    train(cache, tags, tmp_path / "run", config, resume=True, tensorboard=True)
    assert shown(tmp_path / "run") == of_history(tmp_path / "run")


def test_tensorboard_forgets_epochs_that_were_lost(tmp_path: Path) -> None:
    # Killed after eight epochs and before a save; gone on with, it stops sooner.
    cache, tags = make_data(tmp_path)
    with pytest.raises(Killed):
        train(cache, tags, tmp_path / "run", tiny(), tensorboard=True, report=killed_after(1))
    writer = pytest.importorskip("torch.utils.tensorboard", reason="TensorBoard is an extra").SummaryWriter(
        str(tmp_path / "run")
    )
    for epoch in range(1, 9):
        writer.add_scalar("ndcg5", -1.0, epoch)
    writer.close()
    train(cache, tags, tmp_path / "run", tiny(), resume=True, tensorboard=True)
    assert shown(tmp_path / "run") == of_history(tmp_path / "run")


def test_without_tensorboard_the_old_run_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache, tags = make_data(tmp_path)
    train(cache, tags, tmp_path / "run", tiny(epochs=1))
    before = (tmp_path / "run/model.pt").read_bytes()
    monkeypatch.setitem(sys.modules, "tensorboard.summary.writer.record_writer", None)
    with pytest.raises(RanktagError, match=r"pip install 'ranktag\[tensorboard\]'"):
        train(cache, tags, tmp_path / "run", tiny(epochs=1), tensorboard=True, overwrite=True)
    assert (tmp_path / "run/model.pt").read_bytes() == before
