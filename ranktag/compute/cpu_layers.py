"""Layers of a network rearranged for processors: the same function, faster, and the same to the bit by any number of threads."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ranktag.compute.winograd import WinogradConv


def for_processors(layers: nn.Sequential) -> nn.Sequential:
    """The same function in float32, faster and in the same way by any number of threads."""
    return nn.Sequential(
        *(
            WinogradConv(module)
            if WinogradConv.suits(module)
            else PartwiseLinear(module)
            if isinstance(module, nn.Linear)
            else module
            for module in layers
        )
    )


class PartwiseLinear(nn.Module):
    """``nn.Linear`` as several products, of a part of the outputs each.

    Of one product of few rows MKL lets every thread add up a part of each sum, and how many
    threads there are shows in the last bits; these products the threads share among them.
    """

    parts = 16

    def __init__(self, linear: nn.Linear) -> None:
        """``linear``: with a bias and a number of outputs that the parts divide."""
        super().__init__()
        self.weight, self.bias = linear.weight, linear.bias

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs) -> (B, outputs)."""
        weight = self.weight.view(self.parts, -1, x.shape[1]).transpose(1, 2)
        return torch.bmm(x.expand(self.parts, *x.shape), weight).transpose(0, 1).flatten(1).add_(self.bias)


def pool_first(layers: nn.Sequential) -> nn.Sequential:
    """The same function with every ReLU that is followed by a max-pooling behind it: the largest is the same, a quarter is left to clamp."""
    modules = list(layers)
    for place, (first, second) in enumerate(zip(modules, modules[1:])):
        if isinstance(first, nn.ReLU) and isinstance(second, nn.MaxPool2d):
            modules[place : place + 2] = second, first
    return nn.Sequential(*modules)
