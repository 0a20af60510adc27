"""Precision at k, by hand."""

from __future__ import annotations

import pytest

from ranktag.evaluation.matches import match
from ranktag.evaluation.metrics.precision import METRIC

# Truth a b c d; predicted b x a d: hits b (rank 2, place 1), a (1, 3), d (4, 4).
MATCHES = match([[list("abcd")]], [list("bxad")])


def test_precision_by_hand() -> None:
    assert METRIC.per_image(MATCHES, 3) == pytest.approx([2 / 3])
    assert METRIC.per_image(MATCHES, 10) == pytest.approx([3 / 10])
