"""Progress on stderr: a bar on a terminal, a plain line now and then elsewhere. Short work shows nothing."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import click
from tqdm import tqdm

from ranktag.errors import one_line
from ranktag.progress import Progress

if TYPE_CHECKING:
    _Tqdm = tqdm[Any]
else:
    _Tqdm = tqdm

# Seconds before anything is shown, and between two lines where there is no terminal.
DELAY, BETWEEN_LINES = 2.0, 30.0


class Bar(_Tqdm):
    """``tqdm`` with plain lines where stderr is no terminal."""

    def __init__(self, total: int, what: str, unit: str) -> None:
        self.terminal, self.all = sys.stderr.isatty(), total
        super().__init__(
            total=total,
            desc=what,
            unit=f" {unit}",
            file=sys.stderr,
            delay=DELAY,
            leave=False,
            mininterval=0.1 if self.terminal else BETWEEN_LINES,
            miniters=1,
            dynamic_ncols=True,
        )

    def display(self, msg: str | None = None, pos: int | None = None) -> None:
        """Draw the bar, or print a line."""
        if self.terminal:
            super().display(msg, pos)
        elif msg is None and self.n:
            rate = self.n / self.format_dict["elapsed"]
            left = self.format_interval((self.all - self.n) / rate)
            click.echo(
                f"{self.desc}: {self.n:,} of {self.all:,}{self.unit}, {rate:,.1f} a second, {left} left", err=True
            )


class Shown(Progress):
    """Shows a stage's progress; one stage at a time."""

    def __init__(self) -> None:
        self._bar: Bar | None = None

    def note(self, text: str) -> None:
        """Print a line, above the bar if there is one."""
        if sys.stderr.isatty():
            Bar.write(one_line(text), file=sys.stderr)
        else:
            click.echo(one_line(text), err=True)

    def begin(self, what: str, total: int, unit: str) -> None:
        """Show nothing yet: the work may be short."""
        self._bar = Bar(total, what, unit)

    def advance(self, count: int = 1) -> None:
        """Move on."""
        if self._bar is not None:
            self._bar.update(count)

    def end(self) -> None:
        """Take the bar away."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None


def progress(quiet: bool) -> Progress:
    """What a command tells a stage to report to."""
    return Progress() if quiet else Shown()
