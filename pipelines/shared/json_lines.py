"""Progress for machines: a file that gets a JSON object a line while an extraction works."""

from __future__ import annotations

import contextlib
import json
import time
from datetime import datetime, timezone
from pathlib import Path
from types import TracebackType

from ranktag.features.progress import ExtractionProgress, Plan

# Seconds between two steps that are written; the first and the last one are always.
BETWEEN_STEPS = 1.0


class JsonLines(ExtractionProgress):
    """Writes what it is told to a file, and tells ``shown`` too. Use it with ``with``.

    Each line holds time (UTC), event (note, start, step, end), done, total, failed and images_per_second, of this
    worker's images; a note has its text. A file of an earlier run is gone on with.
    """

    def __init__(self, path: Path, shown: ExtractionProgress) -> None:
        # Unbuffered: whoever reads it sees whole lines, at once.
        self._file = open(path, "ab", buffering=0)  # noqa: SIM115 - open as long as the command runs
        self._shown = shown
        self._done = self._total = self._failed = self._computed = 0
        self._began = self._written = time.monotonic()

    def __enter__(self) -> JsonLines:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._file.close()

    def _write(self, event: str, **more: str) -> None:
        now = time.monotonic()
        self._written = now
        rate = self._computed / (now - self._began) if self._computed else 0.0
        line = {
            "time": datetime.now(timezone.utc).isoformat(timespec="milliseconds"),
            "event": event,
            "done": self._done,
            "total": self._total,
            "failed": self._failed,
            "images_per_second": round(rate, 2),
            **more,
        }
        # A disk that does not take it is no reason to stop what is told of.
        with contextlib.suppress(OSError):
            self._file.write(json.dumps(line).encode() + b"\n")

    def note(self, text: str) -> None:
        """Write a note."""
        self._write("note", text=text)
        self._shown.note(text)

    def begin(self, what: str, total: int | None, unit: str) -> None:
        """Only to be shown: it is no work on images."""
        self._shown.begin(what, total, unit)

    def advance(self, count: int = 1) -> None:
        """Only to be shown."""
        self._shown.advance(count)

    def end(self) -> None:
        """Only to be shown."""
        self._shown.end()

    def start(self, plan: Plan) -> None:
        """Write what is to be done."""
        self._done, self._total, self._failed = plan.done, plan.images, plan.failed
        self._began = time.monotonic()
        self._write("start")
        self._shown.start(plan)

    def batch(self, images: int, failures: int) -> None:
        """Write how far it is, once a second."""
        self._done += images
        self._computed += images
        self._failed += failures
        if self._computed == images or time.monotonic() - self._written >= BETWEEN_STEPS:
            self._write("step")
        self._shown.batch(images, failures)

    def finish(self) -> None:
        """Write how far it has come."""
        self._write("end")
        self._shown.finish()
