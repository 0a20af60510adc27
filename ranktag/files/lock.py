"""Locks on what is being written, so that two processes never write the same."""

from __future__ import annotations

import errno
import fcntl
from pathlib import Path
from typing import Any

# What a file system says that has no locks: network ones mounted without them, some in user space.
NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EINVAL)


class FileLock:
    """Exclusive advisory locks on numbered parts of a piece of work, held until closed or until the process dies.

    One byte of the lock file stands for one part, so processes that share the work
    lock only their own parts. POSIX record locks are used because they work over
    NFS; where the file system has none, ``supported`` is False and nothing is locked.
    """

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file: Any = open(path, "a+b")  # noqa: SIM115 - held open until close(), as long as the locks
        self.supported = True

    def acquire(self, part: int = 0, parts: int = 1) -> bool:
        """Lock ``parts`` parts from ``part`` on; False if another process holds one of them."""
        try:
            fcntl.lockf(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB, parts, part)
        except OSError as error:
            if error.errno in (errno.EACCES, errno.EAGAIN):
                return False
            if error.errno in NO_LOCKS:
                self.supported = False
                return True
            raise
        return True

    def release(self, part: int = 0, parts: int = 1) -> None:
        """Release ``parts`` parts from ``part`` on."""
        if self.supported:
            fcntl.lockf(self._file, fcntl.LOCK_UN, parts, part)

    def close(self) -> None:
        """Release every part."""
        self._file.close()

    def __enter__(self) -> FileLock:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


def is_locked(path: Path) -> bool:
    """Whether a process holds a lock on the file. It is looked at in passing: the lock is not taken from anybody."""
    try:
        with open(path, "rb") as file:
            fcntl.lockf(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError as error:
        return error.errno in (errno.EACCES, errno.EAGAIN) and path.exists()
    return False
