"""The learning rate by hand."""

from __future__ import annotations

import math

import pytest

from ranktag.training.schedule import learning_rate


def test_the_learning_rate_rises_and_falls() -> None:
    rates = [learning_rate(step, 10, 2, 0.8, True) for step in range(10)]
    assert rates[:3] == pytest.approx([0.4, 0.8, 0.8])
    # A quarter, half and three quarters of the way down from step 2 to step 10.
    assert rates[4] == pytest.approx(0.4 * (1 + math.sqrt(0.5)))
    assert rates[6] == pytest.approx(0.4)
    assert rates[8] == pytest.approx(0.4 * (1 - math.sqrt(0.5)))
    assert rates[9] > 0 and learning_rate(10, 10, 2, 0.8, True) == pytest.approx(0.0)


def test_without_warm_up_and_cosine_the_learning_rate_is_flat() -> None:
    assert {learning_rate(step, 10, 0, 0.3, False) for step in range(10)} == {0.3}
    assert learning_rate(0, 1, 0, 0.3, True) == 0.3
    # A warm-up longer than the training never reaches the top, and divides by nothing.
    assert learning_rate(9, 10, 20, 1.0, True) == pytest.approx(0.5)
