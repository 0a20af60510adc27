"""The commands as a shell sees them: help without weight, exit codes, one line for a mistake."""

from __future__ import annotations

import errno
import importlib.metadata
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click
import pytest
import torch
from outcome import Outcome

import ranktag as package
from ranktag.errors import Locked, Outage, RanktagError
from ranktag.pipelines import cli
from ranktag.pipelines.shared.running import run

HEAVY = ("torch", "torchvision", "numpy", "h5py", "pandas", "PIL", "scipy", "sklearn", "matplotlib", "jinja2")
# Not the repository, whose folder ranktag/ python -c would take for the installed package, without its commands.
ELSEWHERE = Path(__file__).parent


def pages() -> Iterator[list[str]]:
    """The arguments that lead to every page of help."""
    yield []
    for name in cli.COMMANDS:
        yield [name]
        command = cli.load(name)
        if isinstance(command, click.Group):
            yield from ([name, part] for part in command.list_commands(click.Context(command)))


PAGES = list(pages())
IDS = [" ".join(page) or "ranktag" for page in PAGES]


@pytest.mark.parametrize("page", PAGES, ids=IDS)
@pytest.mark.parametrize("flag", ["--help", "-h"])
def test_every_page_of_help(ranktag: Callable[..., Outcome], page: list[str], flag: str) -> None:
    outcome = ranktag(*page, flag)
    assert outcome.code == 0 and outcome.err == ""
    assert outcome.out.startswith("Usage: ranktag")


def options(page: list[str]) -> Iterator[click.Option]:
    command: click.Command = cli.group
    for name in page:
        assert isinstance(command, click.Group)
        command = command.get_command(click.Context(command), name) or pytest.fail(name)
    yield from (p for p in command.params if isinstance(p, click.Option))


@pytest.mark.parametrize("page", PAGES, ids=IDS)
def test_every_option_says_what_it_does_and_its_default(page: list[str]) -> None:
    for option in options(page):
        record = option.get_help_record(click.Context(click.Command("x")))
        if option.name == "version":
            continue
        assert record is not None and option.help, option.name
        text = record[1]
        assert "[default: " in text or "; default: " in text or "required]" in text, f"{option.opts[0]}: {text}"


@pytest.mark.parametrize("page", PAGES, ids=IDS)
def test_a_number_has_a_unit_or_is_a_pure_number(page: list[str]) -> None:
    pure = {
        "lr",
        "weight_decay",
        "clip",
        "label_smoothing",
        "average",
        "seed",
        "split_seed",
        "worker_index",
        "device",
    } | {"min_probability"}
    for option in options(page):
        if isinstance(option.type, (click.types.IntParamType, click.types.FloatParamType)) and option.name not in pure:
            record = option.get_help_record(click.Context(click.Command("x")))
            assert record is not None
            # Its unit is the placeholder, or stands beside the default, or the help says that it is a share.
            assert option.metavar or "share" in record[1].lower() or re.search(r"default: \([\d.]+ \w", record[1]), (
                option.name
            )


@pytest.fixture(scope="module")
def imported() -> dict[str, list[str]]:
    """Page of help -> the heavy modules that were imported for it, each in a fresh process."""
    script = f"""
import json, sys
from ranktag.pipelines import cli
from ranktag.pipelines.shared.running import run
arguments = sys.argv[1:]
assert run(cli.group, "ranktag", [*arguments, "--help"]) == 0
print(json.dumps([m for m in {HEAVY!r} if m in sys.modules]), file=sys.stderr)
"""
    running = {
        " ".join(page): subprocess.Popen(
            [sys.executable, "-c", script, *page],
            cwd=ELSEWHERE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        for page in PAGES
    }
    return {page: json.loads(process.communicate()[1].splitlines()[-1]) for page, process in running.items()}


@pytest.mark.parametrize("page", [" ".join(page) for page in PAGES])
def test_help_imports_nothing_heavy(imported: dict[str, list[str]], page: str) -> None:
    assert imported[page] == []


def test_the_commands_stand_in_the_order_of_the_pipeline(ranktag: Callable[..., Outcome]) -> None:
    out = ranktag("--help").out
    at = [re.search(rf"^  {name} ", out, re.MULTILINE) for name in cli.COMMANDS]
    assert all(at) and [match.start() for match in at if match] == sorted(match.start() for match in at if match)
    order = list(cli.COMMANDS)
    for earlier, later in (
        ("extract-features", "train-from-cache"),
        ("train-from-cache", "export-tags"),
        ("export-tags", "evaluate"),
    ):
        assert order.index(earlier) < order.index(later)


def test_the_version(ranktag: Callable[..., Outcome]) -> None:
    outcome = ranktag("--version")
    assert outcome.code == 0 and outcome.out == f"ranktag, version {package.__version__}\n"


def test_the_console_scripts_are_installed() -> None:
    scripts = {
        e.name: e for e in importlib.metadata.entry_points(group="console_scripts") if e.value.startswith("ranktag.")
    }
    assert set(scripts) == {"ranktag", "extract-features", "train-from-cache", "export-tags"}
    for entry in scripts.values():
        assert callable(entry.load())


@pytest.mark.parametrize("name", ["extract-features", "train-from-cache", "export-tags"])
def test_a_command_answers_to_its_own_name(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (entry,) = importlib.metadata.entry_points(group="console_scripts", name=name)
    monkeypatch.setattr(sys, "argv", [name, "--help"])
    with pytest.raises(SystemExit) as end:
        entry.load()()
    assert end.value.code == 0
    assert capsys.readouterr().out.startswith(f"Usage: {name} ")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["trian-from-cache"], ["No such command", "trian-from-cache", "ranktag --help"]),
        (["train-from-cache"], ["Missing argument", "train-from-cache --help"]),
        (["train-from-cache", "a", "b"], ["Missing option", "--output"]),
        (["train-from-cache", "a", "b", "-o", "c", "--lr", "fast"], ["--lr", "fast"]),
        (["train-from-cache", "a", "b", "-o", "c", "--lr", "nan"], ["lr", "nan"]),
        (["train-from-cache", "a", "b", "-o", "c", "--lr", "0"], ["--lr"]),
        (["train-from-cache", "a", "b", "-o", "c", "--epochs", "0"], ["--epochs"]),
        (["train-from-cache", "a", "b", "-o", "c", "--model", "svm"], ["--model", "every-step"]),
        (["train-from-cache", "a", "b", "-o", "c", "--learning-rate", "1"], ["--learning-rate"]),
        (["export-tags", "a", "--model", "b", "-o", "c", "--num-tags", "0"], ["--num-tags"]),
        (["export-tags", "a", "--model", "b", "-o", "c", "--split", "dev"], ["--split", "val"]),
        *[
            (["train-from-cache", "a", "b", "-o", "c", "--device", device], [f"--device {device}", "try --device cpu"])
            for device in ("cuda:77", "toaster", "meta", "hpu")
        ],
        (
            ["train-from-cache", "missing.h5", "b", "-o", "c"],
            ["missing.h5", "no such feature cache", "extract-features"],
        ),
        (["export-tags", "a", "--model", "missing", "-o", "c"], ["missing", "no such run folder", "train-from-cache"]),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(
    ranktag: Callable[..., Outcome],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    words: list[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    ranktag(*arguments).assert_refused(*words)
    assert not any(tmp_path.iterdir())


def failing(error: BaseException) -> click.Command:
    @click.command()
    def command() -> None:
        raise error

    return command


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (RanktagError("a\nb: wrong"), 2, "Error: a\\nb: wrong\n"),
        (Locked("a: another process is there; wait"), 3, "Error: a: another process is there; wait\n"),
        (Outage("a: vanished; bring it back"), 4, "Error: a: vanished; bring it back\n"),
        (click.ClickException("no"), 2, "Error: no\n"),
        (click.Abort(), 130, "Error: interrupted\n"),
        (KeyboardInterrupt(), 130, "\nError: interrupted\n"),
        (
            OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "/runs/a"),
            4,
            "Error: /runs/a: No space left on device; free some space and run it again\n",
        ),
        (
            PermissionError(errno.EACCES, os.strerror(errno.EACCES), b"/runs/a"),
            2,
            "Error: /runs/a: Permission denied; check the permissions or choose another place\n",
        ),
        (
            OSError(errno.EIO, os.strerror(errno.EIO), "/runs/a"),
            4,
            "Error: /runs/a: Input/output error; bring the disk or the network back and run it again\n",
        ),
        (
            FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), "/runs/a"),
            2,
            "Error: /runs/a: No such file or directory; check the path\n",
        ),
        (
            MemoryError(),
            4,
            "Error: not enough memory (of the machine); take smaller batches (--batch-size, --max-memory), "
            "or free some memory and run it again\n",
        ),
        (
            torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.\nMore words"),
            4,
            "Error: not enough memory (CUDA out of memory. Tried to allocate 2.00 GiB.); take smaller batches "
            "(--batch-size, --max-memory), or free some memory and run it again\n",
        ),
        (
            RuntimeError("CUDA error: unspecified launch failure\nCUDA kernel errors ..."),
            4,
            "Error: the device failed (CUDA error: unspecified launch failure); look after it, "
            "and run it again or with --device cpu\n",
        ),
    ],
)
def test_how_a_command_ends(capsys: pytest.CaptureFixture[str], error: BaseException, code: int, message: str) -> None:
    assert run(failing(error), "x", []) == code
    assert capsys.readouterr().err == message


def test_a_defect_is_no_mistake_of_the_user(capsys: pytest.CaptureFixture[str]) -> None:
    """A traceback for us, and no exit code that means something else."""
    assert run(failing(ZeroDivisionError("by 0")), "x", []) == 70
    err = capsys.readouterr().err
    assert err.startswith("Traceback") and err.endswith("Error: ZeroDivisionError: by 0; this is a defect of ranktag\n")


@pytest.mark.parametrize(("returned", "code"), [(None, 0), (0, 0), (1, 1)])
def test_a_command_returns_its_exit_code(returned: int | None, code: int) -> None:
    @click.command()
    def command() -> Any:
        return returned

    assert run(command, "x", []) == code


def test_a_reader_that_goes_away_hears_no_complaint() -> None:
    command = [sys.executable, "-c", "from ranktag.pipelines.cli import main; main()", "train-from-cache", "--help"]
    process = subprocess.Popen(command, cwd=ELSEWHERE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None and process.stderr is not None
    process.stdout.close()
    # The command was cut off before its end, so it is not "all done" either.
    assert process.stderr.read() == b"" and process.wait() == 1
    process.stderr.close()


def test_importing_the_package_imports_nothing_heavy() -> None:
    script = f"import ranktag, sys; assert not [m for m in {HEAVY!r} if m in sys.modules]"
    subprocess.run([sys.executable, "-c", script], check=True)


def test_the_packages_functions_are_there() -> None:
    for name in package.__all__:
        assert getattr(package, name)
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        package.nonsense  # noqa: B018


@pytest.mark.parametrize(
    ("encoding", "shown"), [("latin-1", rb"\u25ba"), ("ascii", "►".encode()), ("utf-8", "►".encode())]
)
def test_a_locale_that_lacks_a_letter_is_no_obstacle(encoding: str, shown: bytes) -> None:
    command = [sys.executable, "-c", "from ranktag.pipelines.cli import main; main()", "--help"]
    environment = os.environ | {"PYTHONIOENCODING": encoding}
    done = subprocess.run(command, cwd=ELSEWHERE, env=environment, capture_output=True)
    assert (done.returncode, done.stderr) == (0, b"") and shown in done.stdout
