"""Several comparisons: which are made, how p is corrected, and where that is said."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from comparing import predicted
from outcome import Outcome

from ranktag.config import EvaluationConfig
from ranktag.evaluation.bootstrap import holm
from ranktag.evaluation.compare import compare
from ranktag.evaluation.evaluate import evaluate
from ranktag.evaluation.report.latex import to_latex
from ranktag.evaluation.report.text import p_text, to_text
from ranktag.tags.lists import TagLists
from ranktag.tags.predictions import Predictions

TRUTH = TagLists({f"{n}": [("x",)] for n in range(60)})


def right_on(images: int) -> Predictions:
    return {i: [("x" if int(i) < images else "y", 0.5)] for i in TRUTH.lists}


ROWS = {"good_1": [right_on(40)], "so-so": [right_on(37)], "poor": [right_on(20)]}


def test_p_of_every_two_rows_is_corrected_and_said() -> None:
    report = compare(ROWS, TRUTH)
    assert [(d.first, d.second) for d in report.differences] == [
        ("good_1", "so-so"), ("good_1", "poor"), ("so-so", "poor"),
    ]  # fmt: skip
    changes = [d.scores["ndcg@5"] for d in report.differences]
    assert [change.value for change in changes] == pytest.approx([3 / 60, 20 / 60, 17 / 60])
    assert [change.p_holm for change in changes] == holm([change.p for change in changes])
    smallest = min(changes, key=lambda change: change.p)
    assert 0 < smallest.p < 0.001 and smallest.p_holm == pytest.approx(3 * smallest.p)
    assert "corrected for 3 comparisons by Holm" in to_text(report)


def test_with_a_reference_every_row_is_compared_with_it_alone() -> None:
    report = compare(ROWS, TRUTH, EvaluationConfig(reference="so-so"))
    assert [(d.first, d.second) for d in report.differences] == [("good_1", "so-so"), ("poor", "so-so")]
    assert [d.scores["ndcg@5"].value for d in report.differences] == pytest.approx([3 / 60, -17 / 60])
    assert "corrected for 2 comparisons by Holm" in to_text(report)


def test_a_reference_may_be_named_by_its_file(ranktag: Callable[..., Outcome], files: dict[str, Path]) -> None:
    outcome = ranktag("evaluate", files["good"], files["poor"], files["tags"], "--reference", files["good"])
    assert outcome.code == 0 and "poor - good" in outcome.out


def test_where_it_is_written(tmp_path: Path) -> None:
    report = evaluate({label: several[0] for label, several in ROWS.items()}, TRUTH, tmp_path / "report")
    with open(tmp_path / "report" / "differences.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["first"] for row in rows] == ["good_1", "good_1", "so-so"] and rows[0]["images"] == "60"
    written = [(float(row["ndcg@5_p"]), float(row["ndcg@5_p_holm"])) for row in rows]
    found = [(d.scores["ndcg@5"].p, d.scores["ndcg@5"].p_holm) for d in report.differences]
    np.testing.assert_allclose(written, found, rtol=1e-5)
    # A number with a minus is a number, to a spreadsheet and to pandas.
    other = evaluate({"poor": ROWS["poor"][0], "good": ROWS["good_1"][0]}, TRUTH, tmp_path / "other")
    assert pd.read_csv(tmp_path / "other" / "differences.csv")["ndcg@5"][0] == pytest.approx(-20 / 60, abs=1e-6)
    assert 0 < other.differences[0].scores["ndcg@5"].p < 1e-6
    data = json.loads((tmp_path / "report" / "metrics.json").read_text())
    assert data["p_holm_of_comparisons"] == 3
    assert data["differences"][1]["scores"]["ndcg@5"]["p_holm"] == found[1][1]
    assert "corrected for 3 comparisons by Holm" in (tmp_path / "report" / "report.html").read_text()
    assert (tmp_path / "report" / "metrics.tex").read_text() == to_latex(report)


def test_the_latex_tables() -> None:
    report = compare({"50%_of #1": [predicted(a="x", b="y")], "b": [predicted(a="y", b="x")]},
                     TagLists({"a": [("x",)], "b": [("x",)]}), EvaluationConfig(resamples=0))  # fmt: skip
    text = to_latex(report)
    assert text.count(r"\begin{tabular}{l") == text.count(r"\end{tabular}") == 2
    scores = text.splitlines()
    # The images, and NDCG@5: one of two right.
    row = next(line for line in scores if line.startswith(r"50\%\_of \#1 & 2 & "))
    assert "0.500" in row and row.endswith(r" \\")
    # Eight columns in both, in the head as in every row.
    assert {line.count(" & ") for line in scores if line.endswith(r" \\")} == {7}
    assert text.count("{lrrrrrrr}") == 2
    assert "$+$0.000" in text and r"50\%\_of \#1 - b & 2" in text


@pytest.mark.parametrize(
    ("p", "text"), [(float("nan"), "-"), (0.0512, "0.051"), (0.001, "0.001"), (0.00032, "0.0003"), (1e-12, "<1e-9")]
)
def test_a_p_is_never_shown_as_zero(p: float, text: str) -> None:
    assert p_text(p) == text
