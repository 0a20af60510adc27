"""What the tests of trainings share: runs that are killed, and what is in a run folder."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from making import make_data

from ranktag.config import TrainingConfig
from ranktag.models.checkpoint import load_checkpoint
from ranktag.training import run
from ranktag.training.history import Epoch
from ranktag.training.train import train

NO_DROPOUT = {"dropout_features": 0.0, "dropout_embedding": 0.0, "dropout_output": 0.0}


class Killed(Exception):
    """Stands in for a process that ends."""


def killed_after(epoch: int) -> Callable[[Epoch], None]:
    def report(row: Epoch) -> None:
        if row.epoch == epoch:
            raise Killed

    return report


def weights(run: Path) -> dict[str, torch.Tensor]:
    return dict(load_checkpoint(run).model.state_dict())


def history(run: Path) -> list[dict[str, str]]:
    """Rows of history.csv without the times, which no two runs share."""
    with open(run / "history.csv", newline="") as file:
        return [
            {k: v for k, v in row.items() if k not in ("seconds", "images_per_second")} for row in csv.DictReader(file)
        ]


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def interrupted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, config: TrainingConfig) -> tuple[Path, Path, Path]:
    cache, tags = make_data(tmp_path)
    monkeypatch.setattr(run, "SECONDS_BETWEEN_STATES", 0.0)
    with pytest.raises(Killed):
        train(cache, tags, tmp_path / "run", config, report=killed_after(3))
    return cache, tags, tmp_path / "run"
