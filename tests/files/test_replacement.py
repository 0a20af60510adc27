"""Old files stand until the new ones are complete, whatever happens and whenever."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from ranktag.files.replacement import Replacement, replaced_together

PATTERNS = ("model", "state", "log.*", "points")
MINE = {"notes.txt": "mine"}
OLD = {"model": "old", "log.1": "old", "points/a/model": "old", **MINE}
NEW = {"model": "new", "state": "new", "points/b/model": "new"}


class Killed(BaseException):
    """Stands in for SIGKILL: nothing of what the process would still have done is done."""


def old_folder(folder: Path) -> Replacement:
    fill(folder, OLD)
    return Replacement(folder, PATTERNS)


def fill(folder: Path, content: dict[str, str]) -> None:
    for name, text in content.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)


def files(folder: Path) -> dict[str, str]:
    return {path.relative_to(folder).as_posix(): path.read_text() for path in folder.rglob("*") if path.is_file()}


def seen(folder: Path) -> dict[str, str]:
    """What a reader finds: everything but the hidden folders."""
    return {name: text for name, text in files(folder).items() if not name.startswith(".new")}


def one_by_one(folder: Path, fails: BaseException | None = None) -> None:
    """Replace the files as a training does."""
    replacement = Replacement(folder, PATTERNS)
    replacement.recover()
    with replacement.making():
        replacement.begin()
        for name, text in NEW.items():
            fill(replacement.place, {name: text})
        if fails:
            raise fails
        replacement.commit()


def together(folder: Path, fails: BaseException | None = None) -> None:
    """Replace the files as an evaluation does."""
    with replaced_together(folder, PATTERNS) as new:
        fill(new, NEW)
        if fails:
            raise fails


WAYS = [one_by_one, together]


def test_what_is_complete_takes_the_place_of_the_old(tmp_path: Path) -> None:
    replacement = old_folder(tmp_path)
    with replacement.making():
        assert not replacement.begun and replacement.place == tmp_path
        replacement.begin()
        fill(replacement.place, {"state": "new", "points/b": "new"})
        # Until then a reader finds the old, all of it.
        assert seen(tmp_path) == OLD
        assert replacement.begun and replacement.names() == {"model", "log.1", "points", "notes.txt"}
        replacement.commit()
        assert not replacement.begun and replacement.place == tmp_path
        # What comes later is written where it belongs, and what comes to be complete again is nothing.
        replacement.commit()
    assert files(tmp_path) == {"state": "new", "points/b": "new", **MINE}
    assert not list(tmp_path.glob(".*"))


def test_a_folder_takes_the_place_of_the_old_one_as_a_whole(tmp_path: Path) -> None:
    path = tmp_path / "report"
    for content in ("first", "second"):
        with replaced_together(path, ("*.txt",)) as new:
            fill(new, {f"{content}.txt": content})
        assert files(tmp_path) == {f"report/{content}.txt": content} and not list(path.glob(".*"))
    with pytest.raises(RuntimeError), replaced_together(path, ("*.txt",)) as new:
        fill(new, {"third.txt": "half"})
        raise RuntimeError
    assert files(tmp_path) == {"report/second.txt": "second"} and not list(path.glob(".*"))


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("failure", [OSError, KeyboardInterrupt, SystemExit])
def test_a_failure_leaves_the_old_files(
    tmp_path: Path, way: Callable[[Path, BaseException], None], failure: type[BaseException]
) -> None:
    old_folder(tmp_path / "folder")
    with pytest.raises(failure):
        way(tmp_path / "folder", failure())
    assert files(tmp_path) == {f"folder/{name}": text for name, text in OLD.items()}
    assert not list((tmp_path / "folder").glob(".*"))


def test_a_failure_after_that_does_not(tmp_path: Path) -> None:
    replacement = old_folder(tmp_path)
    with pytest.raises(OSError), replacement.making():
        replacement.begin()
        fill(replacement.place, {"model": "new"})
        replacement.commit()
        raise OSError
    assert files(tmp_path) == {"model": "new", **MINE}


def test_without_a_beginning_new_files_are_written_in_place_and_stay(tmp_path: Path) -> None:
    replacement = Replacement(tmp_path, PATTERNS)
    with pytest.raises(OSError), replacement.making():
        fill(replacement.place, {"state": "new"})
        raise OSError
    assert files(tmp_path) == {"state": "new"}


def test_a_process_that_goes_on_with_the_new_files_may_fail_and_leave_them(tmp_path: Path) -> None:
    replacement = old_folder(tmp_path)
    replacement.begin()
    fill(replacement.place, {"state": "first"})
    later = Replacement(tmp_path, PATTERNS)
    later.recover()
    with pytest.raises(KeyboardInterrupt), later.making(keep=True):
        assert (later.place / "state").read_text() == "first"
        fill(later.place, {"state": "second"})
        raise KeyboardInterrupt
    assert later.begun and (later.place / "state").read_text() == "second"
    assert seen(tmp_path) == OLD


def test_a_folder_that_was_not_there_is_not_there_after_a_failure(tmp_path: Path) -> None:
    with pytest.raises(OSError):
        together(tmp_path / "new", OSError())
    assert not list(tmp_path.iterdir())
    together(tmp_path / "new/folder")
    assert files(tmp_path / "new/folder") == NEW


def test_a_link_is_replaced_and_not_what_it_leads_to(tmp_path: Path) -> None:
    fill(tmp_path / "elsewhere", OLD)
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder/points").symlink_to(tmp_path / "elsewhere", target_is_directory=True)
    together(tmp_path / "folder")
    assert files(tmp_path / "folder") == NEW and files(tmp_path / "elsewhere") == OLD


def test_an_error_names_the_file_where_it_was_to_be(tmp_path: Path) -> None:
    old_folder(tmp_path)
    for way in WAYS:
        with pytest.raises(OSError) as failed:
            way(tmp_path, OSError(errno.ENOSPC, "No space left on device", str(tmp_path / ".new/model")))
        assert failed.value.filename == str(tmp_path / "model")


CHANGES = ("rename", "mkdir", "rmdir", "unlink", "write_text")


def change_at(
    patch: pytest.MonkeyPatch, moment: int, done: list[str], folder: Path, error: Callable[[], BaseException]
) -> None:
    """From the ``moment``-th change of the folder on, nothing is done any more; a reader looks in before each."""

    def watched(change: Callable[..., object]) -> Callable[..., object]:
        def instead(*arguments: object, **options: object) -> object:
            assert_no_mixture(folder)
            if len(done) >= moment:
                raise error()
            done.append(change.__name__)
            return change(*arguments, **options)

        return instead

    for name in CHANGES:
        patch.setattr(Path, name, watched(getattr(Path, name)))
    patch.setattr("ranktag.files.replacement.shutil.rmtree", watched(shutil.rmtree))


def assert_no_mixture(folder: Path) -> None:
    content = seen(folder)
    assert content.items() <= OLD.items() or content.items() <= (NEW | MINE).items(), content


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("fails", [True, False], ids=["fails", "succeeds"])
def test_killed_at_any_moment_either_the_old_files_or_the_new_are_whole(
    tmp_path: Path, way: Callable[[Path, BaseException | None], None], fails: bool
) -> None:
    outcomes = []
    for moment in range(100):
        folder, done = tmp_path / str(moment), list[str]()
        old_folder(folder)
        with pytest.MonkeyPatch.context() as patch:
            change_at(patch, moment, done, folder, Killed)
            with suppress(Killed, OSError):
                way(folder, OSError() if fails else None)
        assert_no_mixture(folder)
        # The next process.
        later = Replacement(folder, PATTERNS)
        before, making = later.names(), later.begun
        later.recover()
        assert later.names() == before
        if making:
            # They were not complete, and what a reader finds are the old ones, all of them.
            assert later.begun and seen(folder) == OLD
            with pytest.raises(OSError):
                way(folder, OSError())
        outcomes.append("new" if files(folder) == NEW | MINE else "old")
        assert files(folder) == (OLD if outcomes[-1] == "old" else NEW | MINE), moment
        assert not list(folder.glob(".*"))
        if len(done) < moment:
            break
    else:
        pytest.fail("it was always killed")
    assert list(dict.fromkeys(outcomes)) == (["old"] if fails else ["old", "new"])
    assert len(outcomes) > 8


@pytest.mark.parametrize("way", WAYS)
def test_a_disk_that_fails_at_any_moment_loses_neither(
    tmp_path: Path, way: Callable[[Path, BaseException | None], None]
) -> None:
    for moment in range(100):
        folder, done = tmp_path / str(moment), list[str]()
        old_folder(folder)
        with pytest.MonkeyPatch.context() as patch:
            # Clearing up fails, too.
            change_at(patch, moment, done, folder, lambda: OSError(errno.EIO, "Input/output error"))
            try:
                way(folder, None)
                failed = False
            except OSError:
                failed = True
        assert_no_mixture(folder)
        # The same call, once the disk does as it should.
        if failed:
            way(folder, None)
        assert files(folder) == NEW | MINE, moment
        if not failed:
            return
    pytest.fail("it always failed")


def test_two_at_once_leave_the_files_of_one(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    children = []
    for letter in "ab":
        child = os.fork()
        if child == 0:
            try:
                for _ in range(40):
                    with replaced_together(folder, ("*.txt",)) as new:
                        fill(new, {f"{n}.txt": letter for n in range(5)})
                os._exit(0)
            finally:
                os._exit(1)
        children.append(child)
    assert [os.waitpid(child, 0)[1] for child in children] == [0, 0]
    assert set(files(folder)) == {f"{n}.txt" for n in range(5)} and len(set(files(folder).values())) == 1
