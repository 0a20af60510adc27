"""What is scored, what is counted, and what is compared."""

from __future__ import annotations

import math
from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest
from comparing import D2, TRUTH, lists, predicted, score
from real_data import DATA

from ranktag.config import EvaluationConfig
from ranktag.evaluation.compare import compare
from ranktag.evaluation.evaluate import evaluate
from ranktag.evaluation.report.text import notes, to_text
from ranktag.evaluation.rows import PEOPLE
from ranktag.evaluation.scores import load_metrics
from ranktag.tags.lists import TagList, TagLists, read_tag_lists
from ranktag.tags.predictions import write_predictions

VOC = DATA / "voc2007"
SCORES = tuple(score.name for score in load_metrics().scores)


def test_scores_by_hand(files: dict[str, Path]) -> None:
    report = evaluate([files["good"], files["poor"]], files["tags"])
    assert [row.label for row in report.rows] == ["good", "poor"]
    assert report.image_ids == ("a", "b", "c", "d") and report.splits == ("val",) and report.untagged == 1
    for name in ("ndcg@1", "ndcg@10", "first_tag", "order_accuracy", "recall@3"):
        assert score(report, name) == 1.0
    assert report.rows[0].counts["order_pairs"] == 1 + 0 + 3
    # 'poor': image a has both tags swapped, b nothing, c nothing right; d has no tags and does not count.
    swapped = 2 * D2 / (1 + D2**2)
    assert score(report, "ndcg@5", 1) == pytest.approx(swapped / 3, abs=1e-6)
    assert score(report, "precision@1", 1) == pytest.approx(1 / 3)
    assert score(report, "recall@5", 1) == pytest.approx(1 / 3)
    assert score(report, "first_tag", 1) == 0.0
    assert (score(report, "order_accuracy", 1), report.rows[1].counts["order_pairs"]) == (0.0, 1)
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
    assert change.low > 0 and change.p < 0.001
    assert change.p_holm == change.p and "corrected" not in to_text(report)


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


def test_all_are_those_of_every_split_touched(files: dict[str, Path], tmp_path: Path) -> None:
    write_predictions(tmp_path / "both.csv", predicted(a="x", t="x"))
    report = evaluate([files["good"], tmp_path / "both.csv"], files["tags"], config=EvaluationConfig(split="all"))
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
    assert (score(report, "order_accuracy"), report.rows[0].counts["order_pairs"]) == pytest.approx((2 / 2.5, 2.5))
    assert "of 2" in to_text(report)


def test_people_are_scored_against_each_other() -> None:
    # Image a: x|y against x|y is 1, against y|x the swapped value; of the six ordered pairs of people two are equal.
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
