"""Locks where the file system has them, and work that goes on where it has none."""

from __future__ import annotations

import errno
import fcntl
import os
import subprocess
import sys
from pathlib import Path

import pytest

from ranktag.files.lock import FileLock


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EINVAL])
def test_without_locks_the_work_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    def refuse(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "lockf", refuse)
    with FileLock(tmp_path / "lock") as lock:
        assert lock.acquire() and not lock.supported


@pytest.mark.parametrize("number", [errno.EACCES, errno.EAGAIN])
def test_a_part_that_another_holds_is_not_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    def refuse(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "lockf", refuse)
    with FileLock(tmp_path / "lock") as lock:
        assert not lock.acquire() and lock.supported


def test_another_error_is_no_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(fcntl, "lockf", refuse)
    with FileLock(tmp_path / "lock") as lock, pytest.raises(OSError, match="Input/output error"):
        lock.acquire()


def test_locks_conflict_only_where_shards_do(tmp_path: Path) -> None:
    held = FileLock(tmp_path / "lock")
    assert held.acquire(0) and held.acquire(2)
    code = (
        "import sys; from pathlib import Path; from ranktag.files.lock import FileLock\n"
        f"lock = FileLock(Path({str(tmp_path / 'lock')!r})); print([lock.acquire(k) for k in range(4)])"
    )
    assert (
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
        == "[False, True, False, True]\n"
    )
    held.close()
