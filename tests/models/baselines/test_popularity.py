"""Popularity, by hand."""

from __future__ import annotations

import numpy as np
import torch
from learnable import D2, D3, make, scorer

from ranktag.models.baselines import popularity


def test_popularity_by_hand() -> None:
    images = make([[["a", "b"]], [["b"]], [["b", "a", "c"]], [["b"], ["a"]]], torch.zeros(4, 3))
    model, attempts = popularity.fit(images, images, scorer(images))
    assert attempts == []
    found = model.predict(torch.zeros(2, 3))
    expected = np.array([1 + D2 + 0.5, D2 + 1 + 1 + 0.5, D3, 0]) / 4
    np.testing.assert_allclose(found.gain, [expected] * 2, rtol=1e-6)
    np.testing.assert_allclose(found.presence, [np.array([2.5, 3.5, 1, 0]) / 4] * 2, rtol=1e-6)
    np.testing.assert_allclose(found.length, [7 / 4] * 2, rtol=1e-6)
