"""Where a photo's bytes are, as a line of bytes that any process and any machine understands.

=====================================  ===============================================
photos/a.jpg                           a file, by its path
s3://bucket/a.jpg                      an object, by an fsspec URL
tar:1024+20481:TAR!/dir/a.jpg          20,481 bytes from byte 1,024 on, of a tar
parquet:17:FILE!/a.jpg                 row 17 of a Parquet file
=====================================  ===============================================

TAR and FILE are paths or URLs. The photo's own name comes last, as its ending says what a camera's RAW is.
A tar's member that is nowhere in it (a link to a file that is not there) is at byte 0.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass

from ranktag.urls import is_url, without_secrets

_WITHIN = re.compile(rb"(tar|parquet):(\d+)(?:\+(\d+))?:(.+?)!/(.*)", re.DOTALL)


@dataclass(frozen=True)
class Within:
    """A photo within a file. archive: path or URL of the file. start: first byte in a tar, else the row of a Parquet
    file. size: bytes in a tar, else None. name: the photo's own."""

    archive: str
    name: bytes
    start: int
    size: int | None

    def to_bytes(self) -> bytes:
        """As it stands in an image list."""
        place = b"parquet:%d" % self.start if self.size is None else b"tar:%d+%d" % (self.start, self.size)
        return b"%b:%b!/%b" % (place, os.fsencode(self.archive), self.name)


def is_file(location: bytes) -> bool:
    """Whether it is the path of a file of its own."""
    return not (location.startswith((b"tar:", b"parquet:")) or b"://" in location[:16]) or _parsed(location) is None


def within(location: bytes) -> Within | None:
    """The photo within a file that it is; None for a file and an object of its own."""
    match = _WITHIN.fullmatch(location)
    if match is None:
        return None
    kind, start, size, archive, name = match.groups()
    if (kind == b"tar") != (size is not None):
        return None
    return Within(os.fsdecode(archive), name, int(start), None if size is None else int(size))


def shown(location: bytes) -> str:
    """A location as people are told it, without secrets."""
    found = _parsed(location)
    if isinstance(found, Within):
        return f"{without_secrets(found.archive)}/{os.fsdecode(found.name)}"
    return os.fsdecode(location) if found is None else without_secrets(found)


def _parsed(location: bytes) -> Within | str | None:
    """What is within a file, a URL, or None for the path of a file."""
    return within(location) or (os.fsdecode(location) if is_url(location) else None)
