"""What stands for exiv2's functions in a process apart, and ends badly for files of some names."""

from __future__ import annotations

import os
import signal
from typing import Any

from ranktag.metadata import keywords, write


def read_photo(path: str, sidecars: list[str]) -> Any:
    """Keywords, unless the photo's name says what is to go wrong."""
    _go_wrong(path)
    return keywords.read_photo(path, sidecars)


def write_tags(path: str, *others: Any) -> Any:
    """Writes, unless the file's name says what is to go wrong."""
    _go_wrong(path)
    return write.write_tags(path, *others)


def _go_wrong(path: str) -> None:
    name = os.path.basename(path)
    if name.startswith("crash"):
        os.kill(os.getpid(), signal.SIGSEGV)
    if name.startswith("killed"):
        os.kill(os.getpid(), signal.SIGKILL)
    if name.startswith("disk"):
        raise OSError(5, "Input/output error", path)
