"""``extract-features`` and ``join-features`` as a user sees them."""

from __future__ import annotations

import csv
import errno
import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from extracting import OPTIONS, make_photos, use_tiny_network

from ranktag.features.progress import Plan
from ranktag.pipelines.extract_features import progress_printer
from ranktag.pipelines.shared.progress import duration


@pytest.fixture(autouse=True)
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    use_tiny_network(monkeypatch)


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_photos(tmp_path_factory.mktemp("photos"))


def test_the_command_says_what_it_did(photos: Path, tmp_path: Path, ranktag: Callable) -> None:
    output, failures = tmp_path / "c.h5", tmp_path / "failures.csv"
    outcome = ranktag("extract-features", photos, "-o", output, *OPTIONS, "--failures", failures)
    assert outcome.code == 1
    assert (
        "30 images, 0 done already. Computing on cpu in float32, 4 images a batch, 1 process decoding." in outcome.err
    )
    assert "2 images failed:\n  05.png: empty (0 bytes)\n" in outcome.out and outcome.out.endswith(
        f"Features: {output}\n"
    )
    with open(failures, encoding="utf-8", newline="") as file:
        assert list(csv.reader(file)) == [
            ["image_id", "error"],
            ["05.png", "empty (0 bytes)"],
            ["13.png", "not an image, or of an unknown format"],
        ]
    again = ranktag("extract-features", photos, "-o", output, *OPTIONS)
    assert again.code == 1 and "All 30 images were done already." in again.out
    quiet = ranktag("extract-features", photos, "-o", output, *OPTIONS, "--quiet")
    assert (quiet.out, quiet.err) == ("", "")
    found = json.loads(ranktag("extract-features", photos, "-o", output, *OPTIONS, "--json").out)
    assert found["finished"] and found["images"] == 30 and found["computed"] == 0 and found["failed"] == 2
    assert found["failures"][0] == {"image_id": "05.png", "error": "empty (0 bytes)"}


def test_progress_is_written_for_machines(photos: Path, tmp_path: Path, ranktag: Callable) -> None:
    lines = tmp_path / "progress.jsonl"
    assert ranktag("extract-features", photos, "-o", tmp_path / "c.h5", *OPTIONS, "--json-lines", lines).code == 1
    first, *steps, last = [json.loads(line) for line in lines.read_text().splitlines()]
    assert {key: first[key] for key in ("event", "done", "total", "failed")} == {
        "event": "start",
        "done": 0,
        "total": 30,
        "failed": 0,
    }
    assert (steps[0]["event"], steps[0]["done"], steps[0]["images_per_second"] > 0) == ("step", 4, True)
    assert (last["event"], last["done"], last["total"], last["failed"]) == ("end", 30, 30, 2)
    assert last["time"] >= first["time"] and last["time"].endswith("+00:00")
    # It is appended to, and a folder without photos beside it is told of as ever.
    (tmp_path / "more").mkdir()
    (tmp_path / "more" / "a.txt").touch()
    refused = ranktag("extract-features", tmp_path / "more", "-o", tmp_path / "d.h5", "--json-lines", lines)
    assert refused.code == 2 and len(lines.read_text().splitlines()) == len(steps) + 2


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (0.4, "0 s"),
        (59.4, "59 s"),
        (59.6, "1 min 00 s"),
        (92.3, "1 min 32 s"),
        (175.6, "2 min 56 s"),
        (599.7, "10 min"),
        (3569.0, "59 min"),
        (5400.0, "1.5 h"),
    ],
)
def test_times_are_said_as_people_do(seconds: float, said: str) -> None:
    assert duration(seconds) == said


@pytest.mark.parametrize(
    ("times", "said"),
    [
        # Of 480 images 32 are done, the last 16 in 2 seconds: 448 left take 56.
        ([130.0, 132.0, 135.0], "56 s"),
        # Four batches at a time: 80 are done, 64 of them in 4 seconds, and 400 left take 25.
        ([130.0, 130.001, 130.002, 130.003, 134.0, 134.001], "25 s"),
        # 16 images a tenth of a second.
        ([130.0, 130.1, 130.2, 130.3], "3 s"),
    ],
)
def test_the_expected_time_is_of_the_batches_after_the_first(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], times: list[float], said: str
) -> None:
    clock = iter(times)
    monkeypatch.setattr("time.monotonic", lambda: next(clock))
    printer = progress_printer()
    printer.start(Plan(Path("c.h5"), 500, 500, 20, 0, 1, "cpu", "float32", 16, 1, (0, 1)))
    for _ in times:
        printer.batch(16, 0)
    assert re.findall("Expected to take (.*)[.]\n", capsys.readouterr().err) == [said]


def test_a_run_whose_images_all_failed_says_so(tmp_path: Path, ranktag: Callable) -> None:
    (tmp_path / "photos").mkdir()
    for name in ("a.jpg", "b.jpg", "c.jpg", "d\n.jpg"):
        (tmp_path / "photos" / name).write_text("no photo")
    outcome = ranktag("extract-features", tmp_path / "photos", "-o", tmp_path / "c.h5", *OPTIONS)
    assert (
        outcome.code == 1
        and "Every image failed" in outcome.out
        and "and 1 more (--failures FILE lists them all)" in outcome.out
    )


def test_workers_are_told_how_to_join(photos: Path, tmp_path: Path, ranktag: Callable) -> None:
    output = tmp_path / "c.h5"
    for index in range(2):
        outcome = ranktag(
            "extract-features", photos, "-o", output, *OPTIONS, "--worker-index", index, "--worker-count", 2
        )
        assert f"ranktag join-features {output}" in outcome.out
    joined = ranktag("join-features", output)
    assert joined.code == 1 and joined.out == f"30 images, 2 of which failed. Features: {output}\n"


def test_wrong_calls_are_one_line(photos: Path, tmp_path: Path, ranktag: Callable) -> None:
    output = tmp_path / "c.h5"
    ranktag("extract-features", tmp_path / "nowhere", "-o", output, *OPTIONS).assert_refused("no such file or folder")
    ranktag("extract-features", photos, "-o", output, "--weights", "nowhere.pth").assert_refused(
        "no such file; choose default, random"
    )
    ranktag("extract-features", photos, "-o", output, "--weights", "random:x").assert_refused("not a whole number")
    ranktag("extract-features", photos, "-o", output, *OPTIONS, "--device", "cuda:77").assert_refused(
        "there is no such device"
    )
    ranktag("join-features", output).assert_refused("no such folder of shards")
    # Nor is a folder left of shards that were never begun.
    assert not list(tmp_path.iterdir())


def test_a_read_only_folder_is_one_line(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ranktag: Callable
) -> None:
    def refuse(*arguments: object, **named: object) -> None:
        raise OSError(errno.EROFS, "Read-only file system", str(tmp_path))

    monkeypatch.setattr("ranktag.files.lock.open", refuse, raising=False)
    ranktag("extract-features", photos, "-o", tmp_path / "c.h5", *OPTIONS).assert_refused(
        "Read-only file system", str(tmp_path), code=4
    )
