"""AdamW, held to torch.optim.AdamW."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from ranktag.compute.adamw import AdamW


def make() -> list[nn.Parameter]:
    generator = torch.Generator().manual_seed(0)
    return [nn.Parameter(torch.randn(*shape, generator=generator)) for shape in ((4, 3), (3,), (2, 2, 2), (1,))]


def gradients(step: int) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(100 + step)
    return [torch.randn(p.shape, generator=generator) * 10.0 ** (step - 3) for p in make()]


@pytest.mark.parametrize("decay", [0.0, 0.1])
def test_equals_torchs_adamw_with_decay_on_matrices_only(decay: float) -> None:
    ours, theirs = make(), make()
    optimiser = AdamW(ours, decay)
    matrices, vectors = [p for p in theirs if p.dim() > 1], [p for p in theirs if p.dim() <= 1]
    reference = torch.optim.AdamW(
        [{"params": matrices, "weight_decay": decay}, {"params": vectors, "weight_decay": 0.0}]
    )
    for step in range(7):
        lr = 0.01 * (step + 1)
        for a, b, gradient in zip(ours, theirs, gradients(step)):
            a.grad, b.grad = gradient.clone(), gradient.clone()
        optimiser.step(lr)
        for group in reference.param_groups:
            group["lr"] = lr
        reference.step()
        for a, b in zip(ours, theirs):
            torch.testing.assert_close(a, b, rtol=1e-6, atol=1e-7)
            assert a.grad is None


@pytest.mark.parametrize("clip", [0.001, 3.0, 1e4])
def test_clipping_is_torchs(clip: float) -> None:
    ours, theirs = make(), make()
    optimiser = AdamW(ours, 0.1)
    groups = [
        {"params": [p for p in theirs if p.dim() > 1], "weight_decay": 0.1},
        {"params": [p for p in theirs if p.dim() <= 1], "weight_decay": 0.0},
    ]
    reference = torch.optim.AdamW(groups, lr=0.01)
    norms = []
    for step in range(6):
        for a, b, gradient in zip(ours, theirs, gradients(step)):
            a.grad, b.grad = gradient.clone(), gradient.clone()
        norms.append(float(torch.nn.utils.clip_grad_norm_(theirs, clip)))
        optimiser.step(0.01, clip)
        reference.step()
        for a, b in zip(ours, theirs):
            torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6)
    # Of the three limits one is always passed, one sometimes and one never.
    assert 0.001 < min(norms) < 3.0 < max(norms) < 1e4


def test_a_gradient_that_is_not_a_number_shows_in_every_weight() -> None:
    # Clipping must not hide it: what is not finite is looked for after the epoch.
    parameters = make()
    optimiser = AdamW(parameters, 0.0)
    for parameter, gradient in zip(parameters, gradients(0)):
        parameter.grad = gradient
    parameters[1].grad[0] = float("nan")
    optimiser.step(0.01, 5.0)
    assert all(bool(p.isnan().all()) for p in parameters)


def test_goes_on_exactly_from_its_state() -> None:
    straight, interrupted = make(), make()
    optimiser, first = AdamW(straight, 0.1), AdamW(interrupted, 0.1)
    for step in range(6):
        if step == 3:
            state = first.state_dict()
            first = AdamW(interrupted, 0.1)
            first.load_state_dict(state)
        for a, b, gradient in zip(straight, interrupted, gradients(step)):
            a.grad, b.grad = gradient.clone(), gradient.clone()
        optimiser.step(0.01)
        first.step(0.01)
    assert all(torch.equal(a, b) for a, b in zip(straight, interrupted))


def test_a_state_of_other_parameters_is_refused() -> None:
    with pytest.raises((ValueError, RuntimeError)):
        AdamW(make()[:2], 0.0).load_state_dict(AdamW(make(), 0.0).state_dict())
