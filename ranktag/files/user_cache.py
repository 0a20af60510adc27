"""The folder of what is kept for a user from run to run: copies of objects, and where the members of tars lie.

Whatever was not used for ``DAYS`` days goes when something is put beside it.
"""

from __future__ import annotations

import os
import time
from contextlib import suppress
from pathlib import Path

DAYS = 30


def cache_folder() -> Path:
    """``ranktag`` in $XDG_CACHE_HOME, or in ~/.cache."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "ranktag"


def note_use(path: Path) -> None:
    """A file that stands for what is kept was of use just now, which is written down as its time."""
    # Where that cannot be written, or there is no such file yet, nothing is lost but time.
    with suppress(OSError):
        os.utime(path)


def long_unused(folder: Path, pattern: str) -> list[Path]:
    """The files in a folder that are of this pattern and were not used for ``DAYS`` days."""
    before, found = time.time() - DAYS * 86400, []
    for path in sorted(folder.glob(pattern)):
        # Another process may remove it, too.
        with suppress(OSError):
            if path.stat().st_mtime < before:
                found.append(path)
    return found
