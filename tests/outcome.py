"""What a command left behind."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Outcome:
    """What a command left behind."""

    code: int
    out: str
    err: str

    def assert_refused(self, *words: str, code: int = 2) -> None:
        """The call failed as a user's mistake should: one line on stderr that holds all of ``words``.

        code: the exit code; 3 where another process is at work, 4 where the machine failed.
        """
        assert self.code == code, self
        assert self.err.count("\n") == 1 and self.err.startswith("Error: "), self.err
        assert "; " in self.err or " --help')" in self.err, f"no remedy in {self.err!r}"
        for word in words:
            assert word in self.err, f"{word!r} not in {self.err!r}"
