"""Old files come back unless the new ones are complete, whatever happens and whenever."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from ranktag.files.replacement import SetAside

PATTERNS = ("model", "state", "log.*", "points")
OLD = {"model": "old", "log.1": "old", "points/a/model": "old", "notes.txt": "mine"}


class Killed(BaseException):
    """Stands in for SIGKILL: nothing of what the process would still have done is done."""


def old_folder(folder: Path) -> SetAside:
    fill(folder, OLD)
    return SetAside(folder, PATTERNS)


def fill(folder: Path, content: dict[str, str]) -> None:
    for name, text in content.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)


def files(folder: Path) -> dict[str, str]:
    return {path.relative_to(folder).as_posix(): path.read_text() for path in folder.rglob("*") if path.is_file()}


def test_what_is_complete_takes_the_place_of_the_old(tmp_path: Path) -> None:
    old = old_folder(tmp_path)
    with old.replacing(put_back=True):
        assert files(tmp_path) == {"notes.txt": "mine"} | {
            f".old/{name}": text for name, text in OLD.items() if name != "notes.txt"
        }
        assert old.begun() and old.names() == {"notes.txt"}
        fill(tmp_path, {"state": "new", "points/b": "new"})
        old.discard()
        assert not old.begun()
    assert files(tmp_path) == {"notes.txt": "mine", "state": "new", "points/b": "new"}
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


@pytest.mark.parametrize("failure", [OSError, KeyboardInterrupt, SystemExit])
def test_a_failure_brings_the_old_files_back(tmp_path: Path, failure: type[BaseException]) -> None:
    old = old_folder(tmp_path)
    with pytest.raises(failure), old.replacing(put_back=True):
        fill(tmp_path, {"model": "new", "state": "new", "log.2": "new", "points/a/model": "new", "points/b": "new"})
        raise failure
    assert files(tmp_path) == OLD and not old.begun()


def test_a_failure_after_that_does_not(tmp_path: Path) -> None:
    old = old_folder(tmp_path)
    with pytest.raises(OSError), old.replacing(put_back=True):
        fill(tmp_path, {"model": "new"})
        old.discard()
        raise OSError
    assert files(tmp_path) == {"notes.txt": "mine", "model": "new"}


def test_without_old_files_the_new_ones_stay(tmp_path: Path) -> None:
    old = SetAside(tmp_path, PATTERNS)
    with pytest.raises(OSError), old.replacing(put_back=True):
        assert not old.begun()
        fill(tmp_path, {"state": "new"})
        raise OSError
    assert files(tmp_path) == {"state": "new"}


def kill_at(monkeypatch: pytest.MonkeyPatch, moment: int, done: list[str]) -> None:
    """From the ``moment``-th change of the folder on, nothing is done any more."""

    def watched(change: Callable[..., object]) -> Callable[..., object]:
        def instead(*arguments: object, **options: object) -> object:
            if len(done) >= moment:
                raise Killed
            done.append(change.__name__)
            return change(*arguments, **options)

        return instead

    for name in ("rename", "mkdir", "rmdir", "unlink"):
        monkeypatch.setattr(Path, name, watched(getattr(Path, name)))
    monkeypatch.setattr("ranktag.files.replacement.shutil.rmtree", watched(shutil.rmtree))


@pytest.mark.parametrize("fails", [True, False], ids=["put back", "discarded"])
def test_killed_at_any_moment_either_the_old_files_or_the_new_are_whole(tmp_path: Path, fails: bool) -> None:
    new = {"model": "new", "state": "new", "points/b/model": "new"}
    outcomes = []
    for moment in range(100):
        folder = tmp_path / str(moment)
        done: list[str] = []
        with pytest.MonkeyPatch.context() as patch:
            old = old_folder(folder)
            kill_at(patch, moment, done)
            try:
                with old.replacing(put_back=True):
                    for name, text in new.items():
                        if not (folder / name).parent.is_dir():
                            (folder / name).parent.mkdir(parents=True)
                        (folder / name).write_text(text)
                    if fails:
                        raise OSError
                    old.discard()
            except (Killed, OSError):
                pass
        # The next process.
        later = SetAside(folder, PATTERNS)
        before = later.names()
        later.recover()
        assert later.names() == before
        if later.begun():
            # The new files were not complete: a call that replaces them and fails brings the first ones back.
            with pytest.raises(OSError), later.replacing(put_back=True):
                assert files(folder).keys() - {"notes.txt"} == {f".old/{name}" for name in OLD if name != "notes.txt"}
                raise OSError
            outcomes.append("set aside")
        else:
            outcomes.append("old" if files(folder) == OLD else "new")
        assert files(folder) == (OLD if outcomes[-1] != "new" else {"notes.txt": "mine"} | new), moment
        assert not [path.name for path in folder.iterdir() if path.name.startswith(".")]
        if len(done) < moment:
            break
    else:
        pytest.fail("it was always killed")
    assert list(dict.fromkeys(outcomes)) == ["old", "set aside", "old" if fails else "new"][: 2 if fails else 3]


def test_a_process_that_goes_on_with_the_new_files_leaves_the_old_where_they_are(tmp_path: Path) -> None:
    old = old_folder(tmp_path)
    with pytest.raises(OSError), old.replacing(put_back=True):
        fill(tmp_path, {"state": "first"})
        resumed = SetAside(tmp_path, PATTERNS)
        with pytest.raises(KeyboardInterrupt), resumed.replacing(put_back=False):
            assert not (tmp_path / "state").exists()
            fill(tmp_path, {"state": "second"})
            raise KeyboardInterrupt
        assert resumed.begun() and (tmp_path / "state").read_text() == "second"
        raise OSError
    assert files(tmp_path) == OLD
