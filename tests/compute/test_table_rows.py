"""Rows of a table and its gradient, compiled and by torch's operations."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from ranktag.compute import table_rows
from ranktag.compute.table_rows import embed, take_rows

FLOAT32, BFLOAT16, FLOAT64 = torch.float32, torch.bfloat16, torch.float64


def drawn(rows: int, taken: int, width: int) -> tuple[Tensor, Tensor]:
    """A table, and which of its rows are taken, some of them several times and some never."""
    generator = torch.Generator().manual_seed(rows * 1000 + width)
    table = torch.randn(rows, width, generator=generator)
    return table, torch.randint(max(1, rows - 1), (taken,), generator=generator)


@pytest.mark.parametrize("dtype", [FLOAT32, BFLOAT16, FLOAT64])
@pytest.mark.parametrize(("rows", "taken", "width"), [(1, 1, 1), (5, 12, 17), (21, 64, 128)])
def test_rows_are_taken_and_their_gradients_added_up(
    way: str, rows: int, taken: int, width: int, dtype: torch.dtype
) -> None:
    table, which = drawn(rows, taken, width)
    table.requires_grad_()
    found = embed(table, which, dtype)
    assert torch.equal(found, table[which].to(dtype)) and torch.equal(take_rows(table.detach(), which, dtype), found)
    grad = torch.randn(taken, width, generator=torch.Generator().manual_seed(1)).to(dtype)
    found.backward(grad)
    expected = torch.zeros(rows, width, dtype=FLOAT64).index_add_(0, which, grad.double())
    assert table.grad is not None
    # In the table's type: of bfloat16's eight bits sums would lose some.
    torch.testing.assert_close(table.grad.double(), expected, rtol=1e-6, atol=1e-6)


def test_with_gaps_in_memory(way: str) -> None:
    table, which = drawn(6, 9, 20)
    turned, gaps = table.t().contiguous().t().requires_grad_(), torch.stack([which, which], dim=1)[:, 0]
    assert not turned.is_contiguous() and not gaps.is_contiguous()
    found = embed(turned, gaps, FLOAT32)
    assert torch.equal(found, table[which])
    found.t().backward(torch.ones(20, 9))
    assert turned.grad is not None
    assert torch.equal(turned.grad, torch.bincount(which, minlength=6)[:, None].expand(6, 20).float())


@pytest.mark.parametrize("dtype", [FLOAT32, BFLOAT16])
def test_threads_share_the_numbers_out(way: str, dtype: torch.dtype) -> None:
    # As many numbers as are worth it; rows and columns of which one thread gets more.
    found = []
    before = torch.get_num_threads()
    try:
        for threads in (1, 3):
            torch.set_num_threads(threads)
            table, which = drawn(7, 331, 100)
            rows = embed(table.requires_grad_(), which, dtype)
            rows.backward(rows.detach())
            found.append((rows.detach(), table.grad))
    finally:
        torch.set_num_threads(before)
    torch.testing.assert_close(*found, rtol=0.0, atol=0.0)


@pytest.mark.parametrize("dtype", [FLOAT32, BFLOAT16, FLOAT64])
def test_the_kernel_is_called_where_there_is_one(way: str, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    called = []

    class Counting:
        @staticmethod
        def take_table_rows(*arguments: object) -> None:
            called.append("forward")

        @staticmethod
        def add_table_rows(*arguments: object) -> None:
            called.append("backward")

    monkeypatch.setattr(table_rows, "kernels", Counting)
    table, which = drawn(3, 4, 2)
    embed(table.requires_grad_(), which, dtype).sum().backward()
    assert called == (["forward", "backward"] if way == "compiled" and dtype != FLOAT64 else [])
