"""The expected calibration error: by hand, against a plain loop, and where the report shows it."""

from __future__ import annotations

import csv
import json
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ranktag.config import EvaluationConfig
from ranktag.evaluation.calibration import BINS, Calibration, CalibrationRow, bin_sums, expected_error
from ranktag.evaluation.evaluate import evaluate
from ranktag.evaluation.report.text import to_text
from ranktag.evaluation.results import EvaluationReport
from ranktag.tags.completions import Completions
from ranktag.tags.lists import TagLists
from ranktag.tags.predictions import Predictions, write_predictions

LISTS = {"a": [("x",), ("x", "y"), ()], "b": [("y",)]}
# Of image a both people (the third gave no tags) list x, one lists y; of b nobody lists x.
PREDICTED: Predictions = {"a": [("x", 0.95), ("y", 0.45)], "b": [("x", 0.35)]}
D_X, D_Y, D_BX = 0.05, 0.05, -0.35


def compared(**rows: Predictions | list[Predictions]) -> EvaluationReport:
    return evaluate(dict(rows), TagLists(LISTS), config=EvaluationConfig(resamples=200))


def only(calibration: Calibration) -> CalibrationRow:
    (row,) = calibration.rows
    return row


def test_error_of_three_tags_in_three_bins() -> None:
    row = only(compared(model=PREDICTED).calibration)
    assert row.tags == 3 and row.predicted == pytest.approx(1.75 / 3) and row.listed == pytest.approx(0.5)
    assert row.ece.value == pytest.approx((D_X + D_Y - D_BX) / 3)
    filled = [one for one in row.bins if one.tags]
    assert [one.listed for one in filled] == [0.0, 0.5, 1.0]
    assert all(one.low <= one.predicted < one.high for one in filled) and len(row.bins) == BINS


def test_errors_of_one_bin_cancel() -> None:
    # 0.5 said of two tags, of which people list one: honest, though wrong of each.
    lists = TagLists({"a": [("x",)], "b": [("x",)]})
    predicted: Predictions = {"a": [("x", 0.5)], "b": [("y", 0.5)]}
    row = only(evaluate({"m": predicted}, lists, config=EvaluationConfig(resamples=0)).calibration)
    assert row.ece.value == 0.0 and math.isnan(row.ece.low)


def test_a_tag_that_comes_again_counts_once_with_its_first_probability() -> None:
    sums = bin_sums([[("x",)]], [[[("x", 0.9), ("x", 0.1), ("y", math.nan)]]])
    assert sums[0, 0].sum() == 1 and sums[0, 1].sum() == pytest.approx(0.9)


def test_of_begun_lists_each_has_its_own_prediction() -> None:
    # After x one person wrote y; after y the other wrote z. The answers are not each other's.
    lists = TagLists({"a": [("x", "y"), ("y", "z")]})
    answers = Completions({"a": {("x",): [("y", 0.8)], ("y",): [("x", 0.4)]}}, {})
    row = only(evaluate({"m": answers}, lists, config=EvaluationConfig(given=1, resamples=0)).calibration)
    assert row.ece.value == pytest.approx((0.2 + 0.4) / 2) and row.tags == 2


def test_of_several_seeds_it_is_the_mean() -> None:
    other: Predictions = {"a": [("x", 1.0)], "b": [("y", 1.0)]}
    row = only(compared(model=[PREDICTED, other]).calibration)
    errors = [0.45 / 3, 0.0]
    assert row.ece.value == pytest.approx(np.mean(errors))
    assert row.ece.seed_std == pytest.approx(np.std(errors, ddof=1)) and row.tags == 2.5


def test_predictions_without_probabilities_are_named(tmp_path: Path) -> None:
    bare: Predictions = {i: [(tag, math.nan) for tag, _ in tags] for i, tags in PREDICTED.items()}
    report = compared(model=PREDICTED, bare=bare)
    assert report.calibration.without == ("bare",) and only(report.calibration).label == "model"
    assert "Without probabilities: bare." in to_text(report)
    alone = compared(bare=bare)
    assert "ECE" not in to_text(alone)


cases = st.lists(
    st.tuples(st.sampled_from("xyz"), st.floats(0, 1), st.booleans(), st.booleans()),
    max_size=6,
    unique_by=lambda c: c[0],
)


@given(st.lists(cases, min_size=1, max_size=5))
def test_agrees_with_a_plain_loop(images: list[list[tuple[str, float, bool, bool]]]) -> None:
    truth, predicted = [], []
    bins: dict[int, list[tuple[float, float]]] = {}
    for image in images:
        truth.append(
            [
                ("other", *(tag for tag, _, first, _ in image if first)),
                ("other", *(tag for tag, _, _, second in image if second)),
            ]
        )
        predicted.append([[(tag, p) for tag, p, _, _ in image]])
        for _, p, first, second in image:
            bins.setdefault(min(int(p * 15), 14), []).append((p, (first + second) / 2))
    n = sum(map(len, bins.values()))
    naive = sum(len(b) / n * abs(np.mean([y for _, y in b]) - np.mean([p for p, _ in b])) for b in bins.values())
    tags, p, y = bin_sums(truth, predicted).sum(axis=0)
    assert math.isnan(expected_error(tags, y - p)) if n == 0 else expected_error(tags, y - p) == pytest.approx(naive)


def test_interval_holds_the_score_of_honest_probabilities() -> None:
    # 300 images, tags as likely as is said: the bins' chance alone makes an error, and twice that in a resample.
    random = np.random.default_rng(0)
    lists, predicted = {}, {}
    for n in range(300):
        p = random.random(6)
        lists[str(n)] = [("other", *(f"t{i}" for i in range(6) if random.random() < p[i]))]
        predicted[str(n)] = [(f"t{i}", float(p[i])) for i in range(6)]
    ece = only(evaluate({"m": predicted}, TagLists(lists), config=EvaluationConfig(resamples=300)).calibration).ece
    assert ece.low < ece.value < ece.high < 0.06


def test_the_report_holds_it(tmp_path: Path) -> None:
    write_predictions(tmp_path / "<b>.csv", PREDICTED)
    report = evaluate(tmp_path / "<b>.csv", TagLists(LISTS), tmp_path / "report")
    folder = tmp_path / "report"
    with open(folder / "calibration.csv", newline="") as file:
        (row,) = csv.DictReader(file)
    assert row["tags"] == "3" and float(row["ece"]) == pytest.approx(0.15)
    with open(folder / "calibration_bins.csv", newline="") as file:
        bins = list(csv.DictReader(file))
    assert len(bins) == BINS and sum(float(one["tags"]) for one in bins) == 3
    (kept,) = json.loads((folder / "metrics.json").read_text())["calibration"]["rows"]
    assert kept["ece"]["value"] == pytest.approx(0.15)
    page = (folder / "report.html").read_text()
    assert "<h2>Calibration</h2>" in page and page.count("<circle") == 3
    # 95% predicted, listed by all: to the right and at the top of a square of 200.
    assert '<circle cx="190.0" cy="0.0"' in page and "predicted 95.0%, listed 100.0%" in page
    assert "<b>" not in page.partition("<h2>Calibration</h2>")[2].partition("</section>")[0]
    assert "0.1500" in to_text(report)
