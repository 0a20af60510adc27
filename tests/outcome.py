"""What a command left behind."""

from __future__ import annotations

from dataclasses import dataclass


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
