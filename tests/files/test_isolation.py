"""What a C library may do to a process on damaged input ends as a word, not as the end of the process."""

from __future__ import annotations

import math
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ranktag.errors import RanktagError
from ranktag.files.isolation import Apart, EndedBadly, Trial, run_apart


def ends_badly(action: Callable[[], object], seconds: int = 60) -> str:
    with Trial(action, seconds) as trial:
        return trial.ended()


def test_hdf5_that_crashes_or_never_returns_is_an_error() -> None:
    # With these bytes it depends on the version of HDF5 which it is; what is made of it does not.
    assert ends_badly(lambda: os.kill(os.getpid(), signal.SIGSEGV)) == "crashes"
    assert ends_badly(os.abort) == "crashes"
    assert ends_badly(lambda: all(True for _ in iter(int, 1)), seconds=1) == "never returns"
    assert (
        ends_badly(lambda: None)
        == ends_badly(lambda: 1 / 0)
        == ends_badly(lambda: os.kill(os.getpid(), signal.SIGTERM))
        == ""
    )


def test_nothing_is_forked_on_macos(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    monkeypatch.setattr(os, "fork", lambda: pytest.fail("forked"))
    assert ends_badly(os.abort) == ""


def test_a_trial_runs_beside_what_is_done_and_leaves_no_process(tmp_path: Path) -> None:
    with Trial(lambda: (tmp_path / "there").touch()) as trial:
        assert trial.ended() == "" and (tmp_path / "there").exists()
    # Of one that nobody asks about, the process is ended too: it would run for a minute.
    with pytest.raises(ValueError, match="mistake"), Trial(lambda: all(True for _ in iter(int, 1))) as trial:
        pid = trial._child
        raise ValueError("a mistake elsewhere")
    # Not any process: one of another test's may be there.
    assert pid is not None
    with pytest.raises(ChildProcessError):
        os.waitpid(pid, os.WNOHANG)


@pytest.fixture
def apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A module that a fresh interpreter can import, too."""
    (tmp_path / "damaging.py").write_text(
        "import os, signal, sys\n"
        "from ranktag.errors import RanktagError\n"
        "def double(value, other=0): return [value, 2 * value, other]\n"
        "def refuse(path): raise RanktagError(f'{path}: is damaged; make it again')\n"
        "def crash(): os.kill(os.getpid(), signal.SIGSEGV)\n"
        "def spin():\n    while True: pass\n"
        "def leave(): sys.exit(3)\n"
        "def raise_it(): raise ValueError('no')\n"
        "def babble(): print('{}')\n"
        "def pose_as_an_answer():\n    print('7', flush=True); os._exit(0)\n"
        "def opaque(): return object()\n"
        "def now_and_then(what):\n"
        "    if what == 'crash': crash()\n"
        "    if what == 'mistake': raise RanktagError('mend it')\n"
        "    if what == 'disk': raise OSError(5, 'Input/output error', '/x')\n"
        "    if what == 'babble': print('babble', flush=True)\n"
        "    if what == 'defect': raise ValueError('no')\n"
        "    if what == 'spin': spin()\n"
        "    if what == 'work':\n"
        "        start = os.times().user\n"
        "        while os.times().user - start < 0.5: pass\n"
        "    return os.getpid()\n",
        encoding="utf-8",
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.syspath_prepend(str(tmp_path))
    import damaging  # type: ignore[import-not-found]  # it is written above

    yield damaging
    sys.modules.pop("damaging")


def test_the_answer_and_the_error_of_a_function_run_apart_come_back(apart: Any) -> None:
    assert run_apart(apart.double, 21) == [21, 42, 0]
    assert run_apart(apart.double, "é\ud800", math.inf) == ["é\ud800", "é\ud800é\ud800", math.inf]
    with pytest.raises(RanktagError, match="a.mat: is damaged; make it again"):
        run_apart(apart.refuse, "a.mat")


@pytest.mark.parametrize(
    ("name", "how", "code"),
    [
        ("crash", "crashes", -signal.SIGSEGV),
        ("spin", "never returns", -signal.SIGXCPU),
        ("leave", "fails", 3),
        ("raise_it", "fails", 1),
        ("opaque", "fails", 1),
        ("babble", "fails", 0),
        ("pose_as_an_answer", "fails", 0),
    ],
)
def test_how_a_function_run_apart_ended(
    apart: Any, capfd: pytest.CaptureFixture[str], name: str, how: str, code: int
) -> None:
    with pytest.raises(EndedBadly) as end:
        run_apart(getattr(apart, name), seconds=1)
    assert (end.value.how, end.value.code) == (how, code)
    # The one line is the caller's to say.
    assert capfd.readouterr() == ("", "")


def test_one_process_answers_many_calls_and_a_new_one_follows_a_crash(apart: Any) -> None:
    with Apart(apart.double) as double:
        assert [double(number) for number in range(3)] == [[0, 0, 0], [1, 2, 0], [2, 4, 0]]
        assert double("\udcff\n", None) == ["\udcff\n", "\udcff\n\udcff\n", None]
    with Apart(apart.now_and_then) as called:
        first = called("answer")
        assert called("answer") == first
        with pytest.raises(EndedBadly, match="crashes") as crash:
            called("crash")
        assert crash.value.code == -signal.SIGSEGV
        with pytest.raises(RanktagError, match="mend it"):
            called("mistake")
        with pytest.raises(OSError, match="Input/output error") as disk:
            called("disk")
        assert (disk.value.errno, disk.value.filename) == (5, "/x")
        assert called("babble") == called("answer") != first
        with pytest.raises(EndedBadly, match="fails"):
            called("defect")
        assert called.close() == 0


def test_a_call_that_never_returns_ends_and_many_that_do_are_no_such(apart: Any) -> None:
    with Apart(apart.now_and_then, seconds=1) as called:
        for _ in range(4):
            called("work")
        with pytest.raises(EndedBadly, match="never returns"):
            called("spin")
