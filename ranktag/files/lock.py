"""Locks on what is being written, so that two processes never write the same."""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from ranktag.errors import Locked

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
        self.path = path
        self._file: Any = open(path, "a+b")  # noqa: SIM115 - held open until close(), as long as the locks
        self.supported = True

    def acquire(self, part: int = 0, parts: int = 1, *, shared: bool = False) -> bool:
        """Lock ``parts`` parts from ``part`` on; False if another process holds one of them.

        shared: others may have them too, if theirs are shared as well.
        """
        try:
            fcntl.lockf(self._file, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB, parts, part)
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

    def is_at(self, path: Path) -> bool:
        """Whether the file is still the one at ``path``, and not one that its owner has removed."""
        try:
            return os.path.samestat(os.fstat(self._file.fileno()), path.stat())
        except FileNotFoundError:
            return False

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


@contextmanager
def only_writer(output: Path | None) -> Iterator[None]:
    """Within, no other process of ranktag writes ``output``, a file or a folder; None is what nobody else can write.

    A file ``.NAME.lock`` lies beside it meanwhile. Raises Locked if another process is at work, and OSError
    if nothing can be written there. Folders that were made for it are taken away again if what is within fails.
    """
    if output is None:
        yield
        return
    made = [parent for parent in output.parents if not parent.exists()]
    try:
        lock, path = _lock_beside(output)
        try:
            yield
        finally:
            # Before it is let go: whoever waits for it sees that it is gone, and makes another.
            path.unlink(missing_ok=True)
            lock.close()
    except BaseException:
        for parent in made:
            with suppress(OSError):
                parent.rmdir()
        raise


def _lock_beside(output: Path) -> tuple[FileLock, Path]:
    path = output.parent / f".{os.fsdecode(os.fsencode(output.name)[:200])}.lock"
    while True:
        try:
            lock = FileLock(path)
        except OSError as error:
            raise OSError(error.errno, error.strerror, str(output)) from None
        if not lock.acquire():
            lock.close()
            raise Locked(f"{output}: another process is writing it; wait for it or choose another output")
        if lock.is_at(path):
            return lock, path
        lock.close()
