"""Where a command's words go: results to stdout, progress to stderr and the log file; or one JSON object to stdout."""

from __future__ import annotations

import contextlib
import json
import math
import shlex
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Any, TextIO

import click

from ranktag.errors import one_line
from ranktag.urls import without_secrets


@dataclass(frozen=True)
class Report:
    """What a command did.

    facts: for --json, numbers of what was done and paths of what was written. lines: the
    results as text. code: the exit code, 0 all done or 1 something is wrong with the data.
    """

    facts: Mapping[str, Any] = field(default_factory=dict)
    lines: Sequence[str] = ()
    code: int = 0


class Console:
    """The words of one call of a command, from the call to its exit code; used with ``with``.

    arguments: the call's. They are looked at before click does, so that a wrong call, too, is
    told in JSON and written into the log. ``command`` is what is called, as far as it is known.
    """

    def __init__(self, name: str, arguments: Sequence[str]) -> None:
        self.command = name
        self.call = shlex.join([name, *map(without_secrets, arguments)])
        self.as_json = "--json" in _options(arguments)
        self.log_file = _value_of("--log-file", arguments)
        self._started = time.monotonic()
        self._out, self._err = sys.stdout, sys.stderr
        self._log: Log | None = None

    def __enter__(self) -> Console:
        _CALLS.append(self)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        _CALLS.remove(self)
        sys.stderr = self._err
        if self._log is not None:
            self._log.close()

    def open_log(self) -> None:
        """From now on, what goes to stderr is written into the log file too. Raises OSError if it cannot be opened."""
        if self.log_file is not None:
            self._log = Log(Path(self.log_file))
            self._log.line(one_line(self.call))
            sys.stderr = Copied(self._err, self._log)

    def log(self, text: str) -> None:
        """Write a line into the log file only, if there is one."""
        if self._log is not None:
            self._log.line(one_line(text))

    @contextlib.contextmanager
    def working(self) -> Iterator[None]:
        """Within, what is printed on stdout is a result; for JSON it is progress, for stdout then holds one object."""
        with contextlib.redirect_stdout(sys.stderr) if self.as_json else contextlib.nullcontext():
            yield

    def show(self, report: Report) -> int:
        """Print a report, and return its exit code."""
        if self.as_json:
            self._print_object(report.facts, report.code)
        else:
            for line in report.lines:
                click.echo(line, file=self._out)
        return report.code

    def fail(self, message: str, kind: str, code: int) -> int:
        """Say why the command cannot do its work, in one line, and return the exit code. kind: for programs."""
        message = one_line(message)
        click.echo(f"Error: {message}", err=True)
        if self.as_json:
            self._print_object({"error": kind, "message": message}, code)
        return code

    def end(self, code: int) -> int:
        """The last words of the log."""
        self.log(f"exit code {code}, {self.seconds:.1f} s")
        return code

    @property
    def seconds(self) -> float:
        """How long the call has taken."""
        return time.monotonic() - self._started

    def _print_object(self, facts: Mapping[str, Any], code: int) -> None:
        """Facts of the same names, say the seconds of the computing alone, go before those that all objects have."""
        common = {
            "command": self.command.removeprefix("ranktag "),
            "exit_code": code,
            "seconds": round(self.seconds, 3),
        }
        click.echo(json.dumps(plain({**common, **facts})), file=self._out)


# The calls that are running; the innermost is last. No context variable: threads, too, speak for their command.
_CALLS: list[Console] = []


def current() -> Console:
    """That of the call that is running; outside of one, a plain one."""
    return _CALLS[-1] if _CALLS else Console("", [])


def as_json() -> bool:
    """Whether the command that is running was called with --json."""
    return current().as_json


class Log:
    """A file that lines are appended to, each with its time; several processes may share it.

    A log that the disk does not take is given up: it is no reason to stop what is logged.
    """

    def __init__(self, path: Path) -> None:
        # Unbuffered, a line is written in one piece, whoever else appends.
        self._file = open(path, "ab", buffering=0)  # noqa: SIM115 - held open as long as the command runs

    def line(self, text: str) -> None:
        """Append a line."""
        time = datetime.now().astimezone().isoformat(timespec="seconds")
        with contextlib.suppress(OSError, ValueError):
            self._file.write(f"{time} {text}\n".encode("utf-8", "backslashreplace"))

    def close(self) -> None:
        """Close the file."""
        with contextlib.suppress(OSError):
            self._file.close()


class Copied:
    """stderr, whose whole lines are written into a log too; a bar that is drawn over is not."""

    def __init__(self, stream: TextIO, log: Log) -> None:
        self._stream, self._log, self._rest = stream, log, ""

    def write(self, text: str) -> int:
        """Write to both."""
        written = self._stream.write(text)
        *lines, self._rest = (self._rest + text).split("\n")
        for line in lines:
            # Before a carriage return stands what a bar had drawn; bars clear up with spaces.
            shown = "".join(c for c in line.rpartition("\r")[2] if c.isprintable() or c == "\t").rstrip()
            if shown:
                self._log.line(shown)
        self._rest = self._rest.rpartition("\r")[2]
        return written

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def plain(value: Any) -> Any:
    """A value as JSON knows it: paths are text, NumPy's numbers are numbers, and what is not finite is null."""
    if isinstance(value, Mapping):
        return {str(key): plain(one) for key, one in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [plain(one) for one in value]
    if hasattr(value, "item"):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value if isinstance(value, (str, int, float, bool, type(None))) else str(value)


def _options(arguments: Sequence[str]) -> list[str]:
    """The arguments before a lone ``--``, behind which nothing is an option."""
    return list(arguments[: arguments.index("--")]) if "--" in arguments else list(arguments)


def _value_of(option: str, arguments: Sequence[str]) -> str | None:
    """What is given to an option, as click would read it."""
    options = _options(arguments)
    for name, behind in zip(options, [*options[1:], None]):
        if name == option:
            return behind
        if name.startswith(f"{option}="):
            return name.partition("=")[2]
    return None
