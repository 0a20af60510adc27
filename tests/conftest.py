"""Shared by all tests: run a command as the shell would, without starting a process."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import settings
from outcome import Outcome

from ranktag.pipelines import cli
from ranktag.pipelines.shared.running import run

if TYPE_CHECKING:
    from faults import Place
    from objects import Objects
    from playwright.sync_api import Browser

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)

# Several processes test at once (pytest-xdist): each has one thread, and what it starts has, too.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")

# Machines that do other work are slow at times.
settings.register_profile("patient", deadline=None)
settings.load_profile("patient")


@pytest.fixture
def ranktag(capsys: pytest.CaptureFixture[str]) -> Callable[..., Outcome]:
    """``ranktag("inspect", path)`` runs ``ranktag inspect path`` in this process."""

    def call(*arguments: Any) -> Outcome:
        capsys.readouterr()
        code = run(cli.group, "ranktag", [str(a) for a in arguments])
        captured = capsys.readouterr()
        return Outcome(code, captured.out, captured.err)

    return call


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Chromium, started once."""
    if CHROMIUM is None:
        pytest.skip("no chromium is installed (Debian: apt-get install chromium)")
    playwright = pytest.importorskip(
        "playwright.sync_api", reason="playwright is not installed: pip install playwright"
    )
    with playwright.sync_playwright() as started:
        launched = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield launched
        launched.close()


@pytest.fixture(scope="session")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sound files that the fault suite damages copies of (see ``faults.Place``)."""
    from faults import make_sound

    folder = tmp_path_factory.mktemp("sound")
    make_sound(folder)
    return folder


@pytest.fixture
def place(sound: Path, tmp_path: Path, ranktag: Callable[..., Outcome], monkeypatch: pytest.MonkeyPatch) -> Place:
    """A folder of sound files of its own, and the commands to run there."""
    from faults import Place

    # Drawing the curves takes longer than all else.
    monkeypatch.setattr("ranktag.training.run.plot_history", lambda path, epochs, kept: None)
    shutil.copytree(sound, tmp_path / "place")
    return Place(tmp_path / "place", ranktag)


@pytest.fixture(scope="session")
def object_server() -> Iterator[Objects]:
    """An object store on this machine, started once."""
    from objects import serving

    with serving() as started:
        yield started


@pytest.fixture
def objects(object_server: Objects, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Objects:
    """The object store, empty, and a cache folder that is empty too."""
    for name, value in {**object_server.environment, "XDG_CACHE_HOME": str(tmp_path / "cache-folder")}.items():
        monkeypatch.setenv(name, value)
    object_server.empty()
    return object_server
