"""Pixels that are looked up are those that are computed, to the bit."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from ranktag.compute.pixel_table import PixelTable
from ranktag.features.network import MANY, Network
from ranktag.images.pixels import Preprocessing

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def computed(pixels: Tensor, dtype: torch.dtype) -> Tensor:
    return pixels.float().div(255).sub(torch.tensor(MEAN)).div(torch.tensor(STD)).to(dtype)


def every_level(images: int, crop: int) -> Tensor:
    """Pictures in which every byte stands in every place of a pair and of a pixel."""
    generator = np.random.default_rng(0)
    pixels = np.empty((images, crop, crop, 3), np.uint8)
    for start in (0, 1):
        for colour in range(3):
            places = pixels[:, :, start::2, colour]
            places[:] = (generator.permutation(places.size) % 256).reshape(places.shape)
    return torch.from_numpy(pixels)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
@pytest.mark.parametrize("threads", [1, 3])
def test_it_is_what_is_computed_to_the_bit(way: str, dtype: torch.dtype, threads: int) -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        pixels = every_level(5, 26)
        found = PixelTable(MEAN, STD, dtype)(pixels)
    finally:
        torch.set_num_threads(before)
    assert found.dtype == dtype and torch.equal(found, computed(pixels, dtype))


def test_two_pixels_by_hand(way: str) -> None:
    found = PixelTable((0.0, 0.0, 0.5), (1.0, 0.5, 0.25), torch.float32)(
        torch.tensor([[[[255, 0, 51], [0, 255, 255]]]], dtype=torch.uint8)
    )
    assert found[0, 0, 0].tolist() == pytest.approx([1.0, 0.0, -1.2]) and found[0, 0, 1].tolist() == [0.0, 2.0, 2.0]


def test_the_pixels_need_not_lie_together(way: str) -> None:
    pixels = every_level(20, 26).view(4, 5, 26, 26, 3)[:, 2]
    assert not pixels.is_contiguous()
    assert torch.equal(PixelTable(MEAN, STD, torch.bfloat16)(pixels), computed(pixels, torch.bfloat16))


@pytest.mark.parametrize("crop", [26, 27])
def test_a_network_is_given_the_same_by_table_and_by_arithmetic(way: str, crop: int) -> None:
    """Few pictures are computed, and those whose bytes are no whole pairs."""
    rules = Preprocessing(crop, crop, "bilinear", MEAN, STD)
    network = Network(nn.Identity(), rules, "", torch.device("cpu"), torch.bfloat16)
    pixels = every_level(MANY, crop)
    many, few = network.normalise(pixels), network.normalise(pixels[: MANY - 1])
    assert torch.equal(many, computed(pixels, torch.bfloat16).permute(0, 3, 1, 2)) and torch.equal(many[:-1], few)
    assert many.is_contiguous(memory_format=torch.channels_last)
