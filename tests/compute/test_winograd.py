"""Winograd's convolutions against torch's."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from ranktag.compute.winograd import A_T, B_T, TILES, G, WinogradConv


@settings(max_examples=40, deadline=None)
@given(
    images=st.integers(1, 3),
    channels=st.sampled_from([1, 3, 64]),
    filters=st.sampled_from([1, 5, 128]),
    height=st.integers(1, 20),
    width=st.integers(1, 20),
    bias=st.booleans(),
    seed=st.integers(0, 2**31),
)
def test_it_is_the_same_function(
    images: int, channels: int, filters: int, height: int, width: int, bias: bool, seed: int
) -> None:
    torch.manual_seed(seed)
    conv = nn.Conv2d(channels, filters, 3, padding=1, bias=bias).requires_grad_(False)
    x = torch.randn(images, channels, height, width)
    # In float64 torch's own convolution is exact as far as float32 can tell.
    expected = conv.double()(x.double())
    ours = WinogradConv(conv)(x.contiguous(memory_format=torch.channels_last))
    assert ours.is_contiguous(memory_format=torch.channels_last) and ours.dtype == torch.float32
    torch.testing.assert_close(ours.double(), expected, rtol=1e-5, atol=3e-5)


def test_more_tiles_than_are_worked_on_together() -> None:
    torch.manual_seed(0)
    conv = nn.Conv2d(2, 3, 3, padding=1).requires_grad_(False)
    x = torch.randn(7, 2, 36, 36)
    assert 9 * 9 * 3 <= TILES < 9 * 9 * 4
    together = WinogradConv(conv)(x)
    torch.testing.assert_close(together, conv(x), rtol=1e-4, atol=1e-5)
    # What else is in a batch changes nothing.
    assert torch.equal(WinogradConv(conv)(x[3:6]), together[3:6])


def test_the_transforms_filter_one_dimension_as_the_paper_says() -> None:
    d, g = torch.tensor([3.0, 1, 4, 1, 5, 9], dtype=torch.float64), torch.tensor([2.0, 7, 1], dtype=torch.float64)
    y = A_T.double() @ ((G @ g) * (B_T.double() @ d))
    # By hand: 3*2 + 1*7 + 4*1, 1*2 + 4*7 + 1*1, 4*2 + 1*7 + 5*1, 1*2 + 5*7 + 9*1.
    torch.testing.assert_close(y, torch.tensor([17.0, 31, 20, 46], dtype=torch.float64))


@pytest.mark.parametrize(
    ("module", "suits"),
    [
        (nn.Conv2d(64, 128, 3, padding=1), True),
        (nn.Conv2d(64, 64, 3, padding=1), False),
        (nn.Conv2d(3, 256, 3, padding=1), False),
        (nn.Conv2d(64, 128, 3), False),
        (nn.Conv2d(64, 128, 3, padding=1, stride=2), False),
        (nn.Conv2d(64, 128, 3, padding=1, groups=2), False),
        (nn.Conv2d(64, 128, 1, padding=1), False),
        (nn.ReLU(), False),
    ],
)
def test_it_is_used_where_it_is_the_same_and_worth_it(module: nn.Module, suits: bool) -> None:
    assert WinogradConv.suits(module) is suits
