"""The account of what a reader left out, and of what it did to what it kept."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

SHOWN = 5  # names that a line of the account gives as examples


@dataclass(kw_only=True)
class Account:
    """What is said at the end, and what makes the exit code 1.

    dropped: what was left out -> how often. notes: what was done to something that was kept -> where. facts:
    sentences on the lists as a whole. broken: (file, reason) of the files that were skipped. skipped: what they are
    called, 'rows' where a reader goes through a table.
    """

    dropped: Counter[str] = field(default_factory=Counter)
    notes: dict[str, list[str]] = field(default_factory=dict)
    facts: list[str] = field(default_factory=list)
    broken: list[tuple[str, str]] = field(default_factory=list)
    skipped: str = "files"

    def drop(self, what: str, count: int = 1) -> None:
        """Count what is left out."""
        if count:
            self.dropped[what] += count

    def note(self, what: str, where: str) -> None:
        """Record what was done to something that is kept."""
        self.notes.setdefault(what, []).append(where)

    def skip(self, file: str, reason: object) -> None:
        """Record a file that is skipped."""
        self.broken.append((file, str(reason)))

    @property
    def exit_code(self) -> int:
        """1 if a file was skipped, else 0."""
        return 1 if self.broken else 0

    @property
    def mostly(self) -> str:
        """Why there may be nothing, as the end of a sentence: the first file that was skipped, or what was left out."""
        if self.broken:
            return "; {} {}".format(*self.broken[0])
        out = max(self.dropped, key=lambda reason: self.dropped[reason], default=None)
        return f"; left out: {self.dropped[out]} {out}" if out else ""

    def lines(self) -> list[str]:
        """A line a fact."""
        return [
            *self.facts,
            *(f"dropped: {count} {what}" for what, count in self.dropped.most_common()),
            *(f"note: {what}: {len(where)} ({examples(where)})" for what, where in self.notes.items()),
        ]


def examples(names: list[str], shown: int = SHOWN) -> str:
    """The first few names, without repeats, and dots where there are more."""
    unique = list(dict.fromkeys(names))
    return ", ".join(unique[:shown]) + (", ..." if len(unique) > shown else "")
