"""Shared by all tests: run a command as the shell would, without starting a process."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from ranktag.pipelines import cli


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
