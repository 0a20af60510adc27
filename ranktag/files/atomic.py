"""Files that appear whole or not at all."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import functools
import os
import re
import shutil
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from ranktag.errors import Exists

SUFFIX = ".tmp"

_asking = threading.Lock()


def refuse_existing(path: Path, overwrite: bool) -> None:
    """Raise RanktagError if ``path`` exists and may not be replaced."""
    if overwrite and path.is_dir():
        raise Exists(f"{path}: is a folder, a file is to be written there; choose another path")
    if not overwrite and os.path.lexists(path):
        raise Exists(f"{path}: exists already; choose another path or pass --overwrite")


@contextmanager
def atomic_path(path: Path, *, like: Path | None = None) -> Iterator[Path]:
    """A temporary path beside ``path``; on success it is synced to disk and renamed to ``path``.

    like: a file whose permissions and extended attributes it gets, and whose owner where the system lets us.

    Whatever happens in between, ``path`` holds either what it held before or the
    whole new file. Missing parent folders are made. What a process that was killed left
    of the same file is removed.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with blaming(path), contextlib.ExitStack() as held:
        _clear(path)
        temporary = _held_temporary(path, held)
        try:
            yield temporary
            os.chmod(temporary, 0o666 & ~_umask())
            if like is not None:
                _liken(temporary, like)
            sync(temporary)
            os.replace(temporary, path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        sync(path.parent)


def _liken(path: Path, like: Path) -> None:
    """Give a file the permissions, extended attributes and owner of another; its times stay its own."""
    now, there = os.stat(path), os.stat(like)
    with contextlib.suppress(OSError):
        os.chown(path, there.st_uid, there.st_gid)
    shutil.copystat(like, path)
    os.utime(path, ns=(now.st_atime_ns, now.st_mtime_ns))


def _held_temporary(path: Path, held: contextlib.ExitStack) -> Path:
    """A temporary file beside ``path``, locked as long as ``held`` is open: so the next run knows that it is in use.

    The lock is shared, as HDF5 takes one of its own to read what was written.
    """
    while True:
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=_prefix(path), suffix=SUFFIX)
        held.callback(os.close, handle)
        with contextlib.suppress(OSError):
            fcntl.flock(handle, fcntl.LOCK_SH)
        # Another process may have taken it for a killed one's before the lock was there.
        if os.path.lexists(name):
            return Path(name)


def _clear(path: Path) -> None:
    """Remove temporary files of ``path`` that no living process holds."""
    prefix = _prefix(path)
    for name in _found_once(path.parent):
        if name.startswith(prefix) and re.fullmatch(r"[a-z0-9_]{8}", name[len(prefix) : -len(SUFFIX)]):
            with contextlib.suppress(OSError), open(path.parent / name, "rb+") as file:
                # Where the file system has no locks, nobody knows: it stays.
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                (path.parent / name).unlink()


@functools.lru_cache(maxsize=1024)
def _found_once(folder: Path) -> tuple[str, ...]:
    """The temporary files in a folder when this process wrote there first: a folder may hold a million other files."""
    with os.scandir(folder) as entries:
        return tuple(entry.name for entry in entries if entry.name.startswith(".") and entry.name.endswith(SUFFIX))


def _prefix(path: Path) -> str:
    return f".{path.name[:100]}."


@contextmanager
def atomic_text(path: str | Path) -> Iterator[TextIO]:
    """A UTF-8 text file, line ends as written, that appears at ``path`` once the block ends without an error."""
    with atomic_path(Path(path)) as temporary, open(temporary, "w", encoding="utf-8", newline="") as file:
        yield file


def write_once(path: Path, text: str, overwrite: bool) -> None:
    """A text file in one piece; one that says the same already is left as it is.

    Raises RanktagError for one that says something else, unless it may be overwritten.
    """
    if os.path.lexists(path):
        if path.is_file() and path.read_bytes() == text.encode():
            return
        refuse_existing(path, overwrite)
    with atomic_text(path) as file:
        file.write(text)


@contextmanager
def blaming(path: Path) -> Iterator[None]:
    """Errors of the operating system name ``path``.

    A failed write names no file, and a temporary name says nothing to anybody.
    """
    try:
        yield
    except OSError as error:
        named = os.fsdecode(error.filename) if isinstance(error.filename, (str, bytes, os.PathLike)) else ""
        if error.errno is not None and (not named or _prefix(path) in named):
            error.filename, error.filename2 = str(path), None
        raise


def sync(path: Path) -> None:
    """Flush a file's contents, or a folder's entries, to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        # Some network file systems cannot sync a folder; the rename is then as safe as they make it.
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise
    finally:
        os.close(descriptor)


def _umask() -> int:
    # The system tells it only to whoever sets it, and it is the whole process's.
    with _asking:
        mask = os.umask(0)
        os.umask(mask)
    return mask
