"""The bar on a terminal, the lines elsewhere."""

from __future__ import annotations

import io
import sys

import pytest

from ranktag.pipelines.shared import progress as module
from ranktag.pipelines.shared.progress import Bar, Shown, duration, progress
from ranktag.progress import Progress


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time that the bars see; it stands still until it is moved."""
    now = [1000.0]
    monkeypatch.setattr(Bar, "_time", lambda self: now[0], raising=False)
    monkeypatch.setattr("tqdm.std.time", lambda: now[0])
    return now


def test_a_line_now_and_then_where_there_is_no_terminal(clock: list[float], capsys: pytest.CaptureFixture[str]) -> None:
    shown = Shown()
    with shown.working("Reading", 1000, "images"):
        for _ in range(40):
            clock[0] += 2.0
            shown.advance(10)
    # 20 things in 4 seconds are 5 a second: after 30 seconds 150 are done, and 850 take 170 seconds.
    assert capsys.readouterr().err.splitlines() == [
        "Reading: 150 of 1,000 images, 5.0 images/s, 2 min 50 s left",
        "Reading: 300 of 1,000 images, 5.0 images/s, 2 min 20 s left",
    ]


def test_short_work_shows_nothing(clock: list[float], capsys: pytest.CaptureFixture[str]) -> None:
    shown = Shown()
    for _ in shown.over(range(100), "Reading", 100, "images"):
        clock[0] += 0.01
    assert capsys.readouterr() == ("", "")


def test_of_a_number_nobody_knows_only_what_is_done_is_said(
    clock: list[float], capsys: pytest.CaptureFixture[str]
) -> None:
    shown = Shown()
    with shown.working("Reading", None, "lists"):
        clock[0] += 50.0
        shown.advance(100)
    assert capsys.readouterr().err == "Reading: 100 lists, 2.0 lists/s\n"


def test_a_bar_on_a_terminal_and_lines_above_it(
    clock: list[float], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    shown = Shown()
    with shown.working("Training", 10, "epochs"):
        clock[0] += 5.0
        shown.advance()
        shown.note("epoch 1")
    assert "Training:  10%" in terminal.getvalue() and "1/10" in terminal.getvalue()
    # At the end nothing is left of it.
    assert terminal.getvalue().endswith("\r") and "\repoch 1\n" in terminal.getvalue()


def test_what_was_done_before_is_not_taken_for_speed(clock: list[float], capsys: pytest.CaptureFixture[str]) -> None:
    with Bar("", 100, "images", done=50, delay=0.0) as bar:
        clock[0] += 40.0
        bar.set_postfix_str("3 failed", refresh=False)
        bar.update(10)
    assert capsys.readouterr().err == "60 of 100 images, 0.2 images/s, 2 min 40 s left, 3 failed\n"


def test_quiet_shows_nothing_and_one_line_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert type(progress(quiet=True)) is Progress and isinstance(progress(quiet=False), module.Shown)
    Shown().note("two\nlines")
    assert capsys.readouterr().err == "two\\nlines\n"


@pytest.mark.parametrize(("seconds", "said"), [(0.4, "0 s"), (60, "1 min 00 s"), (3599, "60 min"), (5400, "1.5 h")])
def test_times_are_said_as_people_do(seconds: float, said: str) -> None:
    assert duration(seconds) == said
