"""AdamW of some rows at a step, held to torch.optim.AdamW of all of them."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from ranktag.compute.adamw import AdamW
from ranktag.compute.row_adamw import RowAdamW

pytestmark = pytest.mark.usefixtures("way")


def gradient(step: int, rows: int = 4) -> torch.Tensor:
    return torch.randn(rows, 3, generator=torch.Generator().manual_seed(step)) + 0.5


def learn(rows: RowAdamW, used: list[int], gradient: torch.Tensor, lr: float) -> None:
    rows.take(torch.tensor(used)).mul(gradient).sum().backward()
    rows.step(lr, None)


def test_with_all_rows_used_it_is_torchs() -> None:
    ours, theirs = torch.ones(4, 3), nn.Parameter(torch.ones(4, 3))
    rows, reference = RowAdamW(ours, 4, 0.1), torch.optim.AdamW([theirs], weight_decay=0.1)
    for step in range(6):
        learn(rows, [0, 1, 2, 3], gradient(step), 0.01)
        theirs.grad = gradient(step)
        reference.param_groups[0]["lr"] = 0.01
        reference.step()
        torch.testing.assert_close(ours, theirs.detach(), rtol=1e-6, atol=1e-7)


def test_rows_that_are_not_used_rest() -> None:
    matrix = torch.ones(4, 3)
    rows = RowAdamW(matrix, 2, 0.1)
    learn(rows, [1, 3], torch.ones(2, 3), 0.01)
    # Half of the rows: the rate is 0.01 sqrt(2), the decay 0.1 sqrt(2); the first means, taken for half a step's, are
    # 1 - 0.9^2 and 1 - 0.999^2 of the gradient, over 1 - 0.9 and 1 - 0.999.
    moved = 1.0 - 0.01 * 2**0.5 * 0.1 * 2**0.5 - 0.01 * 2**0.5 * (0.19 / 0.1) / ((0.001999 / 0.001) ** 0.5)
    torch.testing.assert_close(matrix, torch.tensor([1.0, moved, 1.0, moved])[:, None].expand(4, 3))
    for moments, share in ((rows.mean, 0.19), (rows.square, 0.001999)):
        torch.testing.assert_close(moments, share * torch.tensor([0.0, 1.0, 0.0, 1.0])[:, None].expand(4, 3))


@pytest.mark.parametrize("of", [2, 5])
def test_rows_used_now_and_then_come_to_where_all_steps_of_torchs_bring_them(of: int) -> None:
    # Every row once in so many steps, in turn; between its gradients torch's row goes on by its momentum.
    ours, theirs = torch.ones(of, 3), nn.Parameter(torch.ones(of, 3))
    rows, reference = RowAdamW(ours, 1, 0.1), torch.optim.AdamW([theirs], lr=0.002, weight_decay=0.1)
    start = ours.clone()
    for step in range(200 * of):
        row, g = step % of, gradient(step, 1)
        learn(rows, [row], g, 0.002)
        theirs.grad = torch.zeros(of, 3)
        theirs.grad[row] = g
        reference.step()
    assert (start - ours).min() > 0.2
    torch.testing.assert_close(ours, theirs.detach(), rtol=0.0, atol=0.04 * float((start - ours).max()))


def test_clipping_counts_its_gradient_too() -> None:
    # Two gradients of norms 3 and 4 are one of 5, which comes to 1: a first step of AdamW is lr whatever its gradient,
    # so the moments are looked at.
    vector, rows = nn.Parameter(torch.zeros(1)), RowAdamW(torch.zeros(2, 1), 2, 0.0)
    optimiser = AdamW([vector], 0.0, rows)
    vector.grad = torch.tensor([3.0])
    (rows.take(torch.tensor([0, 1])) * torch.tensor([[4.0], [0.0]])).sum().backward()
    optimiser.step(0.01, clip=1.0)
    torch.testing.assert_close(optimiser.mean[1][0], torch.tensor([0.1 * 3.0 / 5.0]))
    torch.testing.assert_close(rows.mean, torch.tensor([[0.1 * 4.0 / 5.0], [0.0]]))


def test_goes_on_exactly_from_its_state() -> None:
    straight, interrupted = torch.ones(4, 3), torch.ones(4, 3)
    vectors = nn.Parameter(torch.zeros(1)), nn.Parameter(torch.zeros(1))
    optimiser = AdamW([vectors[0]], 0.1, RowAdamW(straight, 2, 0.1))
    first = AdamW([vectors[1]], 0.1, RowAdamW(interrupted, 2, 0.1))
    for step in range(6):
        if step == 3:
            state = first.state_dict()
            first = AdamW([vectors[1]], 0.1, RowAdamW(interrupted, 2, 0.1))
            first.load_state_dict(state)
        for one, vector in ((optimiser, vectors[0]), (first, vectors[1])):
            vector.grad = torch.ones(1)
            (one.rows.take(torch.tensor([step % 3, 3])) * gradient(step, 2)).sum().backward()
            one.step(0.01)
    assert torch.equal(straight, interrupted)
    assert len(first.tensors()) == 6


def test_rows_are_computed_with_in_bfloat16_and_moved_in_float32() -> None:
    matrices = torch.full((4, 3), 1.0 + 2**-12), torch.full((4, 3), 1.0 + 2**-12)
    for matrix, dtype in zip(matrices, (torch.float32, torch.bfloat16)):
        rows = RowAdamW(matrix, 2, 0.1)
        taken = rows.take(torch.tensor([3, 1]), dtype)
        assert taken.dtype == dtype and bool((taken == torch.full((), 1.0 + 2**-12).to(dtype)).all())
        (taken * torch.tensor([[2.0], [-3.0]]).to(dtype)).sum().backward()
        rows.step(0.01, None)
        assert matrix[1, 0] > matrix[0, 0] == 1.0 + 2**-12 == matrix[2, 0] > matrix[3, 0]
    assert torch.equal(*matrices)
