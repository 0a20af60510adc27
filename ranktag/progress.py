"""How far a stage is: told by the stage, shown by whoever called it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TypeVar

T = TypeVar("T")


class Progress:
    """Told how far a stage is; shows nothing."""

    def note(self, text: str) -> None:
        """Tell the user something."""

    def begin(self, what: str, total: int, unit: str) -> None:
        """Work begins on ``total`` things: ``what`` is done to them, ``unit`` is what they are called."""

    def advance(self, count: int = 1) -> None:
        """So many more are done."""

    def end(self) -> None:
        """The work that was begun has ended, one way or the other."""

    def over(self, items: Iterable[T], what: str, total: int, unit: str) -> Iterator[T]:
        """The items, one after another, each done when the next is asked for."""
        self.begin(what, total, unit)
        try:
            for item in items:
                yield item
                self.advance()
        finally:
            self.end()
