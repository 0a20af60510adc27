"""The history as a table and as curves."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from making import make_data, tiny

from ranktag.training.train import train


def test_without_matplotlib_there_are_no_curves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, curves: None) -> None:
    cache, tags = make_data(tmp_path)
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    train(cache, tags, tmp_path / "run", tiny(epochs=1))
    assert not (tmp_path / "run/curves.png").exists()
