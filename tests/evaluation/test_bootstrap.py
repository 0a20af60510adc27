"""The bootstrap, against drawing image by image and against what theory says."""

from __future__ import annotations

import math

import numpy as np
import pytest

from ranktag.evaluation import bootstrap
from ranktag.evaluation.bootstrap import holm, interval, p_value, resampled_means


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


def test_more_images_are_drawn_from_part_by_part(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bootstrap, "_PART", 64)
    monkeypatch.setattr(bootstrap, "_ROWS", 64)
    # 400 images are six parts and a smaller one, and their values rise from part to part.
    values = np.random.default_rng(2).normal(size=400) + np.arange(400) / 100
    means = resampled_means(np.stack([values, np.ones(400)], axis=1), 4000, seed=0)
    # As many are drawn as there are, every time.
    np.testing.assert_allclose(means[:, 1], 1.0, rtol=1e-12)
    error = values.std() / math.sqrt(400)
    assert means[:, 0].std() == pytest.approx(error, rel=0.05)
    assert means[:, 0].mean() == pytest.approx(values.mean(), abs=5 * error / math.sqrt(4000))
    np.testing.assert_array_equal(
        resampled_means(values[:, None], 20, seed=3), resampled_means(values[:, None], 20, seed=3)
    )


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


def test_p_is_where_zero_lies_among_the_quantiles() -> None:
    # Three of 99 on the other side: zero is half way from the third, of place 2 of 98, to the fourth.
    differences = np.array([-1.0] * 3 + [1.0] * 96)
    assert p_value(differences) == p_value(-differences) == pytest.approx(2 * 2.5 / 98)
    assert interval(differences)[0] < 0.0  # p is above 0.05, and the interval holds zero
    assert p_value(np.ones(999)) == pytest.approx(0.002)
    # No difference at all is no evidence of one.
    assert p_value(np.zeros(999)) == 1.0
    assert p_value(np.array([math.nan, 1.0])) == pytest.approx(1.0)


def test_p_below_0_05_is_an_interval_without_zero() -> None:
    random = np.random.default_rng(4)
    both = 0
    for _ in range(500):
        # Near the border, and with ties, as means over few images have them.
        differences = np.round(random.normal(random.uniform(1.5, 2.4), 1.0, 200), int(random.integers(1, 4)))
        low, high = interval(differences)
        assert (p_value(differences) < 0.05) == (low > 0 or high < 0)
        both += low > 0
    assert 100 < both < 400


def test_what_the_resamples_cannot_tell_follows_their_normal_distribution() -> None:
    # Mean 4, standard deviation 1: all of 1,000 lie above zero; two-sided p of z = 4 is 6.3e-5.
    normal = np.random.default_rng(0).normal(size=1000)
    differences = 4.0 + (normal - normal.mean()) / normal.std()
    assert p_value(differences) == p_value(-differences) == pytest.approx(6.334e-5, rel=1e-3)
    # Never more than what the resamples do tell.
    assert p_value(np.array([0.1] * 500 + [9.0] * 499)) == pytest.approx(2 / 1000)


def test_holm_by_hand() -> None:
    # 0.01 * 4, 0.02 * 3, then 0.03 * 2 and 0.03 * 1, which may not fall below; nan is no comparison.
    assert holm([0.03, 0.01, math.nan, 0.02, 0.031]) == pytest.approx([0.06, 0.04, math.nan, 0.06, 0.06], nan_ok=True)
    assert holm([0.9, 0.8]) == [1.0, 1.0] and holm([0.03]) == [0.03] and holm([]) == []
