"""The table of metrics: its columns, a naive implementation, and a metric that is one more module."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from added import of_readme
from hypothesis import given
from hypothesis import strategies as st

from ranktag.evaluation import metrics as folder
from ranktag.evaluation.matches import GAINS, match
from ranktag.evaluation.scores import load_metrics
from ranktag.files.tables import read_header
from ranktag.tags.lists import TagLists, write_tag_lists
from ranktag.tags.predictions import write_predictions

AT = [f"{name}@{k}" for name in ("ndcg", "precision", "recall", "f1") for k in (1, 3, 5, 10)]


def test_columns_and_their_order() -> None:
    table = load_metrics()
    assert [score.name for score in table.scores] == [
        *AT, "first_tag", "order_accuracy", "predicted_length", "truth_length",
    ]  # fmt: skip
    assert list(table.values) == [
        *AT, "first_tag", "order_right", "order_pairs", "predicted_length", "truth_length",
    ]  # fmt: skip
    assert table.counts == ("order_pairs",)
    assert (table.leading.name, table.leading.label) == ("ndcg@5", "NDCG@5")


def naive(people: list[list[str]], predicted: list[str], k: int, gain: str) -> dict[str, float]:
    """The definitions, word by word, for one image."""
    gains = {
        "log": lambda r, n: 1 / math.log2(1 + r),
        "linear": lambda r, n: (n - r + 1) / n,
        "binary": lambda r, n: 1.0,
    }
    values: dict[str, list[float]] = {name: [] for name in ("ndcg", "precision", "recall", "f1", "first")}
    right = pairs = 0
    for person in people:
        n = len(person)
        if not n:
            continue
        seen: set[str] = set()
        dcg = hits = 0.0
        for place, tag in enumerate(predicted[:k], 1):
            if tag in person and tag not in seen:
                dcg += gains[gain](person.index(tag) + 1, n) / math.log2(1 + place)
                hits += 1
            seen.add(tag)
        values["ndcg"].append(dcg / sum(gains[gain](r, n) / math.log2(1 + r) for r in range(1, min(k, n) + 1)))
        p, r = hits / k, hits / n
        values["precision"].append(p)
        values["recall"].append(r)
        values["f1"].append(2 * p * r / (p + r) if hits else 0.0)
        values["first"].append(float(predicted[:1] == person[:1]))
        for first, second in itertools.combinations(person, 2):
            if first in predicted and second in predicted:
                pairs += 1
                right += predicted.index(first) < predicted.index(second)
    result = {name: sum(of_people) / len(of_people) if of_people else math.nan for name, of_people in values.items()}
    return result | {"right": right, "pairs": pairs}


TAGS = st.sampled_from("abcdefg")
PEOPLE = st.lists(st.lists(TAGS, unique=True, max_size=6), min_size=1, max_size=4)


@given(
    st.lists(st.tuples(PEOPLE, st.lists(TAGS, max_size=8)), max_size=8),
    st.integers(1, 8),
    st.sampled_from(sorted(GAINS)),
)
def test_fast_metrics_agree_with_naive_ones(images: list[tuple[list[list[str]], list[str]]], k: int, gain: str) -> None:
    m = match([people for people, _ in images], [predicted for _, predicted in images], gain)
    metrics = load_metrics().metrics
    right, pairs = metrics["order_accuracy"].per_image(m)
    fast = {name: metrics[name].per_image(m, k) for name in ("ndcg", "precision", "recall", "f1")}
    fast |= {"first": metrics["first_tag"].per_image(m), "right": right, "pairs": pairs}
    slow = [naive(people, predicted, k, gain) for people, predicted in images]
    for name, values in fast.items():
        assert values.tolist() == pytest.approx([image[name] for image in slow], nan_ok=True), name


ONE_MORE = of_readme("ranktag/evaluation/metrics/reciprocal_rank.py")


def test_a_metric_is_one_module(ranktag: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "more").mkdir()
    (tmp_path / "more" / "reciprocal_rank.py").write_text(ONE_MORE)
    monkeypatch.setattr(folder, "__path__", [*folder.__path__, str(tmp_path / "more")])
    write_tag_lists(tmp_path / "tags.csv", TagLists({"a": [("x", "y")], "b": [("z",)]}))
    write_predictions(tmp_path / "p.csv", {"a": [("q", 0.5), ("y", 0.5)], "b": [("z", 0.5)]})
    outcome = ranktag("evaluate", tmp_path / "p.csv", tmp_path / "tags.csv", "-o", tmp_path / "report")
    assert (outcome.code, outcome.err) == (0, "")
    header, row, *_ = (line for line in outcome.out.splitlines() if "first tag" in line or line.startswith("p "))
    columns = re.split(r"\s{2,}", header.strip())
    assert columns[4:6] == ["reciprocal rank", "first tag"] and re.split(r"\s{2,}", row)[5] == "0.750"
    for name in ("metrics.csv", "per_image.csv"):
        columns = read_header(tmp_path / "report" / name)
        assert [c for c in columns if "@" not in c and not c.endswith(("_low", "_high"))].index("reciprocal_rank") == (
            9 if name == "metrics.csv" else 4
        )
    page = (tmp_path / "report" / "report.html").read_text(encoding="utf-8")
    assert "<summary>Precision, recall, F1 and reciprocal rank</summary>" in page
    assert 'colspan="1">Reciprocal rank</th>' in page and ">0.750</span>" in page
    assert '"reciprocal_rank": {' in (tmp_path / "report" / "metrics.json").read_text(encoding="utf-8")
