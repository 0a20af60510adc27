"""Which shards were found whole, and as what files: so that resuming does not read all of them again.

A line of text a shard, in a file beside them: name, size, time of the last change in
nanoseconds, SHA-256 of the content. Any number of processes append to it. A line that is
lost or garbled (a network file system may do that) costs a reading of its shard, no more;
what changes without a change of size and time is found when the shards are joined.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

# Name of the file beside the shards.
VERIFIED = "verified.txt"


def remember(path: Path, sha256: str) -> None:
    """Note that the shard at ``path``, as it is now, is whole and of this content."""
    # It is a shortcut: where it cannot be noted, the shard is read again.
    with suppress(OSError):
        line = f"\n{path.name} {_state(path)} {sha256}\n"
        descriptor = os.open(path.with_name(VERIFIED), os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
        try:
            os.write(descriptor, line.encode())
        finally:
            os.close(descriptor)


def verified(folder: Path) -> Mapping[str, str]:
    """What is noted of the shards in ``folder``: name -> state and digest, to be compared by ``is_verified``."""
    try:
        lines = (folder / VERIFIED).read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return {}
    return {name: rest for name, _, rest in (line.partition(" ") for line in lines)}


def is_verified(path: Path, sha256: object, known: Mapping[str, str]) -> bool:
    """Whether the shard at ``path``, which says that its content has this digest, is as it was noted."""
    return known.get(path.name) == f"{_state(path)} {sha256}"


def _state(path: Path) -> str:
    found = path.stat()
    return f"{found.st_size} {found.st_mtime_ns}"
