"""Files and DataFrames in, a report out: what is read, refused and written."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from comparing import D2, TRUTH, lists, predicted, score

from ranktag.config import EvaluationConfig
from ranktag.errors import RanktagError
from ranktag.evaluation.evaluate import evaluate, unique_labels
from ranktag.evaluation.report import folder as reports
from ranktag.evaluation.report.folder import FILES
from ranktag.progress import Progress
from ranktag.tags.lists import TagLists, read_tag_lists, write_tag_lists
from ranktag.tags.predictions import predictions_to_frame, read_predictions, write_predictions


def test_a_folder_is_a_row_of_its_files(files: dict[str, Path], tmp_path: Path) -> None:
    seeds = tmp_path / "every-step"
    seeds.mkdir()
    for name in ("good", "poor"):
        (seeds / f"{name}.csv").write_bytes(files[name].read_bytes())
    report = evaluate([seeds], files["tags"])
    assert report.rows[0].label == "every-step" and [file.name for file in report.rows[0].files] == [
        "good.csv",
        "poor.csv",
    ]


def test_labels_are_unique() -> None:
    assert unique_labels([Path("a/p.csv"), Path("b/p.csv"), Path("b/q.csv")]) == ["a/p", "b/p", "q"]
    assert unique_labels([Path("r/a/p.csv"), Path("s/a/p.csv")]) == ["r/a/p", "s/a/p"]
    assert unique_labels([Path("p.csv"), Path("p.csv")]) == ["p", "p (2)"]
    assert unique_labels([Path("seeds.v1")]) == ["seeds.v1"]


def read_csv(path: Path) -> list[dict[str, str]]:
    with open(path, encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_the_report_folder(files: dict[str, Path], tmp_path: Path) -> None:
    write_predictions(tmp_path / "part.csv", predicted(a="y|x", zz="x"))
    output = tmp_path / "report"
    report = evaluate([files["good"], tmp_path / "part.csv"], files["tags"], output)
    assert sorted(path.name for path in output.iterdir()) == sorted(FILES)
    assert not list(tmp_path.glob(".*"))

    metrics = read_csv(output / "metrics.csv")
    assert [row["label"] for row in metrics] == ["good", "part"]
    assert (metrics[0]["ndcg@5"], metrics[0]["ndcg@5_low"], metrics[0]["ndcg@5_high"]) == ("1", "1", "1")
    assert (metrics[1]["images"], metrics[1]["missing"], metrics[1]["unknown"]) == ("1", "3", "1")

    data = json.loads((output / "metrics.json").read_text(encoding="utf-8"))
    assert data["rows"][1]["scores"]["ndcg@5"]["value"] == score(report, "ndcg@5", 1)
    assert data["rows"][1]["missing"] == ["b", "c", "d"] and data["images"] == {
        "expected": 4, "without_tags": 1, "with_several_lists": 0, "not_in_any_file": 1,
    }  # fmt: skip
    assert data["differences"][0]["scores"]["ndcg@5"]["p"] is not None
    assert data["rows"][0]["scores"]["ndcg@5"]["seed_std"] is None

    images = {(row["label"], row["image_id"]): row for row in read_csv(output / "per_image.csv")}
    assert {key: row["status"] for key, row in images.items()} == {
        ("good", "a"): "scored", ("good", "b"): "scored", ("good", "c"): "scored", ("good", "d"): "without tags",
        ("part", "a"): "scored", ("part", "b"): "missing", ("part", "c"): "missing", ("part", "d"): "missing",
        ("part", "zz"): "not in the tag file",
    }  # fmt: skip
    assert float(images["part", "a"]["ndcg@5"]) == pytest.approx(2 * D2 / (1 + D2**2), abs=1e-5)
    assert images["part", "b"]["ndcg@5"] == ""

    tags = read_csv(output / "per_tag.csv")
    assert tags[0] == {
        "label": "good",
        "tag": "y",
        "support": "3",
        "predicted": "3",
        "precision": "1",
        "recall": "1",
        "rank_error": "0",
    }


def test_the_command(ranktag: Callable[..., Any], files: dict[str, Path], tmp_path: Path) -> None:
    output = tmp_path / "report"
    outcome = ranktag("evaluate", files["good"], files["poor"], files["tags"], "-o", output)
    assert (outcome.code, outcome.err) == (0, "")
    assert "2 predictions against tags.csv, split val: 4 images" in outcome.out
    assert "good - poor" in outcome.out and "1.000 [1.000, 1.000]" in outcome.out
    assert str(output / "report.html") in outcome.out

    before = {path.name: path.read_bytes() for path in output.iterdir()}
    ranktag("evaluate", files["good"], files["tags"], "-o", output).assert_refused(str(output), "--overwrite")
    assert {path.name: path.read_bytes() for path in output.iterdir()} == before
    assert ranktag("evaluate", files["good"], files["tags"], "-o", output, "--overwrite").code == 0
    assert len(read_csv(output / "metrics.csv")) == 1

    write_predictions(tmp_path / "part.csv", predicted(a="x"))
    assert ranktag("evaluate", tmp_path / "part.csv", files["tags"]).code == 1


def test_file_names_that_are_not_text(ranktag: Callable[..., Any], files: dict[str, Path], tmp_path: Path) -> None:
    odd = tmp_path / os.fsdecode(b"caf\xe9\n.csv")
    odd.write_bytes(files["good"].read_bytes())
    odd_tags = tmp_path / os.fsdecode(b"t\xe9gs.csv")
    odd_tags.write_bytes(files["tags"].read_bytes())
    outcome = ranktag("evaluate", odd, odd_tags, "-o", tmp_path / os.fsdecode(b"r\xe9port"))
    assert (outcome.code, outcome.err) == (0, "")
    output = next(path for path in tmp_path.iterdir() if path.is_dir())
    assert read_csv(output / "metrics.csv")[0]["label"] == "caf\\xe9\n"
    assert json.loads((output / "metrics.json").read_text(encoding="utf-8"))["rows"][0]["images"] == 3


def test_wrong_calls(ranktag: Callable[..., Any], files: dict[str, Path], tmp_path: Path) -> None:
    good, tags = files["good"], files["tags"]
    ranktag("evaluate", tmp_path / "none.csv", tags).assert_refused("none.csv", "no such file")
    ranktag("evaluate", good, tmp_path / "none.csv").assert_refused("none.csv", "no such file")
    ranktag("evaluate", tags, good).assert_refused("good.csv", "no column 'tags'")
    ranktag("evaluate", good).assert_refused("Missing argument")
    ranktag("evaluate", good, tags, "--split", "test").assert_refused(
        "tags.csv", "no image in split 'test'", "train, val"
    )
    ranktag("evaluate", good, tags, "-o", tmp_path / "r", "--images", tmp_path / "none").assert_refused(
        "none", "no such folder"
    )
    ranktag("evaluate", good, tags, "--images", tmp_path).assert_refused("--images", "-o")
    ranktag("evaluate", good, tags, "-o", tmp_path / "r", "--images", tmp_path).assert_refused(
        "none of the 4 photos", "'a'"
    )
    assert not (tmp_path / "r").exists()
    ranktag("evaluate", good, tags, "--reference", "best").assert_refused("--reference best", "'good'")
    ranktag("evaluate", good, tags, "-o", good).assert_refused("good.csv", "is a file")
    ranktag("evaluate", good, tags, "--resamples", "-1").assert_refused("--resamples")
    (tmp_path / "empty").mkdir()
    ranktag("evaluate", tmp_path / "empty", tags).assert_refused("empty", "no .csv file")

    write_predictions(tmp_path / "other.csv", predicted(q="x"))
    ranktag("evaluate", tmp_path / "other.csv", tags).assert_refused("other.csv", "none of its 1 images", "'q'", "'a'")
    write_predictions(tmp_path / "nothing.csv", {})
    ranktag("evaluate", tmp_path / "nothing.csv", tags).assert_refused("nothing.csv", "no rows")
    write_predictions(tmp_path / "untagged.csv", predicted(d="x"))
    ranktag("evaluate", tmp_path / "untagged.csv", tags).assert_refused("untagged.csv", "no image to score")

    write_tag_lists(tmp_path / "unsplit.csv", TagLists(lists(TRUTH)))
    ranktag("evaluate", good, tmp_path / "unsplit.csv", "--split", "val").assert_refused(
        "unsplit.csv", "no column 'split'"
    )


def test_a_folder_that_holds_anything_else_is_never_replaced(
    ranktag: Callable[..., Any], files: dict[str, Path], tmp_path: Path
) -> None:
    output = tmp_path / "mine"
    output.mkdir()
    (output / "thesis.txt").write_text("years of work")
    ranktag("evaluate", files["good"], files["tags"], "-o", output, "--overwrite").assert_refused("mine", "thesis.txt")
    assert (output / "thesis.txt").read_text() == "years of work"


def test_a_report_that_fails_midway_leaves_what_was_there(
    files: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = tmp_path / "report"
    evaluate([files["good"]], files["tags"], output)
    before = {path.name: path.read_bytes() for path in output.iterdir()}

    def no_space(*_: object) -> str:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(reports, "render", no_space)
    for target in (output, tmp_path / "fresh"):
        with pytest.raises(OSError, match="No space"):
            evaluate([files["poor"]], files["tags"], target, overwrite=True)
    assert {path.name: path.read_bytes() for path in output.iterdir()} == before
    assert not (tmp_path / "fresh").exists() and not list(tmp_path.glob(".*"))


def test_an_old_report_stays_if_the_new_one_cannot_take_its_place(
    files: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = tmp_path / "report"
    evaluate([files["good"]], files["tags"], output)
    before = {path.name: path.read_bytes() for path in output.iterdir()}
    rename = Path.rename

    def fails(source: Path, target: Path) -> Path:
        if source.name == ".new":
            raise OSError(5, "Input/output error")
        return rename(source, target)

    monkeypatch.setattr(Path, "rename", fails)
    with pytest.raises(OSError, match="Input/output"):
        evaluate([files["poor"]], files["tags"], output, overwrite=True)
    assert {path.name: path.read_bytes() for path in output.iterdir()} == before


def test_a_report_that_was_killed_midway_is_no_obstacle(files: dict[str, Path], tmp_path: Path) -> None:
    # The first, and one that was to take its place.
    output = tmp_path / "report"
    for overwrite in (False, True):
        (output / ".new").mkdir(parents=True)
        (output / ".new/metrics.csv").write_text("half")
        evaluate([files["good"]], files["tags"], output, overwrite=overwrite)
        assert sorted(path.name for path in output.iterdir()) == sorted(FILES)
    with pytest.raises(RanktagError, match="exists already"):
        evaluate([files["good"]], files["tags"], output)


def test_the_python_function_refuses_as_the_command_does(files: dict[str, Path]) -> None:
    with pytest.raises(RanktagError, match="no prediction file"):
        evaluate([], files["tags"])
    with pytest.raises(RanktagError, match="row 'none' has no prediction file"):
        evaluate({"none": []}, files["tags"])
    with pytest.raises(RanktagError, match="gain"):
        EvaluationConfig(gain="cubic")


def test_paths_may_be_text_and_one_file_needs_no_list(files: dict[str, Path], tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"a photo")
    report = evaluate(str(files["good"]), str(files["tags"]), str(tmp_path / "report"), images=str(tmp_path))
    assert [row.label for row in report.rows] == ["good"] and report.tags == files["tags"]
    assert (tmp_path / "report" / "report.html").is_file()
    several = evaluate({"row": [str(files["good"]), str(files["poor"])]}, files["tags"])
    assert several.rows[0].files == (files["good"], files["poor"])


def test_data_frames_are_taken_as_their_files_are(files: dict[str, Path], tmp_path: Path) -> None:
    tags = read_tag_lists(files["tags"])
    good, poor = (read_predictions(files[name]) for name in ("good", "poor"))
    expected = evaluate([files["good"], files["poor"]], files["tags"])
    frames = [predictions_to_frame(good), predictions_to_frame(poor)]
    report = evaluate(frames, tags.to_frame(), tmp_path / "report")
    assert [row.label for row in report.rows] == ["predictions 1", "predictions 2"]
    assert [row.scores for row in report.rows] == [row.scores for row in expected.rows]
    assert report.splits == ("val",) and (tmp_path / "report" / "report.html").is_file()
    named = evaluate({"both": frames, "read": poor}, tags)
    assert [(row.label, len(row.files)) for row in named.rows] == [("both", 2), ("read", 1)]
    assert named.rows[1].scores == expected.rows[1].scores
    with pytest.raises(RanktagError, match="^predictions: none of its 1 images is in tags"):
        evaluate(predictions_to_frame(predicted(q="x")), tags)


def test_ids_that_differ_in_unicodes_form_only_are_the_same_images(tmp_path: Path) -> None:
    """Predictions are of the names that a Mac gives, tags are typed."""
    noted: list[str] = []

    class Noting(Progress):
        def note(self, text: str) -> None:
            noted.append(text)

    write_predictions(tmp_path / "p.csv", {"cafe\u0301.jpg": [("dog", 0.5)], "b.jpg": [("cat", 0.5)]})
    write_tag_lists(tmp_path / "t.csv", TagLists({"caf\u00e9.jpg": [("dog",)], "b.jpg": [("sky",)]}))
    report = evaluate(tmp_path / "p.csv", tmp_path / "t.csv", progress=Noting())
    assert report.image_ids == ("cafe\u0301.jpg", "b.jpg")
    # One list is right, the other is not.
    assert report.rows[0].scored.all() and report.metrics_frame()["ndcg@1"].tolist()[0] == 0.5
    assert len(noted) == 1 and r"caf\xe9.jpg for cafe\u0301.jpg" in noted[0]
