"""The bootstrap, against drawing image by image and against what theory says."""

from __future__ import annotations

import math

import numpy as np
import pytest

from ranktag.evaluation import bootstrap
from ranktag.evaluation.bootstrap import interval, p_value, resampled_means


def test_equals_drawing_one_resample_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bootstrap, "_BLOCK", 1)  # one resample a block
    values = np.random.default_rng(1).random((37, 3))
    random = np.random.default_rng(5)
    expected = [values[random.integers(0, 37, 37, dtype=np.int32)].mean(axis=0) for _ in range(20)]
    np.testing.assert_allclose(resampled_means(values, 20, seed=5), expected, rtol=1e-12)


def test_equals_drawing_a_block_at_a_time() -> None:
    values = np.random.default_rng(1).random((6, 2))
    drawn = np.random.default_rng(9).integers(0, 6, (50, 6), dtype=np.int32)
    np.testing.assert_allclose(resampled_means(values, 50, seed=9), values[drawn].mean(axis=1), rtol=1e-12)


def test_the_same_seed_gives_the_same_draws_whatever_the_columns() -> None:
    values = np.random.default_rng(0).random((40, 4))
    together = resampled_means(values, 30, seed=3)
    np.testing.assert_allclose(resampled_means(values[:, 2:], 30, seed=3), together[:, 2:], rtol=1e-12)
    assert not np.allclose(resampled_means(values, 30, seed=4), together)


def test_spread_is_the_standard_error_of_the_mean() -> None:
    values = np.random.default_rng(2).normal(size=(400, 1))
    assert resampled_means(values, 4000, seed=0).std() == pytest.approx(values.std() / math.sqrt(400), rel=0.05)


def test_a_95_percent_interval_covers_the_true_mean_about_95_times_in_100() -> None:
    random = np.random.default_rng(11)
    covered = 0
    for trial in range(300):
        low, high = interval(resampled_means(random.uniform(size=(80, 1)), 300, seed=trial)[:, 0])
        covered += low <= 0.5 <= high
    # 300 trials of 95%: one standard error is 1.3 points; small samples cover a little less.
    assert 0.90 <= covered / 300 <= 0.98


def test_no_resamples_give_no_interval() -> None:
    none = resampled_means(np.ones((5, 1)), 0, seed=0)[:, 0]
    assert all(map(math.isnan, (*interval(none), p_value(none))))


def test_p_counts_the_smaller_side_twice_and_is_never_zero() -> None:
    # Three of 99 on the other side: 2 * (3 + 1) / (99 + 1).
    differences = np.array([-1.0] * 3 + [1.0] * 96)
    assert p_value(differences) == p_value(-differences) == pytest.approx(0.08)
    assert p_value(np.ones(999)) == pytest.approx(0.002)
    # No difference at all is no evidence of one.
    assert p_value(np.zeros(999)) == 1.0
    assert p_value(np.array([math.nan, 1.0])) == pytest.approx(1.0)
