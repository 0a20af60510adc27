"""How far a stage is: told by the stage, shown by whoever called it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TypeVar

T = TypeVar("T")


class Progress:
    """Told how far a stage is; shows nothing."""

    def note(self, text: str) -> None:
        """Tell the user something."""

    def begin(self, what: str, total: int | None, unit: str) -> None:
        """Work begins on ``total`` things (None: nobody knows): ``what`` is done to them, ``unit`` is their name."""

    def advance(self, count: int = 1) -> None:
        """So many more are done."""

    def end(self) -> None:
        """The work that was begun has ended, one way or the other."""

    @contextmanager
    def working(self, what: str, total: int | None, unit: str) -> Iterator[None]:
        """``begin`` and ``end``."""
        self.begin(what, total, unit)
        try:
            yield
        finally:
            self.end()

    def over(self, items: Iterable[T], what: str, total: int, unit: str) -> Iterator[T]:
        """The items, one after another, each done when the next is asked for."""
        with self.working(what, total, unit):
            for item in items:
                yield item
                self.advance()
