"""Images that a model was trained on: left out by default, and marked where they are scored."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from comparing import lists, predicted, score
from outcome import Outcome

from ranktag.config import EvaluationConfig
from ranktag.errors import RanktagError
from ranktag.evaluation.compare import compare
from ranktag.evaluation.evaluate import evaluate
from ranktag.evaluation.report.text import to_text
from ranktag.tags.lists import TagLists, write_tag_lists
from ranktag.tags.predictions import PredictionsWithSplit, write_predictions

# The model is right on what it was trained on, and on half of what it was not.
TRUTH = lists({"t1": ["x"], "t2": ["x"], "v": ["x"], "e1": ["x"], "e2": ["y"], "n": ["z"]})
SPLIT = {"t1": "train", "t2": "train", "v": "val", "e1": "test", "e2": "test", "n": "test"}
SEEN = SPLIT | {"n": ""}
PREDICTED = predicted(t1="x", t2="x", v="x", e1="x", e2="x", n="x")
ALL = EvaluationConfig(split="all")


def test_the_test_images_are_scored_by_default() -> None:
    report = compare({"model": [PREDICTED]}, TagLists(TRUTH, SPLIT))
    assert (report.splits, report.image_ids, report.rows[0].trained_on) == (("test",), ("e1", "e2", "n"), 0)
    assert score(report, "first_tag") == pytest.approx(1 / 3)
    assert ", split test: 3 images" in to_text(report) and "3 images of other splits" in to_text(report)


def test_without_splits_in_the_tag_file_the_predictions_say_which_those_are() -> None:
    report = compare({"model": [PredictionsWithSplit(PREDICTED, SEEN)]}, TagLists(TRUTH))
    assert (report.splits, report.told_by) == (("test",), "predictions")
    # An image that the model never saw is as good as a test image.
    assert report.image_ids == ("e1", "e2", "n") and score(report, "first_tag") == pytest.approx(1 / 3)
    assert ", split test as the models saw it: 3 images" in to_text(report)
    val = compare({"model": [PredictionsWithSplit(PREDICTED, SEEN)]}, TagLists(TRUTH), EvaluationConfig(split="val"))
    assert val.image_ids == ("v",)


def test_an_image_that_any_model_was_trained_on_is_no_test_image() -> None:
    other = PredictionsWithSplit(PREDICTED, SEEN | {"e1": "train", "e2": "val"})
    rows = {"one": [PredictionsWithSplit(PREDICTED, SEEN)], "other": [other]}
    assert compare(rows, TagLists(TRUTH)).image_ids == ("n",)


def test_rows_that_were_trained_on_what_they_are_scored_on_are_marked(tmp_path: Path) -> None:
    write_tag_lists(tmp_path / "tags.csv", TagLists(TRUTH))
    predictions = {"model": PredictionsWithSplit(PREDICTED, SEEN), "other": dict(PREDICTED)}
    report = evaluate(predictions, tmp_path / "tags.csv", tmp_path / "report", ALL)
    # Of the other row nobody says what it was trained on.
    assert [(row.images, row.trained_on) for row in report.rows] == [(6, 2), (6, 0)]
    text = to_text(report)
    assert "6 (2 trained on)" in text and "model: was trained on 2 of the 6 scored images" in text
    with open(tmp_path / "report" / "metrics.csv", newline="") as file:
        assert [row["trained_on"] for row in csv.DictReader(file)] == ["2", "0"]
    data = json.loads((tmp_path / "report" / "metrics.json").read_text())
    assert (data["rows"][0]["trained_on"], data["splits_told_by"]) == (2, "predictions")
    assert "2 trained on</small>" in (tmp_path / "report" / "report.html").read_text()


def test_a_models_own_account_stands_above_the_tag_files() -> None:
    # It was trained on what the tag file calls test: with splits of its own, say.
    wrong = PredictionsWithSplit(PREDICTED, dict.fromkeys(PREDICTED, "") | {"e1": "train"})
    report = compare({"model": [wrong], "old": [PREDICTED]}, TagLists(TRUTH, SPLIT))
    assert report.splits == ("test",) and [row.trained_on for row in report.rows] == [1, 0]


def test_a_file_of_one_other_split_is_scored_on_it_and_of_several_one_is_to_be_named() -> None:
    truth = TagLists(TRUTH, SPLIT)
    only_train = {i: PREDICTED[i] for i in ("t1", "t2")}
    report = compare({"model": [only_train]}, truth)
    assert report.splits == ("train",) and report.rows[0].trained_on == 2
    both = only_train | {"v": PREDICTED["v"]}
    with pytest.raises(RanktagError, match="no prediction file holds a test image, they hold train and val; .*--split"):
        compare({"model": [both]}, truth)
    assert compare({"model": [both]}, truth, ALL).image_ids == ("t1", "t2", "v")


def test_where_nobody_knows_of_splits_all_are_scored_as_before() -> None:
    report = compare({"model": [PREDICTED]}, TagLists(TRUTH))
    assert (report.splits, report.told_by, len(report.image_ids)) == ((), "", 6) and "trained on" not in to_text(report)


def test_the_command(ranktag: Callable[..., Outcome], tmp_path: Path) -> None:
    write_tag_lists(tmp_path / "tags.csv", TagLists(TRUTH))
    write_predictions(tmp_path / "p.csv", PredictionsWithSplit(PREDICTED, SEEN))
    assert (
        "split test as the models saw it: 3 images"
        in ranktag("evaluate", tmp_path / "p.csv", tmp_path / "tags.csv").out
    )
    everything = ranktag("evaluate", tmp_path / "p.csv", tmp_path / "tags.csv", "--split", "all")
    assert everything.code == 0 and "6 (2 trained on)" in everything.out
