"""How many tags are predicted, by hand."""

from __future__ import annotations

import pytest

from ranktag.evaluation.matches import match
from ranktag.evaluation.metrics.predicted_length import METRIC

# Truth a b c d; predicted b x a d: hits b (rank 2, place 1), a (1, 3), d (4, 4).
MATCHES = match([[list("abcd")]], [list("bxad")])


def test_repeats_count_once() -> None:
    assert METRIC.per_image(MATCHES) == pytest.approx([4.0])
    assert METRIC.per_image(match([[["a"]]], [["a", "b", "a"]])) == pytest.approx([2.0])
