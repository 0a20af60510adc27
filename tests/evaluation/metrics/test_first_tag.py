"""First-tag accuracy, by hand."""

from __future__ import annotations

import pytest

from ranktag.evaluation.matches import match
from ranktag.evaluation.metrics.first_tag import METRIC

# Truth a b c d; predicted b x a d: hits b (rank 2, place 1), a (1, 3), d (4, 4).
MATCHES = match([[list("abcd")]], [list("bxad")])


def test_first_tag_by_hand() -> None:
    assert METRIC.per_image(MATCHES) == pytest.approx([0.0])
    assert METRIC.per_image(match([[list("abcd")]], [list("axbd")])) == pytest.approx([1.0])


def test_an_image_is_the_mean_over_its_people() -> None:
    m = match([[["a", "b"], ["b"], []], [[]], [["b", "a"]]], [["a"], ["a"], []])
    assert METRIC.per_image(m) == pytest.approx([0.5, float("nan"), 0.0], nan_ok=True)
