"""Ranks from expected gains."""

from __future__ import annotations

import numpy as np
import torch

from ranktag.models.ranking import ExpectedGains, Limits, best_five, rank_by_gain


def test_tags_are_ranked_by_gain_and_cut_at_the_expected_length() -> None:
    gains = ExpectedGains(
        gain=torch.tensor([[0.1, 0.9, 0.5], [0.2, 0.2, 0.3], [0.0, 0.0, 0.0]]),
        presence=torch.tensor([[0.2, 0.9, 0.8], [0.4, 0.3, 1.0000001], [0.1, 0.0, 0.0]]),
        length=torch.tensor([1.9, 2.4, 0.1]),
    )
    ranked = rank_by_gain(gains, Limits(3))
    assert ranked.lists() == [[1, 2], [2, 0], []]
    np.testing.assert_allclose(ranked.scores, [[0.9, 0.8, 0], [1, 0.4, 0], [0, 0, 0]], rtol=1e-6)
    assert rank_by_gain(gains, Limits(3, exact=True)).lists() == [[1, 2, 0], [2, 0, 1], [0, 1, 2]]
    assert rank_by_gain(gains, Limits(1)).lists() == [[1], [2], []]
    assert rank_by_gain(gains, Limits(9)).tags.shape == (3, 3)
    assert best_five(gains.gain) == [[1, 2, 0], [2, 0, 1], [0, 1, 2]]
