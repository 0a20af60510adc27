"""Order accuracy, by hand."""

from __future__ import annotations

from ranktag.evaluation.matches import match
from ranktag.evaluation.metrics.order_accuracy import METRIC

# Truth a b c d; predicted b x a d: hits b (rank 2, place 1), a (1, 3), d (4, 4).
MATCHES = match([[list("abcd")]], [list("bxad")])


def test_pairs_by_hand() -> None:
    # Pairs (a, b) wrong, (a, d) right, (b, d) right.
    right, pairs = METRIC.per_image(MATCHES)
    assert (right.tolist(), pairs.tolist()) == ([2], [3])


def test_pairs_of_all_people_are_pooled() -> None:
    # a before b is right for two people and wrong for one; the fourth names only a.
    m = match([[["a", "b"], ["a", "c", "b"], ["b", "a"], ["a"]]], [["a", "b"]])
    right, pairs = METRIC.per_image(m)
    assert (right.tolist(), pairs.tolist()) == ([2], [3])
