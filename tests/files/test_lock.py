"""Locks where the file system has them, and work that goes on where it has none."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from making import make_data
from outcome import Outcome

from ranktag.config import TrainingConfig
from ranktag.errors import Locked
from ranktag.files.lock import FileLock, only_writer
from ranktag.training.train import train


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


HOLD = """
import sys
from pathlib import Path
from ranktag.files.lock import only_writer
with only_writer(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


@contextmanager
def held_by_another(output: Path) -> Iterator[None]:
    """Within, another process writes ``output``."""
    command = [sys.executable, "-c", HOLD, str(output)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=Path(__file__).parent) as other:
        assert other.stdout is not None and other.stdout.readline() == b"held\n"
        yield
        other.communicate()


def test_of_two_writers_the_second_stops(tmp_path: Path) -> None:
    output = tmp_path / "new" / "p.csv"
    with held_by_another(output):
        with pytest.raises(Locked, match="p.csv: another process is writing it; wait for it"), only_writer(output):
            pass
        assert [path.name for path in (tmp_path / "new").iterdir()] == [".p.csv.lock"]
    assert not list((tmp_path / "new").iterdir())
    with only_writer(output):
        pass


def test_a_writer_that_fails_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(ValueError), only_writer(tmp_path / "a" / "b" / ("long" * 60)):
        raise ValueError
    assert not list(tmp_path.iterdir())
    with only_writer(None):
        pass


def test_a_lock_that_its_owner_removed_is_not_the_one_beside_the_output(tmp_path: Path) -> None:
    with FileLock(tmp_path / "lock") as lock:
        assert lock.is_at(tmp_path / "lock")
        (tmp_path / "lock").unlink()
        assert not lock.is_at(tmp_path / "lock")
        (tmp_path / "lock").touch()
        assert not lock.is_at(tmp_path / "lock")


def test_two_exports_and_two_evaluations_at_once(ranktag: Callable[..., Outcome], tmp_path: Path) -> None:
    cache, tags = make_data(tmp_path)
    train(cache, tags, tmp_path / "run", TrainingConfig(model="popularity", device="cpu"))
    predictions, report = tmp_path / "p.csv", tmp_path / "report"
    export = ("export-tags", cache, "--model", tmp_path / "run", "-o", predictions, "--device", "cpu")
    with held_by_another(predictions):
        ranktag(*export).assert_refused(str(predictions), "another process is writing it", code=3)
        assert not predictions.exists()
    assert ranktag(*export).code == 0
    with held_by_another(report):
        outcome = ranktag("evaluate", predictions, tags, "-o", report, "--resamples", 0, "--json")
        outcome.assert_refused(str(report), "another process is writing it", code=3)
        assert json.loads(outcome.out)["error"] == "locked" and not report.exists()
    assert ranktag("evaluate", predictions, tags, "-o", report, "--resamples", 0).code == 0
    assert not list(tmp_path.glob(".*.lock"))
