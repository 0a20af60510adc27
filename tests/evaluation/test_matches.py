"""Where listed tags stand in a prediction, by hand."""

from __future__ import annotations

import pytest

from ranktag.evaluation.matches import match


def test_hits_by_hand() -> None:
    m = match([[list("abcd"), []], [list("ab"), list("cb")]], [list("bxad"), list("bab")])
    assert (m.images, m.image.tolist(), m.length.tolist()) == (2, [0, 1, 1], [4, 2, 2])
    # List, rank in it, place in the prediction: b's repeat counts for nothing.
    hits = list(zip(m.hit_list.tolist(), m.hit_rank.tolist(), m.hit_place.tolist()))
    assert hits == [(0, 1, 3), (0, 2, 1), (0, 4, 4), (1, 1, 2), (1, 2, 1), (2, 2, 1)]
    assert m.predicted.tolist() == [4, 2]
    assert m.people().tolist() == [1, 2]


def test_empty_lists_are_no_people() -> None:
    assert match([[["a", "b"], ["b"], []], [[]], [["b", "a"]]], [["a"], ["a"], []]).people().tolist() == [2, 0, 1]


def test_truth_and_prediction_are_of_the_same_images() -> None:
    with pytest.raises(ValueError, match="2 images in the truth, 1"):
        match([[["a"]], [["a"]]], [["a"]])
