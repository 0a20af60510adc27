"""--json and --log-file of every command, and what they hold."""

from __future__ import annotations

import io
import json
import math
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click
import numpy as np
import pytest
from making import make_data
from outcome import Outcome

from ranktag import errors
from ranktag.errors import RanktagError
from ranktag.pipelines import cli
from ranktag.pipelines.shared.command import Command, CommandGroup
from ranktag.pipelines.shared.console import Report, current, plain
from ranktag.pipelines.shared.progress import Bar
from ranktag.pipelines.shared.running import run


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


KINDS = {
    kind.code: kind.exit_code
    for kind in vars(errors).values()
    if isinstance(kind, type) and issubclass(kind, RanktagError)
}
# Commands that need nothing but the files they are given.
PLAIN = ("inspect", "train-from-cache", "evaluate", "join-features", "extract-features")
POPULARITY = ("--model", "popularity", "--device", "cpu")


def commands() -> Iterator[tuple[list[str], click.Command]]:
    """Every command that does something by itself, with the words that call it."""
    for name in cli.COMMANDS:
        command = cli.load(name)
        if isinstance(command, click.Group):
            yield from (
                ([name, part], command.get_command(click.Context(command), part) or pytest.fail(part))
                for part in command.list_commands(click.Context(command))
            )
        if not isinstance(command, click.Group) or command.invoke_without_command:
            yield [name], command


COMMANDS = list(commands())
EACH = pytest.mark.parametrize(("words", "command"), COMMANDS, ids=[" ".join(words) for words, _ in COMMANDS])


@EACH
def test_every_command_has_both_options(words: list[str], command: click.Command) -> None:
    assert isinstance(command, (Command, CommandGroup))
    assert {"--json", "--log-file"} <= {option for p in command.params for option in p.opts}


@EACH
def test_an_error_of_every_command_is_one_object_and_in_the_log(
    ranktag: Callable[..., Outcome], tmp_path: Path, words: list[str], command: click.Command
) -> None:
    """A wrong call; and, where something must be given, files that are not there."""
    log = tmp_path / "log.txt"
    # A recipe takes the photos or a cache.
    required = [p for p in command.params if p.required or (words == ["labelme"] and p.name == "images")]
    calls = [(["--nonsense"], "usage")]
    if required:
        given = [
            word for p in required for word in (p.opts[-1:] if isinstance(p, click.Option) else []) + ["missing.x"]
        ]
        calls.append((given, "not-found" if words[0] in PLAIN else ""))
    for arguments, error in calls:
        outcome = ranktag(*words, *arguments, "--json", "--log-file", log)
        told = json.loads(outcome.out)
        assert told["error"] == error or (not error and told["error"] in KINDS), outcome
        assert told["exit_code"] == outcome.code == 2
        assert outcome.err == f"Error: {told['message']}\n" and outcome.err.strip() in log.read_text()
        assert told["seconds"] >= 0 and told["command"] == " ".join(words)
    assert log.read_text().count("exit code 2, ") == len(calls)


def test_the_kinds_of_errors_are_told_apart_by_a_word() -> None:
    classes = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, RanktagError)]
    assert len(KINDS) == len(classes) and all(re.fullmatch("[a-z-]+", code) for code in KINDS)
    assert {code for code, exit_code in KINDS.items() if exit_code == 3} == {"locked"}
    assert {code for code, exit_code in KINDS.items() if exit_code == 4} == {"outage", "disk-full", "no-memory"}


def test_what_each_command_tells(ranktag: Callable[..., Outcome], tmp_path: Path) -> None:
    cache, tags = make_data(tmp_path)
    run, predictions, report = tmp_path / "run", tmp_path / "p.csv", tmp_path / "report"

    def told(*arguments: Any, code: int = 0) -> dict[str, Any]:
        outcome = ranktag(*arguments, "--json")
        found: dict[str, Any] = json.loads(outcome.out)
        assert outcome.code == found["exit_code"] == code and found["seconds"] > 0 and "error" not in found
        assert found["command"] == arguments[0] and outcome.out.count("\n") == 1
        return found

    assert told("inspect", cache)["images"] == 30
    trained = told("train-from-cache", cache, tags, "-o", run, *POPULARITY)
    assert (trained["output"], trained["images"], trained["without_feature"]) == (str(run), 21, 0)
    assert 0 <= trained["ndcg5"] <= 1
    swept = told("train-from-cache", cache, tags, "-o", tmp_path / "sweep", *POPULARITY, "--seeds", "0,1")
    assert swept["combinations"][0]["seeds"] == 2
    exported = told("export-tags", cache, "--model", run, "-o", predictions, "--split", "test", "--device", "cpu")
    assert (exported["output"], exported["images"]) == (str(predictions), 3)
    evaluated = told("evaluate", predictions, tags, "-o", report, "--resamples", 0)
    (row,) = evaluated["rows"]
    assert (evaluated["images"], row["label"], row["images"]) == (3, "p", 3)
    assert 0 <= row["scores"]["ndcg@5"]["value"] <= 1 and row["scores"]["ndcg@5"]["low"] is None
    joined = told("join-features", tmp_path / "two.h5", f"a={cache}", f"b={cache}")
    assert (joined["images"], joined["failed"]) == (60, 0)
    (tmp_path / "broken.csv").write_text("image,word\na.jpg,cat\n,dog\n")
    made = ranktag("prepare", "csv", tags, "-o", tmp_path / "new.csv", "--json")
    assert json.loads(made.out)["images"] == 30


def test_quiet_is_silent_but_for_the_object(ranktag: Callable[..., Outcome], tmp_path: Path) -> None:
    cache, tags = make_data(tmp_path)
    outcome = ranktag("train-from-cache", cache, tags, "-o", tmp_path / "run", *POPULARITY, "--quiet", "--json")
    assert outcome.err == "" and json.loads(outcome.out)["exit_code"] == 0


def test_the_log_has_lines_with_times_and_is_appended_to(ranktag: Callable[..., Outcome], tmp_path: Path) -> None:
    cache, tags = make_data(tmp_path)
    log = tmp_path / "log.txt"
    log.write_text("of yesterday\n")
    call = ("train-from-cache", cache, tags, "-o", tmp_path / "run", *POPULARITY, f"--log-file={log}")
    trained, again = ranktag(*call), ranktag(*call)
    assert trained.code == 0 and again.code == 2
    first, *lines = log.read_text().splitlines()
    times, texts = zip(*(line.split(" ", 1) for line in lines))
    assert first == "of yesterday" and all(
        re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[+-]\d\d:\d\d", t) for t in times
    )
    assert texts[0].startswith(f"ranktag train-from-cache {cache} ")
    assert texts[1] == "popularity on 21 train, 6 val, 3 test images, 21 training lists, 6 tags" == trained.err.strip()
    assert re.fullmatch(r"exit code 0, \d+\.\d s", texts[2]) and texts[3] == texts[0]
    assert texts[4] == again.err.strip() and texts[5].startswith("exit code 2, ")


def command_of(act: Callable[[], object]) -> click.Command:
    return click.command(cls=Command)(act)


def test_a_log_that_cannot_be_opened_is_a_mistake(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(command_of(lambda: None), "x", ["--log-file", str(tmp_path / "none" / "log.txt")]) == 2
    assert "No such file or directory; check the path" in capsys.readouterr().err


def test_what_is_printed_on_the_way_stays_off_stdout(capsys: pytest.CaptureFixture[str]) -> None:
    def act() -> Report:
        print("a library's words")
        return Report({"path": Path("a/b"), "exit": math.nan}, ["text"], code=1)

    assert run(command_of(act), "x", ["--json"]) == 1
    said = capsys.readouterr()
    told = json.loads(said.out)
    assert said.err == "a library's words\n" and (told["path"], told["exit"], told["exit_code"]) == ("a/b", None, 1)
    assert run(command_of(act), "x", []) == 1
    assert capsys.readouterr() == ("a library's words\ntext\n", "")


@pytest.mark.parametrize(
    ("error", "kind", "code"),
    [(KeyboardInterrupt(), "interrupted", 130), (ZeroDivisionError(), "defect", 70), (MemoryError(), "no-memory", 4)],
)
def test_other_ends_are_told_too(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, error: BaseException, kind: str, code: int
) -> None:
    def act() -> None:
        raise error

    assert run(command_of(act), "x", ["--json", "--log-file", str(tmp_path / "log.txt")]) == code
    assert json.loads(capsys.readouterr().out)["error"] == kind
    log = (tmp_path / "log.txt").read_text()
    assert f"exit code {code}, " in log and ("Traceback" in log) == (kind == "defect")


def test_behind_two_dashes_nothing_is_an_option(capsys: pytest.CaptureFixture[str]) -> None:
    @click.command(cls=Command)
    @click.argument("words", nargs=-1)
    def command(words: tuple[str, ...]) -> Report:
        return Report(lines=words)

    assert run(command, "x", ["--", "--json", "--log-file"]) == 0
    assert capsys.readouterr().out == "--json\n--log-file\n"


def test_a_bar_is_lines_in_the_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [1000.0]
    monkeypatch.setattr(Bar, "_time", lambda self: now[0], raising=False)
    monkeypatch.setattr("tqdm.std.time", lambda: now[0])
    monkeypatch.setattr(sys, "stderr", Terminal())

    def act() -> None:
        with Bar("Reading", 1000, "images") as bar:
            for _ in range(40):
                now[0] += 2.0
                bar.update(10)
            bar.clear()
            click.echo("a word", err=True)

    log = tmp_path / "log.txt"
    assert run(command_of(act), "x", ["--log-file", str(log)]) == 0
    texts = [line.split(" ", 1)[1] for line in log.read_text().splitlines()]
    assert texts[1:-1] == [
        "Reading: 150 of 1,000 images, 5.0 images/s, 2 min 50 s left",
        "Reading: 300 of 1,000 images, 5.0 images/s, 2 min 20 s left",
        "a word",
    ]
    assert "\r" in sys.stderr.getvalue()  # type: ignore[attr-defined]
    assert not re.search(r"[\x00-\x09\x0b-\x1f]", log.read_text())


def test_a_log_that_the_disk_does_not_take_stops_nothing(tmp_path: Path) -> None:
    def act() -> Report:
        log = current()._log
        assert log is not None
        log.close()
        click.echo("goes on", err=True)
        return Report(code=1)

    assert run(command_of(act), "x", ["--log-file", str(tmp_path / "log.txt")]) == 1


def test_values_are_as_json_knows_them() -> None:
    found = plain({"a": np.float32(0.5), 1: (Path("x"), math.inf, None, True), "b": {np.int64(3)}})
    assert found == {"a": 0.5, "1": ["x", None, None, True], "b": [3]}
