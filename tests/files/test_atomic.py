"""Files appear whole or not at all, and locks hold between processes."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from ranktag.errors import RanktagError, one_line
from ranktag.files.atomic import atomic_path, refuse_existing
from ranktag.files.digest import sha256_file
from ranktag.files.lock import FileLock


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_file_appears_whole_with_its_parent_folders(tmp_path: Path) -> None:
    path = tmp_path / "new/folder/f.txt"
    with atomic_path(path) as temporary:
        temporary.write_text("content")
        assert temporary.parent == path.parent and not path.exists()
    assert path.read_text() == "content" and names(path.parent) == ["f.txt"]


def test_a_file_gets_the_rights_that_any_new_file_gets(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        with atomic_path(tmp_path / "f") as temporary:
            temporary.write_text("x")
    finally:
        os.umask(before)
    assert (tmp_path / "f").stat().st_mode & 0o777 == 0o640


@pytest.mark.parametrize("failure", [RuntimeError, KeyboardInterrupt, SystemExit])
def test_a_failure_leaves_the_old_file_and_nothing_else(tmp_path: Path, failure: type[BaseException]) -> None:
    path = tmp_path / "f.txt"
    path.write_text("old")
    with pytest.raises(failure), atomic_path(path) as temporary:
        temporary.write_text("half")
        raise failure
    assert path.read_text() == "old" and names(tmp_path) == ["f.txt"]


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_a_disk_that_fails_at_the_end_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    path = tmp_path / "f.txt"
    path.write_text("old")

    def full(*arguments: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, step, full)
    with pytest.raises(OSError, match="No space"), atomic_path(path) as temporary:
        temporary.write_text("new")
    assert path.read_text() == "old" and names(tmp_path) == ["f.txt"]


def test_a_killed_process_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "f.txt"
    path.write_text("old")
    script = """
        import os, signal, sys
        from pathlib import Path
        from ranktag.files.atomic import atomic_path
        with atomic_path(Path(sys.argv[1])) as temporary:
            temporary.write_text("half")
            os.kill(os.getpid(), signal.SIGKILL)
    """
    killed = subprocess.run([sys.executable, "-c", textwrap.dedent(script), str(path)], check=False)
    assert killed.returncode == -signal.SIGKILL
    assert path.read_text() == "old"


WRITER = """
    import sys
    from pathlib import Path
    from ranktag.files.atomic import atomic_path
    with atomic_path(Path(sys.argv[1])) as temporary:
        temporary.write_text("half")
        print(temporary.name, flush=True)
        sys.stdin.read()
"""


def write(path: Path) -> tuple[subprocess.Popen[str], str]:
    """A process that is writing a file until its standard input is closed, and its temporary name."""
    command = [sys.executable, "-c", textwrap.dedent(WRITER), str(path)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    return process, process.stdout.readline().strip()


def test_what_a_killed_process_left_is_cleared_and_what_a_living_one_holds_is_not(tmp_path: Path) -> None:
    path = tmp_path / "f.txt"
    killed, left = write(path)
    living, held = write(path)
    other, others = write(tmp_path / "f.txt.gz")
    for process in (killed, other):
        process.kill()
        process.communicate()
    users = ".f.txt.mine.tmp"
    (tmp_path / users).write_text("a user's")
    assert names(tmp_path) == sorted([left, held, others, users])
    with atomic_path(path) as temporary:
        temporary.write_text("whole")
    assert names(tmp_path) == sorted([held, others, users, "f.txt"])
    living.communicate("")
    assert path.read_text() == "half" and names(tmp_path) == sorted([others, users, "f.txt"])


def test_without_locks_on_the_file_system_nothing_is_cleared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def none(*arguments: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    (tmp_path / ".f.txt.abcdefgh.tmp").write_text("another's")
    monkeypatch.setattr(fcntl, "flock", none)
    with atomic_path(tmp_path / "f.txt") as temporary:
        temporary.write_text("whole")
    assert names(tmp_path) == [".f.txt.abcdefgh.tmp", "f.txt"]


def test_an_existing_output_is_refused_unless_it_may_be_replaced(tmp_path: Path) -> None:
    refuse_existing(tmp_path / "new", overwrite=False)
    (tmp_path / "file").touch()
    with pytest.raises(RanktagError, match="exists already; choose another path or pass --overwrite"):
        refuse_existing(tmp_path / "file", overwrite=False)
    refuse_existing(tmp_path / "file", overwrite=True)
    with pytest.raises(RanktagError, match="is a folder"):
        refuse_existing(tmp_path, overwrite=True)
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    with pytest.raises(RanktagError, match="exists already"):
        refuse_existing(tmp_path / "dangling", overwrite=False)


def test_the_digest_is_sha256(tmp_path: Path) -> None:
    content = os.urandom(3_000_000)
    (tmp_path / "f").write_bytes(content)
    assert sha256_file(tmp_path / "f") == hashlib.sha256(content).hexdigest()


HOLDER = """
    import sys
    from pathlib import Path
    from ranktag.files.lock import FileLock
    lock = FileLock(Path(sys.argv[1]))
    print([lock.acquire(int(part)) for part in sys.argv[2:]], flush=True)
    sys.stdin.read()
"""


def hold(path: Path, *parts: int) -> subprocess.Popen[str]:
    """A process that holds parts of a lock until its standard input is closed."""
    command = [sys.executable, "-c", textwrap.dedent(HOLDER), str(path), *map(str, parts)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == f"{[True] * len(parts)}\n"
    return process


def test_a_lock_is_held_against_other_processes_part_by_part(tmp_path: Path) -> None:
    path = tmp_path / "new/.lock"
    with hold(path, 0, 5) as process, FileLock(path) as lock:
        assert [lock.acquire(part) for part in (0, 1, 5, 6)] == [False, True, False, True]
        process.communicate("")
        assert lock.acquire(0) and lock.acquire(5)


def test_a_lock_ends_with_its_process(tmp_path: Path) -> None:
    with hold(tmp_path / ".lock", 0) as process, FileLock(tmp_path / ".lock") as lock:
        assert not lock.acquire()
        process.kill()
        process.wait()
        assert lock.acquire()


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOTSUP])
def test_without_locks_on_the_file_system_work_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def none(*arguments: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "lockf", none)
    with FileLock(tmp_path / ".lock") as lock:
        assert lock.acquire() and not lock.supported


def test_an_error_is_one_line_whatever_it_names() -> None:
    assert (
        str(RanktagError("a\nb\r\t\x1b[31m\x85\u2028c: no such file")) == r"a\nb\r\t\x1b[31m\x85\u2028c: no such file"
    )
    assert one_line("/photos/é 日本.jpg") == "/photos/é 日本.jpg"
    assert one_line(os.fsdecode(b"\xff.jpg")).isprintable()


def test_a_file_may_get_the_permissions_of_the_one_it_replaces(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_text("old")
    path.chmod(0o640)
    os.utime(path, ns=(0, 0))
    with atomic_path(path, like=path) as temporary:
        temporary.write_text("new")
    assert path.read_text() == "new" and path.stat().st_mode & 0o777 == 0o640
    assert path.stat().st_mtime_ns > 0
