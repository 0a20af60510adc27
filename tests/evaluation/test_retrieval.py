"""Queries, what images are worth to them, and how well they are found: by hand, and against independent code."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from outcome import Outcome
from sklearn.metrics import average_precision_score, ndcg_score

from ranktag.config import EvaluationConfig
from ranktag.errors import Usage
from ranktag.evaluation.evaluate import evaluate
from ranktag.evaluation.report.text import to_text
from ranktag.evaluation.results import EvaluationReport
from ranktag.evaluation.retrieval import Truth, average_precision, ndcg
from ranktag.tags.lists import TagLists, write_tag_lists
from ranktag.tags.predictions import Predictions, write_predictions

CONFIG = EvaluationConfig(retrieval=True, resamples=200)
D2, D3 = 1 / math.log2(3), 1 / 2


def searched(lists: dict[str, list[tuple[str, ...]]], **predictions: Predictions) -> EvaluationReport:
    return evaluate(dict(predictions), TagLists(lists), config=CONFIG)


def test_queries_are_tags_and_pairs_that_ten_images_hold() -> None:
    # Ten images hold dog and beach, in one list; cat and sea stand in ten images too, but never in one person's list.
    lists = [[("dog", "Beach"), ("dog",)]] * 10 + [[("cat",), ("sea",)]] * 10 + [[("owl",)]] * 9
    truth = Truth.of(lists)
    held = [(query.tags, len(query.images)) for query in truth.queries]
    tags = ("beach", "cat", "dog", "sea")
    assert held == [*(((tag,), 10) for tag in tags), (("beach", "dog"), 10)]
    # One of two people says beach, in the second place; both say dog, first.
    worth = truth.worth_to(truth.queries[-1])
    assert worth[:10] == pytest.approx(1 + D2 / 2) and not worth[10:].any()
    assert truth.held(truth.queries[0]).tolist() == [True] * 10 + [False] * 19


def test_gain_of_the_truth_is_the_configured_one() -> None:
    truth = Truth.of([[("dog", "cat")]] * 10, "linear")
    assert truth.worth_to(truth.queries[0])[0] == 0.5 and truth.queries[0].tags == ("cat",)


def test_importance_finds_the_photos_in_which_a_tag_matters() -> None:
    # The dog is what 10 photos are of; in 10 others it is behind a car. The model knows, and is surer of the latter.
    first, second = ([f"{name}{n}" for n in range(10)] for name in "ab")
    lists = {i: [("dog", "car")] for i in first} | {i: [("car", "dog")] for i in second}
    predicted = {i: [("dog", 0.8), ("car", 0.7)] for i in first} | {i: [("car", 0.7), ("dog", 0.9)] for i in second}
    report = searched(lists, model=predicted)
    assert report.retrieval is not None
    assert [query for query, _ in report.retrieval.queries] == [("car",), ("dog",), ("car", "dog")]
    dog = report.retrieval.values["model"][1]
    # By importance 0.8 before 0.9 / log2(3); by presence ten photos worth 1 / log2(3) come first. All hold the tag.
    assert dog == pytest.approx([1.0, 1.0, D2, 1.0])
    # Car: equally probable, so by presence in no order; by importance the second ten first, which is right.
    assert report.retrieval.values["model"][0] == pytest.approx([1.0, 1.0, (1 + D2) / 2, 1.0])
    row = report.retrieval.rows[0]
    assert (row.kind, row.queries) == ("all", 3)
    assert row.gained["ndcg@10"].value == pytest.approx(
        row.scores["ndcg@10_importance"].value - row.scores["ndcg@10_presence"].value
    )


def test_what_is_not_found_earns_nothing() -> None:
    lists = {f"{n:02}": [("dog",)] for n in range(20)}
    found = {i: [("dog", 0.5)] if n < 5 else [("cat", 0.5)] for n, i in enumerate(lists)}
    lacking = {i: tags for i, tags in found.items() if i != "00"}
    report = searched(lists, five=found, four=lacking)
    weights = 1 / np.log2(np.arange(2, 12))
    assert report.retrieval is not None
    assert report.retrieval.values["five"][0, :2] == pytest.approx([weights[:5].sum() / weights.sum(), 5 / 20])
    assert report.retrieval.values["four"][0, :2] == pytest.approx([weights[:4].sum() / weights.sum(), 4 / 20])
    change = report.retrieval.differences[0].scores["average_precision"]
    assert change.value == pytest.approx(1 / 20)
    # One query says nothing of others.
    assert math.isnan(change.low) and math.isnan(change.high) and math.isnan(change.p)


def test_seeds_are_averaged_query_by_query() -> None:
    lists = {f"{n:02}": [("dog",)] for n in range(10)}
    right = {i: [("dog", 0.5)] for i in lists}
    wrong = {i: [("cat", 0.5)] for i in lists}
    report = evaluate({"both": [right, wrong]}, TagLists(lists), config=CONFIG)
    assert report.retrieval is not None
    estimate = report.retrieval.rows[0].scores["average_precision_importance"]
    assert (estimate.value, estimate.seed_std) == pytest.approx((0.5, math.sqrt(0.5)))


@given(st.integers(0, 2**32 - 1))
def test_without_ties_as_scikit_learn_says(seed: int) -> None:
    random = np.random.default_rng(seed)
    worth = random.choice([0.0, 0.5, D2, 1.0], 30)
    worth[0] = 1.0
    relevance = random.permutation(30).astype(np.float64)
    order = np.argsort(-relevance)
    held = worth > 0
    assert ndcg(worth, order, relevance[order]) == pytest.approx(ndcg_score([worth], [relevance], k=10))
    assert average_precision(held, order, relevance[order]) == pytest.approx(average_precision_score(held, relevance))


@pytest.mark.parametrize("relevance", [(3.0, 3, 3, 1, 1), (2.0, 2, 2, 2, 2), (5.0, 4, 4, 2, 1), (5.0, 4, 3, 2, 2)])
@pytest.mark.parametrize("held", [(1, 0, 1, 0, 1), (0, 0, 1, 1, 1), (1, 1, 0, 0, 0)])
def test_of_ties_the_mean_over_all_orders(relevance: tuple[float, ...], held: tuple[int, ...]) -> None:
    # A sixth image holds the query and is not found.
    truth, order = np.array([*held, 1], bool), np.arange(5)
    worth = np.where(truth, [0.5, 0.2, 1.0, 0.7, 0.3, 0.9], 0.0)
    ideal = sum(w / math.log2(1 + j) for j, w in enumerate(sorted(worth, reverse=True), 1))
    dcgs, precisions = [], []
    for shuffled in itertools.permutations(range(5)):
        if [relevance[n] for n in shuffled] == list(relevance):
            dcgs.append(sum(worth[n] / math.log2(1 + j) for j, n in enumerate(shuffled, 1)) / ideal)
            hits = [truth[n] for n in shuffled]
            precisions.append(sum(sum(hits[: j + 1]) / (j + 1) for j in range(5) if hits[j]) / truth.sum())
    assert ndcg(worth, order, np.array(relevance)) == pytest.approx(np.mean(dcgs))
    assert average_precision(truth, order, np.array(relevance)) == pytest.approx(np.mean(precisions))


def test_a_report_holds_it_and_the_next_one_without_it_does_not(
    ranktag: Callable[..., Outcome], tmp_path: Path
) -> None:
    tags, predictions, output = tmp_path / "tags.csv", tmp_path / "model.csv", tmp_path / "report"
    lists = {f"{n:02}": [("dog", "cat")] for n in range(10)}
    write_tag_lists(tags, TagLists(lists))
    write_predictions(predictions, {i: [("cat", 0.9), ("dog", 0.5)] for i in lists})
    command = ["evaluate", predictions, tags, "-o", output, "--overwrite"]
    result = ranktag(*command, "--retrieval", "--json")
    assert result.code == 0
    said = json.loads(result.out)["retrieval"]
    assert said == json.loads((output / "metrics.json").read_text())["retrieval"]
    assert said["images"] == 10 and said["rows"][0]["scores"]["ndcg@10_importance"]["value"] == pytest.approx(1)
    table = pd.read_csv(output / "retrieval.csv")
    assert list(table["kind"]) == ["all", "one tag", "pairs"] and list(table["queries"]) == [3, 2, 1]
    queries = pd.read_csv(output / "retrieval_queries.csv")
    assert list(queries["query"]) == ["cat", "dog", "cat|dog"] and list(queries["images"]) == [10] * 3
    assert (output / "retrieval_differences.csv").is_file()
    assert "Search for 2 tags, 1 pair of tags" in ranktag(*command, "--retrieval").out
    assert ranktag(*command).code == 0
    assert not list(output.glob("retrieval*"))


def test_what_comes_next_is_not_searched() -> None:
    with pytest.raises(Usage, match="--retrieval searches in whole lists"):
        evaluate({"model": {"a": [("dog", 0.5)]}}, TagLists({"a": [("dog",)]}), config=CONFIG.replace(given=1))


def test_too_few_images_are_said() -> None:
    report = searched({"a": [("dog",)]}, model={"a": [("dog", 0.5)]})
    assert report.retrieval is not None and not report.retrieval.queries
    assert "Search is not scored: no tag is held by 10 images." in to_text(report)
