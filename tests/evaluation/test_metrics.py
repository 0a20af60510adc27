"""The metrics, against values worked out by hand, a naive implementation and scikit-learn."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import ndcg_score

from ranktag.evaluation.metrics import GAINS, match, ndcg

# Discounts 1 / log2(1 + place) of the first five places.
D1, D2, D3, D4, D5 = 1.0, 0.6309298, 0.5, 0.4306766, 0.3868528


@pytest.mark.parametrize(
    ("truth", "predicted", "k", "gain", "expected"),
    [
        # The known trap: one of three relevant tags listed. 1 / (1 + 0.631 + 0.5); scikit-learn's default gives 0.672.
        ("abc", "a", 5, "binary", 0.46928),
        # The same with log gain: 1 / (1 + 0.631^2 + 0.5^2).
        ("abc", "a", 5, "log", 0.60677),
        # Swapped: (D2*D1 + D1*D2) / (1 + D2^2).
        ("ab", "ba", 5, "log", 2 * D2 / (1 + D2**2)),
        # Linear gain of three tags is 1, 2/3, 1/3; predicted c, then an unlisted tag, then a.
        ("abc", "cxa", 5, "linear", (D1 / 3 + D3) / (D1 + D2 * 2 / 3 + D3 / 3)),
        # Only the first k places count, and the ideal is cut there too.
        ("abc", "cab", 1, "log", D3),
        ("abc", "cab", 2, "log", (D3 * D1 + D1 * D2) / (1 + D2**2)),
        # A repeated tag counts once and its repeat wastes a place.
        ("ab", "aab", 5, "log", (1 + D2 * D3) / (1 + D2**2)),
        ("ab", "ab", 10, "log", 1.0),
        ("ab", "xy", 5, "log", 0.0),
        ("ab", "", 5, "log", 0.0),
    ],
)
def test_ndcg_by_hand(truth: str, predicted: str, k: int, gain: str, expected: float) -> None:
    assert ndcg([[list(truth)]], [list(predicted)], k, gain) == pytest.approx([expected], abs=1e-5)


def test_other_metrics_by_hand() -> None:
    # Truth a b c d; predicted b x a d: hits b (rank 2, place 1), a (1, 3), d (4, 4).
    m = match([[list("abcd")]], [list("bxad")])
    assert m.precision(3) == pytest.approx([2 / 3])
    assert m.recall(3) == pytest.approx([2 / 4])
    assert m.f1(3) == pytest.approx([2 * (2 / 3) * (2 / 4) / (2 / 3 + 2 / 4)])
    assert m.precision(10) == pytest.approx([3 / 10])
    assert m.first_tag() == pytest.approx([0.0])
    # Pairs (a, b) wrong, (a, d) right, (b, d) right.
    right, pairs = m.order()
    assert (right.tolist(), pairs.tolist()) == ([2], [3])
    assert m.predicted.tolist() == [4]
    assert m.truth_length().tolist() == [4.0]


def test_an_image_is_the_mean_over_its_people_and_empty_lists_are_left_out() -> None:
    truth: list[list[list[str]]] = [[["a", "b"], ["b"], []], [[]], [["b", "a"]]]
    predicted: list[list[str]] = [["a"], ["a"], []]
    m = match(truth, predicted)
    # First person 1 / (1 + D2^2), second 0 (does not name a).
    assert m.ndcg(5) == pytest.approx([(1 / (1 + D2**2)) / 2, math.nan, 0.0], abs=1e-6, nan_ok=True)
    assert m.first_tag() == pytest.approx([0.5, math.nan, 0.0], nan_ok=True)
    assert m.recall(1) == pytest.approx([0.25, math.nan, 0.0], nan_ok=True)
    assert m.truth_length() == pytest.approx([1.5, math.nan, 2.0], nan_ok=True)
    assert m.people().tolist() == [2, 0, 1]


def test_pairs_of_all_people_are_pooled() -> None:
    # a before b is right for two people and wrong for one; the fourth names only a.
    right, pairs = match([[["a", "b"], ["a", "c", "b"], ["b", "a"], ["a"]]], [["a", "b"]]).order()
    assert (right.tolist(), pairs.tolist()) == ([2], [3])


def test_numbers_serve_as_tags_and_nothing_serves_as_images() -> None:
    assert ndcg([[(3, 1)]], [[3, 1]], 5) == pytest.approx([1.0])
    assert ndcg([], [], 5).shape == (0,)


def test_wrong_calls_are_refused() -> None:
    with pytest.raises(ValueError, match="2 images in the truth, 1"):
        ndcg([[["a"]], [["a"]]], [["a"]], 5)
    with pytest.raises(ValueError, match="k is 0"):
        ndcg([[["a"]]], [["a"]], 0)


@given(
    st.integers(2, 8).flatmap(lambda n: st.tuples(st.permutations(range(n)), st.permutations(range(n)))),
    st.integers(1, 10),
    st.sampled_from(sorted(GAINS)),
)
def test_full_untied_rankings_agree_with_scikit_learn(lists: tuple[list[int], list[int]], k: int, gain: str) -> None:
    truth, predicted = lists
    n = len(truth)
    relevance, score = np.zeros(n), np.zeros(n)
    for rank, tag in enumerate(truth, 1):
        relevance[tag] = GAINS[gain](np.array(float(rank)), np.array(float(n)))
    for place, tag in enumerate(predicted, 1):
        score[tag] = -place
    assert ndcg([[truth]], [predicted], k, gain)[0] == pytest.approx(ndcg_score([relevance], [score], k=k))


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
    m = match([people for people, _ in images], [predicted for _, predicted in images])
    right, pairs = m.order()
    fast = {
        "ndcg": m.ndcg(k, gain),
        "precision": m.precision(k),
        "recall": m.recall(k),
        "f1": m.f1(k),
        "first": m.first_tag(),
        "right": right,
        "pairs": pairs,
    }
    slow = [naive(people, predicted, k, gain) for people, predicted in images]
    for name, values in fast.items():
        assert values.tolist() == pytest.approx([image[name] for image in slow], nan_ok=True), name
