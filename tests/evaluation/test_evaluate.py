"""Evaluation: what is scored, what is counted, what is compared, and what is written."""

from __future__ import annotations

import csv
import json
import math
import os
from collections import defaultdict
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from real_data import DATA

from ranktag.config import EvaluationConfig
from ranktag.errors import RanktagError
from ranktag.evaluation.compare import PEOPLE, SCORES, compare
from ranktag.evaluation.evaluate import evaluate, unique_labels
from ranktag.evaluation.report import folder as reports
from ranktag.evaluation.report.folder import FILES
from ranktag.evaluation.report.text import notes, to_text
from ranktag.evaluation.results import EvaluationReport
from ranktag.tags.lists import TagList, TagLists, read_tag_lists, write_tag_lists
from ranktag.tags.predictions import write_predictions

VOC = DATA / "voc2007"
D2 = 0.6309298

# Truth of four images: 'd' has no tags, 't' is training.
TRUTH = {"a": ["x|y"], "b": ["y"], "c": ["x|y|z"], "d": [""], "t": ["x|y"]}
SPLIT = {"a": "val", "b": "val", "c": "val", "d": "val", "t": "train"}


def lists(texts: Mapping[str, list[str]]) -> dict[str, list[tuple[str, ...]]]:
    return {i: [tuple(filter(None, text.split("|"))) for text in people] for i, people in texts.items()}


def predicted(**texts: str) -> dict[str, list[tuple[str, float]]]:
    return {i: [(tag, 0.5) for tag in text.split("|") if tag] for i, text in texts.items()}


def score(report: EvaluationReport, name: str, row: int = 0) -> float:
    return report.rows[row].scores[name].value


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Path]:
    """Tag lists and two prediction files: 'good' is right everywhere, 'poor' swaps, misses and invents."""
    paths = {name: tmp_path / f"{name}.csv" for name in ("tags", "good", "poor")}
    write_tag_lists(paths["tags"], TagLists(lists(TRUTH), SPLIT))
    write_predictions(paths["good"], predicted(a="x|y", b="y", c="x|y|z", d="x"))
    write_predictions(paths["poor"], predicted(a="y|x", b="", c="q", d="q"), "wide")
    return paths


def test_scores_by_hand(files: dict[str, Path]) -> None:
    report = evaluate([files["good"], files["poor"]], files["tags"])
    assert [row.label for row in report.rows] == ["good", "poor"]
    assert report.image_ids == ("a", "b", "c", "d") and report.splits == ("val",) and report.untagged == 1
    for name in ("ndcg@1", "ndcg@10", "first_tag", "order_accuracy", "recall@3"):
        assert score(report, name) == 1.0
    assert report.rows[0].order_pairs == 1 + 0 + 3
    # 'poor': image a has both tags swapped, b nothing, c nothing right; d has no tags and does not count.
    swapped = 2 * D2 / (1 + D2**2)
    assert score(report, "ndcg@5", 1) == pytest.approx(swapped / 3, abs=1e-6)
    assert score(report, "precision@1", 1) == pytest.approx(1 / 3)
    assert score(report, "recall@5", 1) == pytest.approx(1 / 3)
    assert score(report, "first_tag", 1) == 0.0
    assert (score(report, "order_accuracy", 1), report.rows[1].order_pairs) == (0.0, 1)
    assert score(report, "predicted_length", 1) == pytest.approx((2 + 0 + 1) / 3)
    assert score(report, "truth_length", 1) == pytest.approx((2 + 1 + 3) / 3)
    assert report.rows[1].empty == 1
    assert set(report.rows[0].scores) == set(SCORES)


def test_the_difference_is_that_of_the_scores_and_antisymmetric(files: dict[str, Path]) -> None:
    forwards = evaluate([files["good"], files["poor"]], files["tags"]).differences[0]
    backwards = evaluate([files["poor"], files["good"]], files["tags"]).differences[0]
    assert (forwards.first, forwards.second, forwards.images) == ("good", "poor", 3)
    for name in SCORES:
        a, b = forwards.scores[name], backwards.scores[name]
        assert a.value == pytest.approx(-b.value, nan_ok=True)
        assert (a.low, a.high) == pytest.approx((-b.high, -b.low), nan_ok=True)
        assert a.p == pytest.approx(b.p, nan_ok=True)


def test_a_file_compared_with_itself_differs_by_nothing(files: dict[str, Path]) -> None:
    change = evaluate({"one": files["poor"], "two": files["poor"]}, files["tags"]).differences[0].scores["ndcg@5"]
    assert (change.value, change.low, change.high, change.p) == (0.0, 0.0, 0.0, 1.0)


def test_paired_comparison_sees_what_separate_intervals_hide() -> None:
    # Values differ widely between images; one row is better on every tenth and the same on the others.
    truth = {f"{n}": [("x", *"abcdefgh"[: n % 8])] for n in range(200)}
    better = {i: [(tag, 0.5) for tag in people[0][:2]] for i, people in truth.items()}
    worse = {i: tags[: 1 if int(i) % 10 == 5 else 2] for i, tags in better.items()}
    report = compare({"better": [better], "worse": [worse]}, TagLists(truth))
    first, second = (row.scores["recall@5"] for row in report.rows)
    change = report.differences[0].scores["recall@5"]
    assert first.low < second.high  # the intervals overlap
    assert change.low > 0 and change.p == pytest.approx(2 / 1001)


def test_missing_unknown_and_other_images_are_counted_and_named(files: dict[str, Path], tmp_path: Path) -> None:
    write_predictions(tmp_path / "part.csv", predicted(a="y|x", zz="x", t="x"))
    report = evaluate([files["good"], tmp_path / "part.csv"], files["tags"], config=EvaluationConfig(split="val"))
    part = report.rows[1]
    assert (part.missing, part.unknown, part.not_expected, part.images) == (("b", "c", "d"), ("zz",), 1, 1)
    assert not report.complete
    # Compared on image a alone, where 'good' has 1.
    assert report.differences[0].images == 1
    assert report.differences[0].scores["ndcg@5"].value == pytest.approx(1 - 2 * D2 / (1 + D2**2), abs=1e-6)
    text = to_text(report)
    for words in (
        "part: lacks 3 expected images ('b', 'c', 'd')",
        "1 image not in the tag file ('zz')",
        "1 image of other splits",
        "1 expected image without tags",
    ):
        assert words in text


def test_expected_images_are_those_of_every_split_touched(files: dict[str, Path], tmp_path: Path) -> None:
    write_predictions(tmp_path / "both.csv", predicted(a="x", t="x"))
    report = evaluate([files["good"], tmp_path / "both.csv"], files["tags"])
    assert report.splits == ("train", "val") and report.image_ids == ("a", "b", "c", "d", "t")
    assert report.rows[0].missing == ("t",)


def test_without_splits_the_files_say_what_is_expected() -> None:
    report = compare({"one": [predicted(a="x", b="y")], "two": [predicted(a="x")]}, TagLists(lists(TRUTH)))
    assert report.image_ids == ("a", "b") and report.splits == ()
    assert [row.missing for row in report.rows] == [(), ("b",)]
    assert report.not_in_any_file == 3 and report.unseen is None
    assert "3 images of the tag file in no prediction file" in to_text(report)


def test_tags_outside_the_training_lists_and_tags_never_predicted_are_counted(files: dict[str, Path]) -> None:
    # Of the six tags of a, b and c only z is in no training list; 'poor' names x and y somewhere, but never z.
    report = evaluate([files["poor"]], files["tags"])
    assert (report.truth_tags, report.unseen, report.unseen_tags) == (6, 1, 1)
    assert (report.rows[0].unnamed, report.rows[0].unnamed_tags) == (1, 1)
    assert any("poor 1 (1)" in line for line in notes(report))


def test_several_files_of_a_row_are_averaged_image_by_image(files: dict[str, Path]) -> None:
    report = evaluate({"seeds": [files["good"], files["poor"]], "good": files["good"]}, files["tags"])
    alone = evaluate([files["good"], files["poor"]], files["tags"])
    of_files = [score(alone, "ndcg@5", row) for row in (0, 1)]
    assert score(report, "ndcg@5") == pytest.approx(np.mean(of_files))
    assert report.rows[0].scores["ndcg@5"].seed_std == pytest.approx(np.std(of_files, ddof=1))
    assert math.isnan(report.rows[1].scores["ndcg@5"].seed_std)
    # Four pairs right of four, and none of one: averaged over the files, 2 of 2.5.
    assert (score(report, "order_accuracy"), report.rows[0].order_pairs) == pytest.approx((2 / 2.5, 2.5))
    assert "of 2" in to_text(report)


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


def test_people_are_scored_against_each_other() -> None:
    # Image a: x|y against x|y is 1, x|y against y|x the swapped value; of the six ordered pairs of people two are equal.
    truth: dict[str, list[TagList]] = {"a": [("x", "y"), ("x", "y"), ("y", "x")], "b": [("x",), ()]}
    report = compare({"row": [predicted(a="x|y", b="x")]}, TagLists(truth))
    swapped = 2 * D2 / (1 + D2**2)
    people = report.people
    assert people is not None and people.label == PEOPLE and people.images == 1
    assert people.scores["ndcg@5"].value == pytest.approx((2 + 4 * swapped) / 6, abs=1e-6)
    assert people.scores["first_tag"].value == pytest.approx(2 / 6)
    assert people.scores["order_accuracy"].value == pytest.approx(2 / 6)
    # The row itself: the mean over three people, and b's only list that is not empty.
    assert score(report, "ndcg@5") == pytest.approx(((2 + swapped) / 3 + 1) / 2, abs=1e-6)
    assert PEOPLE in to_text(report)


def test_tag_rows_by_hand() -> None:
    truth: dict[str, list[TagList]] = {"a": [("x", "y")], "b": [("y", "x"), ("y",)], "c": [("z",)]}
    report = compare({"row": [predicted(a="y|x", b="x|y", c="x")]}, TagLists(truth))
    rows = {row.tag: row for row in report.tag_rows}
    # x stands in two of four lists, is predicted for all four, and is off by one place in both.
    assert (rows["x"].support, rows["x"].predicted, rows["x"].precision, rows["x"].recall, rows["x"].rank_error) == (
        2,
        4,
        0.5,
        1.0,
        1.0,
    )
    # y: three lists, all predicted and hit; distances 1 (a), 1 (b, first person), 1 (b, second).
    assert (rows["y"].support, rows["y"].predicted, rows["y"].recall, rows["y"].rank_error) == (3, 3, 1.0, 1.0)
    assert (rows["z"].support, rows["z"].predicted, rows["z"].recall) == (1, 0, 0.0)
    assert math.isnan(rows["z"].precision) and math.isnan(rows["z"].rank_error)
    assert [row.tag for row in report.tag_rows] == ["y", "x", "z"]


def test_labels_are_unique() -> None:
    assert unique_labels([Path("a/p.csv"), Path("b/p.csv"), Path("b/q.csv")]) == ["a/p", "b/p", "q"]
    assert unique_labels([Path("r/a/p.csv"), Path("s/a/p.csv")]) == ["r/a/p", "s/a/p"]
    assert unique_labels([Path("p.csv"), Path("p.csv")]) == ["p", "p (2)"]
    assert unique_labels([Path("seeds.v1")]) == ["seeds.v1"]


def test_long_labels_lose_their_beginning_in_print() -> None:
    text = to_text(compare({"runs/" * 20 + "greedy": [predicted(a="x")]}, TagLists(lists(TRUTH))))
    assert "..." in text and "/greedy " in text and max(map(len, text.splitlines()[:5])) < 160


def test_intervals_hold_the_score_and_depend_on_the_seed_only() -> None:
    random = np.random.default_rng(0)
    truth = {f"{n}": [tuple(random.permutation(list("abcdef"))[:3])] for n in range(100)}
    rows = {"row": [{i: [(tag, 0.5) for tag in random.permutation(list("abcdef"))[:3]] for i in truth}]}
    first, again, other = (
        compare(rows, TagLists(truth), EvaluationConfig(seed=seed)).rows[0].scores["ndcg@5"] for seed in (0, 0, 1)
    )
    assert first.low < first.value < first.high
    assert first == again or (first.low, first.high) == (again.low, again.high)
    assert (first.low, first.high) != (other.low, other.high)


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


@pytest.mark.skipif(not VOC.is_dir(), reason="the VOC tag lists are not beside this checkout")
def test_popularity_on_voc_is_where_it_should_be(tmp_path: Path) -> None:
    truth = read_tag_lists(VOC / "tags_largest_first.csv")
    assert truth.split is not None
    gain: dict[str, float] = defaultdict(float)
    for image_id, people in truth.lists.items():
        if truth.split[image_id] == "train":
            for rank, tag in enumerate(people[0], 1):
                gain[tag] += 1 / math.log2(1 + rank)
    ranked = [(tag, math.nan) for tag in sorted(gain, key=lambda tag: -gain[tag])[:5]]
    predictions = {i: ranked for i, split in truth.split.items() if split == "val"}
    report = compare({"popularity": [predictions]}, truth)
    assert report.rows[0].images == 2510
    assert score(report, "ndcg@5") == pytest.approx(0.41, abs=0.01)
