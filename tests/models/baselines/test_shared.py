"""What the baselines learn to predict, by hand."""

from __future__ import annotations

import numpy as np
import torch
from learnable import D2, D3, make

from ranktag.models.baselines._shared import targets


def test_targets_by_hand() -> None:
    gain, presence = targets(make([[["a", "b", "c"]], [["b"], ["a", "b"]], [["unknown", "d"]]], torch.zeros(3, 2)))
    np.testing.assert_allclose(gain, [[1, D2, D3, 0], [0.5, (1 + D2) / 2, 0, 0], [0, 0, 0, 1]], rtol=1e-6)
    np.testing.assert_allclose(presence, [[1, 1, 1, 0], [0.5, 1, 0, 0], [0, 0, 0, 1]], rtol=1e-6)


def test_an_empty_list_is_not_trained_on() -> None:
    # Of two people one wrote nothing: the other's list counts as it would alone.
    with_empty, without = (
        targets(make([[[], ["a", "b"]]], torch.zeros(1, 2))),
        targets(make([[["a", "b"]]], torch.zeros(1, 2))),
    )
    assert torch.equal(with_empty[0], without[0]) and torch.equal(with_empty[1], without[1])
