"""Shared by the tests of trainings."""

from __future__ import annotations

import pytest

from ranktag.training import run


@pytest.fixture
def curves() -> None:
    """Asked for by tests that look at the curves: drawing them takes longer than the training."""


@pytest.fixture(autouse=True)
def _no_curves(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if "curves" not in request.fixturenames:
        monkeypatch.setattr(run, "plot_history", lambda path, epochs, kept: None)
