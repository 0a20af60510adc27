"""Progress on stderr: a bar on a terminal, a plain line now and then elsewhere. Short work shows nothing."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import click
from tqdm import tqdm

from ranktag.errors import one_line
from ranktag.pipelines.shared.console import current
from ranktag.progress import Progress

if TYPE_CHECKING:
    _Tqdm = tqdm[Any]
else:
    _Tqdm = tqdm

# Seconds before anything is shown, and between two lines where there is no terminal.
DELAY, BETWEEN_LINES = 2.0, 30.0


class Bar(_Tqdm):
    """``tqdm`` with plain lines where stderr is no terminal."""

    def __init__(self, what: str, total: int | None, unit: str, *, done: int = 0, delay: float = DELAY) -> None:
        """total: None where nobody knows. done: how many are done already. delay: seconds in which nothing is shown."""
        self.terminal, self.all, self.logged = sys.stderr.isatty(), total, 0.0
        super().__init__(
            total=total,
            initial=done,
            desc=what,
            unit=f" {unit}",
            file=sys.stderr,
            delay=delay,
            leave=False,
            mininterval=0.1 if self.terminal else BETWEEN_LINES,
            miniters=1,
            dynamic_ncols=True,
        )

    def display(self, msg: str | None = None, pos: int | None = None) -> None:
        """Draw the bar, or print a line; a log file gets lines in either case."""
        moving = msg is None and self.initial < self.n and self.n != self.all
        elapsed = self.format_dict["elapsed"]
        if self.terminal:
            super().display(msg, pos)
            if moving and elapsed - self.logged >= BETWEEN_LINES:
                self.logged = elapsed
                current().log(self._line((self.n - self.initial) / elapsed))
        elif moving:
            click.echo(self._line((self.n - self.initial) / elapsed), err=True)

    def _line(self, rate: float) -> str:
        """How far it is, at so many a second."""
        facts = [f"{self.n:,}{self.unit}", f"{rate:,.1f}{self.unit}/s"]
        if self.all is not None:
            facts = [f"{self.n:,} of {self.all:,}{self.unit}", facts[1], f"{duration((self.all - self.n) / rate)} left"]
        if self.postfix:
            facts.append(str(self.postfix))
        return (f"{self.desc}: " if self.desc else "") + ", ".join(facts)


def duration(seconds: float) -> str:
    """Seconds as a person says them."""
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 10:
        return f"{minutes} min {rest:02} s" if minutes else f"{rest} s"
    return f"{seconds / 60:.0f} min" if minutes < 60 else f"{seconds / 3600:.1f} h"


class Shown(Progress):
    """Shows a stage's progress; one stage at a time."""

    def __init__(self) -> None:
        self._bar: Bar | None = None

    def note(self, text: str) -> None:
        """Print a line on stderr, above the bar if there is one."""
        if self._bar is not None and self._bar.terminal:
            self._bar.clear()
        click.echo(one_line(text), err=True)

    def begin(self, what: str, total: int | None, unit: str) -> None:
        """Show nothing yet: the work may be short."""
        self._bar = Bar(what, total, unit)

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
