"""Shared by all tests: run a command as the shell would, without starting a process."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import settings

from ranktag.pipelines import cli

if TYPE_CHECKING:
    from faults import Place

# Machines that do other work are slow at times.
settings.register_profile("patient", deadline=None)
settings.load_profile("patient")


@dataclass(frozen=True)
class Outcome:
    """What a command left behind."""

    code: int
    out: str
    err: str

    def assert_refused(self, *words: str) -> None:
        """The call failed as a user's mistake should: exit code 2, one line on stderr that holds all of ``words``."""
        assert self.code == 2, self
        assert self.err.count("\n") == 1 and self.err.startswith("Error: "), self.err
        assert "; " in self.err or " --help')" in self.err, f"no remedy in {self.err!r}"
        for word in words:
            assert word in self.err, f"{word!r} not in {self.err!r}"


@pytest.fixture
def ranktag(capsys: pytest.CaptureFixture[str]) -> Callable[..., Outcome]:
    """``ranktag("inspect", path)`` runs ``ranktag inspect path`` in this process."""

    def call(*arguments: Any) -> Outcome:
        capsys.readouterr()
        code = cli.run(cli.group, "ranktag", [str(a) for a in arguments])
        captured = capsys.readouterr()
        return Outcome(code, captured.out, captured.err)

    return call


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
    monkeypatch.setattr("ranktag.training.plot_history", lambda path, epochs, kept: None)
    shutil.copytree(sound, tmp_path / "place")
    return Place(tmp_path / "place", ranktag)
