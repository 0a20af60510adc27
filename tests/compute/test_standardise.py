"""Standardised features, compiled and by torch's operations."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from ranktag.compute import standardise
from ranktag.compute.standardise import standardise_columns

FLOAT16, FLOAT32, BFLOAT16, FLOAT64 = torch.float16, torch.float32, torch.bfloat16, torch.float64


def drawn(images: int, width: int, kept: int, dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Features, the columns that are kept, mean and scale."""
    generator = torch.Generator().manual_seed(images * 1000 + width)
    features = torch.randn(images, width, generator=generator).mul_(3.0).to(dtype)
    columns = torch.randperm(width, generator=generator)[:kept]
    mean = torch.randn(width, generator=generator)
    return features, columns, mean, torch.rand(width, generator=generator).add_(0.5)


def test_by_hand(way: str) -> None:
    features = torch.tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])
    mean, scale = torch.tensor([1.0, 0.0, 2.0]), torch.tensor([2.0, 1.0, 0.5])
    found = standardise_columns(features, torch.tensor([2, 0]), mean, scale, 3.0, FLOAT32)
    assert found.tolist() == [[6.0, 0.0], [24.0, 4.5]]


@pytest.mark.parametrize("dtype", [FLOAT32, BFLOAT16, FLOAT64])
@pytest.mark.parametrize("stored", [FLOAT16, FLOAT32, BFLOAT16])
# One column; columns fewer and more than are taken at a time.
@pytest.mark.parametrize(("images", "width", "kept"), [(1, 1, 1), (5, 37, 13), (3, 700, 600)])
def test_columns_are_standardised_and_scaled(
    way: str, images: int, width: int, kept: int, stored: torch.dtype, dtype: torch.dtype
) -> None:
    features, columns, mean, scale = drawn(images, width, kept, stored)
    found = standardise_columns(features, columns, mean, scale, width / kept, dtype)
    exact = (features.double() - mean.double()) / scale.double() * (width / kept)
    assert found.dtype == dtype
    share = 2**-8 if dtype == BFLOAT16 else 1e-6
    torch.testing.assert_close(found.double(), exact[:, columns], rtol=share, atol=1e-6 * width / kept)


def test_every_float16_is_read_as_it_is(way: str) -> None:
    bits = torch.arange(65536).to(torch.int32).to(torch.int16)
    features = bits.view(FLOAT16)[None]
    zeros, ones = torch.zeros(65536), torch.ones(65536)
    found = standardise_columns(features, torch.arange(65536), zeros, ones, 1.0, FLOAT32)
    torch.testing.assert_close(found, features.float(), rtol=0.0, atol=0.0, equal_nan=True)


def test_features_with_gaps_in_memory(way: str) -> None:
    features, columns, mean, scale = drawn(8, 40, 10, FLOAT16)
    gaps = torch.stack([features, features], dim=2)[:, :, 0]
    assert not gaps.is_contiguous()
    tight, loose = (standardise_columns(x, columns, mean, scale, 4.0, FLOAT32) for x in (features, gaps))
    assert torch.equal(tight, loose)


@pytest.mark.parametrize("stored", [FLOAT16, FLOAT32])
def test_threads_share_the_rows_out(way: str, stored: torch.dtype) -> None:
    # As many numbers as are worth it, in rows of which one thread gets one more.
    found = []
    before = torch.get_num_threads()
    try:
        for threads in (1, 3):
            torch.set_num_threads(threads)
            found.append(standardise_columns(*drawn(130, 300, 257, stored), 1.5, FLOAT32))
    finally:
        torch.set_num_threads(before)
    assert torch.equal(*found)


@pytest.mark.parametrize(
    ("stored", "dtype", "there_is_one"),
    [(FLOAT16, BFLOAT16, True), (FLOAT32, FLOAT32, True), (BFLOAT16, FLOAT32, False), (FLOAT32, FLOAT64, False)],
)
def test_the_kernel_is_called_where_there_is_one(
    way: str, stored: torch.dtype, dtype: torch.dtype, there_is_one: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    called = []

    class Counting:
        @staticmethod
        def standardise(*arguments: object) -> None:
            called.append(arguments)

    monkeypatch.setattr(standardise, "kernels", Counting)
    standardise_columns(*drawn(3, 4, 2, stored), 2.0, dtype)
    assert bool(called) is (way == "compiled" and there_is_one)
