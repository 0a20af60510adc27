"""Dropout: its share, its expectation, and what it draws."""

from __future__ import annotations

import pytest
import torch

from ranktag.compute.dropout import Dropout

D = 10


def dropout(seed: int = 0) -> Dropout:
    return Dropout(0.0, 0.0, 0.0, torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("p", [0.1, 0.5, 0.7, 0.99])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_dropout_drops_its_share_and_keeps_the_expectation(p: float, dtype: torch.dtype) -> None:
    x = torch.ones(400, 1003, dtype=dtype)
    y = dropout()(x, p).float()
    share = 1.0 / (1.0 - p)
    assert set(y.unique().tolist()) <= {0.0, float(torch.tensor(share, dtype=dtype))}
    # Four standard deviations of a binomial share.
    deviation = 4 * (p * (1 - p) / x.numel()) ** 0.5
    assert float((y == 0).float().mean()) == pytest.approx(p, abs=deviation + 1 / 65536)
    assert float(y.mean()) == pytest.approx(1.0, abs=share * deviation + 0.005)
    # No column and no row is dropped more than the others, and neighbours are dropped independently.
    dropped = (y == 0).double()
    assert float((dropped.mean(0) - p).abs().max()) < 6 * (p * (1 - p) / 400) ** 0.5
    for apart in (1, 2, 3, 4):
        together = float((dropped[:, apart:] * dropped[:, :-apart]).mean())
        assert together == pytest.approx(p * p, abs=0.01)


def test_dropout_of_nothing_is_the_identity_and_draws_nothing() -> None:
    drop = dropout()
    before = drop.generator.get_state()
    x = torch.randn(3, 4)
    assert drop(x, 0.0) is x
    assert torch.equal(drop.generator.get_state(), before)


def test_dropout_follows_from_its_seed() -> None:
    x = torch.randn(5, 7)
    assert torch.equal(dropout(1)(x, 0.5), dropout(1)(x, 0.5))
    assert not torch.equal(dropout(1)(x, 0.5), dropout(2)(x, 0.5))


def test_the_gradient_of_dropout_flows_through_what_was_kept() -> None:
    x = torch.randn(50, requires_grad=True)
    y = dropout()(x, 0.5)
    y.sum().backward()
    assert torch.equal(x.grad, torch.where(y == 0, 0.0, 2.0))


def test_over_many_batches_every_feature_is_kept_as_often() -> None:
    share = Dropout(0.7, 0.0, 0.0, torch.Generator().manual_seed(0))
    counts = torch.zeros(D)
    for _ in range(2000):
        counts[share.kept_features(D)[0]] += 1
    # Four standard deviations of a binomial share of 0.3.
    assert float((counts / 2000 - 0.3).abs().max()) < 4 * (0.3 * 0.7 / 2000) ** 0.5
