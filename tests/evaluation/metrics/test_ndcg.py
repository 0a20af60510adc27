"""NDCG, against values worked out by hand and scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import ndcg_score

from ranktag.evaluation.matches import GAINS
from ranktag.evaluation.metrics.ndcg import ndcg

# Discounts 1 / log2(1 + place) of the first three places.
D1, D2, D3 = 1.0, 0.6309298, 0.5


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


def test_an_image_is_the_mean_over_its_people_and_empty_lists_are_left_out() -> None:
    truth: list[list[list[str]]] = [[["a", "b"], ["b"], []], [[]], [["b", "a"]]]
    # First person 1 / (1 + D2^2), second 0 (does not name a).
    expected = [(1 / (1 + D2**2)) / 2, np.nan, 0.0]
    assert ndcg(truth, [["a"], ["a"], []], 5) == pytest.approx(expected, abs=1e-6, nan_ok=True)


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
