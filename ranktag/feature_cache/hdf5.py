"""HDF5's faults, kept away from the cache: no locks on NFS, and a full disk that would crash the process."""

from __future__ import annotations

import errno
import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py

# What the operating system says of a disk that fails; the rest may come of numbers in a damaged file.
DISKS_OWN = (errno.EIO, errno.ESTALE, errno.ETIMEDOUT, errno.ENODEV, errno.ENXIO, errno.ENOTCONN, errno.EHOSTDOWN)


@contextmanager
def open_hdf5(path: Path, mode: str = "r") -> Iterator[h5py.File]:
    """An HDF5 file, without failing where the file system has no locks (NFS)."""
    with h5py.File(path, mode, locking="best-effort") as file:
        yield file


def reason_of(error: BaseException) -> str:
    """What an exception says, for a message: its first line, at most 120 characters."""
    return (str(error) or type(error).__name__).split("\n")[0][:120]


def outage_in(error: BaseException) -> OSError | None:
    """The disk's own error that HDF5 ran into, which is no damage of the file; None if there was none."""
    told = re.search(r"errno = ([0-9]+), error message = '([^']*)'", str(error))
    found = OSError(int(told[1]), told[2]) if told else error
    return found if isinstance(found, OSError) and found.errno in DISKS_OWN else None


class KeepsFailure(io.FileIO):
    """A file whose first failed write is kept in ``failure``; what is written from then on is held in memory.

    HDF5 cannot close a file that it cannot write (the disk is full): it leaves it
    open and crashes the process at its end. So it is told that all went well.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(path, "w+")
        self.failure: OSError | None = None
        self._held: list[tuple[int, bytes]] = []

    def write(self, data: Any) -> int:
        """Write to the disk, or hold in memory what it does not take; always all of ``data``."""
        view = memoryview(data).cast("B")
        start, written = self.tell(), 0
        try:
            while self.failure is None and written < len(view):
                written += self._write_some(view[written:])
        except OSError as error:
            self.failure = error
        if self.failure is not None:
            self._held.append((start + written, bytes(view[written:])))
            self.seek(start + len(view))
        return len(view)

    def _write_some(self, view: memoryview) -> int:
        return super().write(view)

    def readinto(self, buffer: Any) -> int:
        """Read from the disk and from what is held in memory."""
        if self.failure is None:
            return super().readinto(buffer)
        view = memoryview(buffer).cast("B")
        start = self.tell()
        read = super().readinto(view)
        view[read:] = bytes(len(view) - read)
        for place, data in self._held:
            first, last = max(place, start), min(place + len(data), start + len(view))
            if first < last:
                view[first - start : last - start] = data[first - place : last - place]
        self.seek(start + len(view))
        return len(view)

    def truncate(self, size: int | None = None) -> int:
        """Change the file's size, or keep the failure to."""
        try:
            return super().truncate(size)
        except OSError as error:
            self.failure = self.failure or error
            return size or 0


@contextmanager
def created_hdf5(path: Path) -> Iterator[tuple[h5py.File, KeepsFailure]]:
    """A new HDF5 file and what it is written to. Raises OSError, with the path, where the disk does not take it."""
    with KeepsFailure(path) as raw:
        try:
            with h5py.File(raw, "w") as file:
                yield file, raw
        finally:
            if raw.failure is not None:
                raise OSError(raw.failure.errno, raw.failure.strerror, str(path)) from None
