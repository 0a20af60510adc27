"""Relevance against values worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from ranktag.search.relevance import gains, relevance, tag_relevance


def test_gains_fall_with_the_logarithm_of_the_rank() -> None:
    assert gains(7)[[0, 2, 6]].tolist() == [1.0, 0.5, 1.0 / 3.0]


def test_by_importance_the_place_counts_and_by_presence_it_does_not() -> None:
    ranks, probabilities = np.array([1, 3, 7]), np.array([0.5, 0.8, 0.9])
    assert tag_relevance(ranks, probabilities, "importance") == pytest.approx([0.5, 0.4, 0.3])
    assert tag_relevance(ranks, probabilities, "presence") == pytest.approx([0.5, 0.8, 0.9])
    with pytest.raises(ValueError, match="neither"):
        tag_relevance(ranks, probabilities, "colour")


def test_an_unknown_probability_counts_as_one() -> None:
    assert tag_relevance(np.array([1, 3]), np.array([np.nan, np.nan]), "importance").tolist() == [1.0, 0.5]


def test_a_query_of_several_tags_is_the_sum_and_missing_tags_add_nothing() -> None:
    dog = (np.array([0, 2]), np.array([1, 3]), np.array([0.5, 0.4]))
    beach = (np.array([2]), np.array([1]), np.array([0.7]))
    assert relevance([dog, beach], 4, "importance") == pytest.approx([0.5, 0.0, 0.4 * 0.5 + 0.7, 0.0])
    assert relevance([dog, beach], 4, "presence") == pytest.approx([0.5, 0.0, 1.1, 0.0])
    assert relevance([], 2, "presence").tolist() == [0.0, 0.0]


def test_it_is_what_a_person_is_expected_to_give() -> None:
    """Of lists drawn with known chances: the mean of what the query's tags gain in them."""
    lists = {("dog", "cat"): 0.5, ("cat",): 0.25, ("bird",): 0.25}
    truth = sum(
        chance * sum(1.0 / np.log2(2.0 + tags.index(tag)) for tag in ("dog", "bird") if tag in tags)
        for tags, chance in lists.items()
    )
    dog = (np.array([0]), np.array([1]), np.array([0.5]))
    bird = (np.array([0]), np.array([1]), np.array([0.25]))
    assert relevance([dog, bird], 1, "importance")[0] == pytest.approx(truth)
