"""Files that appear whole or not at all."""

from __future__ import annotations

import errno
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from ranktag.errors import RanktagError


def refuse_existing(path: Path, overwrite: bool) -> None:
    """Raise RanktagError if ``path`` exists and may not be replaced."""
    if overwrite and path.is_dir():
        raise RanktagError(f"{path}: is a folder, a file is to be written there; choose another path")
    if not overwrite and os.path.lexists(path):
        raise RanktagError(f"{path}: exists already; choose another path or pass --overwrite")


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """A temporary path beside ``path``; on success it is synced to disk and renamed to ``path``.

    Whatever happens in between, ``path`` holds either what it held before or the
    whole new file. Missing parent folders are made.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with blaming(path):
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name[:100]}.", suffix=".tmp")
        os.close(handle)
        temporary = Path(name)
        try:
            yield temporary
            os.chmod(temporary, 0o666 & ~_umask())
            sync(temporary)
            os.replace(temporary, path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        sync(path.parent)


@contextmanager
def atomic_text(path: str | Path) -> Iterator[TextIO]:
    """A UTF-8 text file, line ends as written, that appears at ``path`` once the block ends without an error."""
    with atomic_path(Path(path)) as temporary, open(temporary, "w", encoding="utf-8", newline="") as file:
        yield file


@contextmanager
def blaming(path: Path) -> Iterator[None]:
    """Errors of the operating system name ``path``.

    A failed write names no file, and a temporary name says nothing to anybody.
    """
    try:
        yield
    except OSError as error:
        named = os.fsdecode(error.filename) if isinstance(error.filename, (str, bytes, os.PathLike)) else ""
        if error.errno is not None and (not named or f".{path.name[:100]}." in named):
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
    mask = os.umask(0)
    os.umask(mask)
    return mask
