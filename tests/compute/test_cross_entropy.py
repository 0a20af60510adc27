"""Cross-entropy and its gradient, compiled and by torch's operations, held to torch's in float64."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from ranktag.compute.cross_entropy import NO_TARGET, learn_from


def drawn(rows: int, classes: int, dtype: torch.dtype, spread: float = 3.0) -> tuple[Tensor, Tensor]:
    """Logits, and targets of which every third counts for nothing."""
    generator = torch.Generator().manual_seed(rows * 1000 + classes)
    logits = torch.randn(rows, classes, generator=generator).mul_(spread).to(dtype).requires_grad_()
    target = torch.randint(classes, (rows,), generator=generator)
    target[2::3] = NO_TARGET
    return logits, target


def expected(logits: Tensor, target: Tensor, smoothing: float, divisor: float) -> tuple[Tensor, Tensor]:
    """The mean, and the gradient."""
    exact = logits.detach().double().requires_grad_()
    total = F.cross_entropy(exact, target, ignore_index=NO_TARGET, label_smoothing=smoothing, reduction="sum")
    (gradient,) = torch.autograd.grad(total / divisor, exact)
    return total.detach() / (target != NO_TARGET).sum(), gradient


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize(("rows", "classes"), [(1, 1), (7, 3), (64, 21), (30, 401)])
def test_the_mean_and_the_gradient_are_torchs(
    way: str, rows: int, classes: int, smoothing: float, dtype: torch.dtype
) -> None:
    logits, target = drawn(rows, classes, dtype)
    mean, gradient = expected(logits, target, smoothing, 300.0)
    found = learn_from(logits, target, smoothing, 300.0)
    assert found.shape == () and found.dtype == torch.float32 and not found.requires_grad
    torch.testing.assert_close(found.double(), mean, rtol=2e-6, atol=2e-6)
    assert logits.grad is not None and logits.grad.dtype == dtype
    # What bfloat16 rounds; and in both what 1 - p rounds.
    share = 2e-6 if dtype == torch.float32 else 2**-8
    torch.testing.assert_close(logits.grad.double(), gradient, rtol=share, atol=1e-6 / 300.0)
    assert logits.grad[2::3].eq(0.0).all()


def test_by_hand(way: str) -> None:
    # p = 1/4 and 3/4, of which the second is wanted.
    logits = torch.tensor([[0.0, math.log(3.0)], [5.0, 5.0]], requires_grad=True)
    mean = learn_from(logits, torch.tensor([1, NO_TARGET]), 0.0, 2.0)
    assert float(mean) == pytest.approx(-math.log(0.75))
    assert logits.grad is not None
    torch.testing.assert_close(logits.grad, torch.tensor([[0.125, -0.125], [0.0, 0.0]]))


def test_the_gradient_goes_on_to_what_the_logits_were_made_of(way: str) -> None:
    hidden = torch.randn(6, 4, generator=torch.Generator().manual_seed(1))
    weight = torch.randn(5, 4, generator=torch.Generator().manual_seed(2)).requires_grad_()
    target = torch.tensor([0, 4, NO_TARGET, 2, 2, 1])
    learn_from(F.linear(hidden, weight), target, 0.05, 8.0)
    _, gradient = expected(F.linear(hidden, weight), target, 0.05, 8.0)
    torch.testing.assert_close(weight.grad, (gradient.t() @ hidden.double()).float(), rtol=1e-5, atol=1e-7)


def test_logits_of_another_order_in_memory(way: str) -> None:
    logits, target = drawn(40, 21, torch.float32)
    learn_from(logits, target, 0.1, 1.0)
    turned = logits.detach().t().contiguous().requires_grad_()
    learn_from(turned.t(), target, 0.1, 1.0)
    assert logits.grad is not None and turned.grad is not None
    torch.testing.assert_close(turned.grad.t(), logits.grad, rtol=1e-6, atol=0.0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_large_logits_saturate_and_what_is_no_number_shows(way: str, dtype: torch.dtype) -> None:
    logits = torch.tensor([[1e4, -1e4, 0.0], [-1e4, -2e4, -1e4]]).to(dtype).requires_grad_()
    target = torch.tensor([0, 2])
    assert float(learn_from(logits, target, 0.0, 1.0)) == pytest.approx(math.log(2.0) / 2)
    assert logits.grad is not None
    torch.testing.assert_close(logits.grad.float(), torch.tensor([[0.0, 0.0, 0.0], [0.5, 0.0, -0.5]]))
    for bad in (float("nan"), -float("nan"), float("inf")):
        logits = torch.tensor([[0.0, bad, 1.0], [0.0, 0.0, 1.0]]).to(dtype).requires_grad_()
        assert learn_from(logits, target, 0.0, 1.0).isnan()
        assert logits.grad is not None and logits.grad[0].isnan().any() and logits.grad[1].isfinite().all()


def test_of_no_target_at_all_there_is_no_mean(way: str) -> None:
    logits = torch.zeros(2, 3, requires_grad=True)
    assert learn_from(logits, torch.tensor([NO_TARGET, NO_TARGET]), 0.1, 1.0).isnan()
    assert logits.grad is not None and logits.grad.eq(0.0).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_threads_share_the_rows_out(way: str, dtype: torch.dtype) -> None:
    # As many numbers as are worth it, in rows of which one thread gets one more.
    found = []
    before = torch.get_num_threads()
    try:
        for threads in (1, 3):
            torch.set_num_threads(threads)
            logits, target = drawn(257, 130, dtype)
            mean = learn_from(logits, target, 0.1, 10.0)
            assert logits.grad is not None
            found.append((mean, logits.grad))
    finally:
        torch.set_num_threads(before)
    torch.testing.assert_close(*found, rtol=1e-6, atol=0.0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
def test_torchs_operations_are_not_called_where_there_is_a_kernel(
    way: str, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    called = []
    torchs = F.cross_entropy

    def counting(*arguments: object, **named: object) -> Tensor:
        called.append(arguments)
        return torchs(*arguments, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(F, "cross_entropy", counting)
    learn_from(*drawn(3, 4, dtype), 0.1, 1.0)
    assert bool(called) is (way == "torch" or dtype == torch.float64)
