"""The folder of what is kept for a user from run to run: copies of objects, and where the members of tars lie.

When a file was of use last is its time of change. Whoever keeps something there removes what was not for ``DAYS`` days.
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
    """Note that a file there is of use now."""
    # Where its time cannot be set, or it is not there yet, what may be lost is a copy, and no result.
    with suppress(OSError):
        os.utime(path)


def long_unused(folder: Path, pattern: str) -> list[Path]:
    """The files in a folder that are of this pattern and were not used for ``DAYS`` days."""
    oldest = time.time() - DAYS * 24 * 60 * 60
    found = []
    for path in sorted(folder.glob(pattern)):
        # Another process may have removed it meanwhile.
        with suppress(OSError):
            if path.stat().st_mtime < oldest:
                found.append(path)
    return found
