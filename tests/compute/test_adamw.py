"""AdamW, held to torch.optim.AdamW."""

from __future__ import annotations

import platform

import pytest
import torch
from torch import nn

from ranktag.compute.adamw import AdamW

pytestmark = pytest.mark.usefixtures("way")


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


@pytest.mark.parametrize("shape", [(300, 200), (7,), (1, 1)])
def test_weights_are_moved_by_the_gradient_of_what_was_computed_with(shape: tuple[int, ...]) -> None:
    """In bfloat16, too: the weights are of float32, and what is computed with is those, rounded."""
    ours = nn.Parameter(torch.randn(shape, generator=torch.Generator().manual_seed(0)))
    theirs = nn.Parameter(ours.detach().clone())
    optimiser, reference = AdamW([ours], 0.0), torch.optim.AdamW([theirs], lr=0.01, weight_decay=0.0)
    for step in range(5):
        weight = optimiser.weight(ours, torch.bfloat16)
        assert weight.dtype == torch.bfloat16 and torch.equal(weight, ours.to(torch.bfloat16))
        factor = torch.randn(shape, generator=torch.Generator().manual_seed(step + 1)).to(torch.bfloat16)
        (weight * factor).sum().backward()
        optimiser.step(0.01, clip=0.5)
        theirs.grad = factor.float()
        nn.utils.clip_grad_norm_([theirs], 0.5)
        reference.step()
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-6)
    assert optimiser.weight(ours, torch.float32) is ours


def test_what_is_computed_with_is_what_was_loaded() -> None:
    parameter = nn.Parameter(torch.ones(2, 2))
    optimiser = AdamW([parameter], 0.0)
    assert optimiser.weight(parameter, torch.bfloat16).eq(1.0).all()
    with torch.no_grad():
        parameter.fill_(3.0)
    optimiser.load_state_dict(optimiser.state_dict())
    assert optimiser.weight(parameter, torch.bfloat16).eq(3.0).all()


def test_gradients_of_another_order_in_memory_are_for_the_same_weights() -> None:
    parameter = nn.Parameter(torch.zeros(2, 3))
    optimiser = AdamW([parameter], 0.0)
    parameter.grad = torch.tensor([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]).t()
    optimiser.step(0.01, clip=1e3)
    torch.testing.assert_close(optimiser.mean[0][0], 0.1 * torch.tensor([[1.0, 3.0, 5.0], [2.0, 4.0, 6.0]]))


def test_threads_share_the_rows_out() -> None:
    """Of 256 x 130 numbers, which are enough for that, and so few rows a thread that some get one more."""
    found = []
    before = torch.get_num_threads()
    try:
        for threads in (1, 3):
            torch.set_num_threads(threads)
            parameter = nn.Parameter(torch.zeros(257, 130))
            optimiser = AdamW([parameter], 0.1)
            parameter.grad = torch.randn(257, 130, generator=torch.Generator().manual_seed(0))
            optimiser.step(0.01, clip=1.0)
            found.append(parameter.detach())
    finally:
        torch.set_num_threads(before)
    torch.testing.assert_close(*found, rtol=1e-6, atol=0.0)


@pytest.mark.skipif(
    platform.machine() not in ("x86_64", "AMD64"), reason="there the kernels leave such numbers as they are"
)
def test_moments_do_not_fade_to_numbers_that_take_ten_times_as_long(way: str) -> None:
    """Those below 2^-126: they are 0, or stay as they are where a tenth of them is 0. Torch goes on with them."""
    parameter = nn.Parameter(torch.zeros(300, 200))
    optimiser = AdamW([parameter], 0.0)
    smallest = 2.0**-126
    mean = optimiser.mean[0][0].fill_(smallest)
    parameter.grad = torch.zeros(300, 200)
    optimiser.step(0.01)
    faded = (mean > 0.0) & (mean < smallest)
    assert not faded.any() if way == "compiled" else faded.all()
    # The threads that moved them compute with such numbers as before.
    assert torch.full((300, 200), smallest).mul(0.5).eq(smallest / 2).all()
