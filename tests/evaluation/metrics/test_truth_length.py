"""How many tags people list, by hand."""

from __future__ import annotations

import pytest

from ranktag.evaluation.matches import match
from ranktag.evaluation.metrics.truth_length import METRIC

# Truth a b c d; predicted b x a d: hits b (rank 2, place 1), a (1, 3), d (4, 4).
MATCHES = match([[list("abcd")]], [list("bxad")])


def test_length_is_the_mean_over_people_and_empty_lists_are_left_out() -> None:
    assert METRIC.per_image(MATCHES) == pytest.approx([4.0])
    m = match([[["a", "b"], ["b"], []], [[]], [["b", "a"]]], [["a"], ["a"], []])
    assert METRIC.per_image(m) == pytest.approx([1.5, float("nan"), 2.0], nan_ok=True)
