"""Layers arranged for the machine are the same function."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from ranktag.compute import clamped_conv
from ranktag.compute.clamped_conv import ClampedConv
from ranktag.compute.cpu_layers import FewAtATime, PartwiseLinear, arrange
from ranktag.compute.winograd import WinogradConv


def network(outputs: int) -> nn.Sequential:
    torch.manual_seed(0)
    layers = nn.Sequential(
        nn.Conv2d(3, 64, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(64, 128, 3, padding=1),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(2),
        nn.Flatten(),
        nn.Linear(512, outputs),
        nn.ReLU(),
    )
    return layers.requires_grad_(False)


@pytest.mark.parametrize("outputs", [32, 10])
def test_on_a_processor_it_is_the_same_function_of_other_layers(outputs: int) -> None:
    layers = network(outputs)
    arranged = arrange(layers, torch.device("cpu"), torch.float32)
    kinds = [type(module) for module in arranged.modules()]
    assert FewAtATime in kinds and WinogradConv in kinds
    # Sixteen parts do not divide ten outputs.
    assert (PartwiseLinear in kinds) is (outputs == 32) and (nn.Linear in kinds) is (outputs == 10)
    x = torch.randn(11, 3, 16, 20)
    torch.testing.assert_close(arranged(x), layers(x), rtol=1e-4, atol=1e-4)


def test_in_another_type_the_batch_is_taken_in_parts_and_convolutions_clamp() -> None:
    layers = network(32)
    arranged = arrange(layers, torch.device("cpu"), torch.bfloat16)
    kinds = [type(module) for module in arranged.modules()]
    assert FewAtATime in kinds and WinogradConv not in kinds and PartwiseLinear not in kinds
    assert (ClampedConv in kinds) is clamped_conv._offered(torch.bfloat16)
    arranged.bfloat16()
    layers.bfloat16()
    x = torch.randn(11, 3, 16, 20).bfloat16()
    torch.testing.assert_close(arranged(x), layers(x), rtol=0.05, atol=0.05)


def test_a_part_is_a_few_images_and_the_matrices_see_the_whole_batch() -> None:
    seen: dict[str, list[int]] = {"convolutions": [], "matrices": []}

    class Counts(nn.Module):
        def __init__(self, where: str) -> None:
            super().__init__()
            self.where = where

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            seen[self.where].append(len(x))
            return x

    layers = nn.Sequential(Counts("convolutions"), nn.Flatten(), Counts("matrices"))
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        arrange(layers, torch.device("cpu"), torch.float32)(torch.zeros(10, 3, 2, 2))
        arrange(layers, torch.device("cuda"), torch.float32)(torch.zeros(10, 3, 2, 2))
    finally:
        torch.set_num_threads(threads)
    assert seen == {"convolutions": [4, 4, 2, 10], "matrices": [10, 10]}


@pytest.mark.parametrize(("device", "dtype"), [("cpu", torch.float32), ("cuda", torch.bfloat16)])
def test_pooling_comes_before_clamping(device: str, dtype: torch.dtype) -> None:
    arranged = arrange(network(32), torch.device(device), dtype)
    kinds = [type(module) for module in arranged.modules()]
    assert kinds.index(nn.MaxPool2d) < kinds.index(nn.ReLU)
