"""The layers of a network rearranged for the machine: the same function, faster."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ranktag.compute.clamped_conv import clamp_within
from ranktag.compute.winograd import WinogradConv

# Images that a processor convolves together, for each of its threads: one would be slower, more are not faster.
IMAGES_A_THREAD = 2


def arrange(layers: nn.Module, device: torch.device, dtype: torch.dtype) -> nn.Module:
    """The layers as ``device`` computes them fastest in ``dtype``.

    Only the modules of a plain sequence are known to be computed one after the other; any
    other network is left as it is.

    Everywhere pooling comes before clamping, unless convolutions clamp. On a processor the
    layers before the first ``nn.Flatten`` take a few images at a time. There in bfloat16
    convolutions clamp, and in float32 they are Winograd's and matrices are multiplied in
    parts, so that the features are the same to the bit by any number of threads.
    """
    if type(layers) is not nn.Sequential:
        return layers
    if device.type != "cpu":
        return pool_first(layers)
    return few_at_a_time(pool_first(for_processors(layers) if dtype == torch.float32 else clamp_within(layers, dtype)))


def pool_first(layers: nn.Sequential) -> nn.Sequential:
    """Every ReLU that is followed by a max-pooling comes behind it: the largest is the same, a quarter is to clamp."""
    modules = list(layers)
    for place, (first, second) in enumerate(zip(modules, modules[1:])):
        if isinstance(first, nn.ReLU) and isinstance(second, nn.MaxPool2d):
            modules[place : place + 2] = second, first
    return nn.Sequential(*modules)


def for_processors(layers: nn.Sequential) -> nn.Sequential:
    """The same function in float32, faster and in the same way by any number of threads."""
    return nn.Sequential(*map(_for_processors, layers))


def _for_processors(module: nn.Module) -> nn.Module:
    if isinstance(module, nn.Conv2d) and WinogradConv.suits(module):
        return WinogradConv(module)
    if isinstance(module, nn.Linear) and PartwiseLinear.suits(module):
        return PartwiseLinear(module)
    return module


class PartwiseLinear(nn.Module):
    """``nn.Linear`` as several products, of a part of the outputs each.

    Of one product of few rows MKL lets every thread add up a part of each sum, and how many
    threads there are shows in the last bits; these products the threads share among them.
    """

    parts = 16

    def __init__(self, linear: nn.Linear) -> None:
        """``linear``: see ``suits``."""
        super().__init__()
        self.weight, self.bias = linear.weight, linear.bias

    @classmethod
    def suits(cls, linear: nn.Linear) -> bool:
        """Whether it has a bias and a number of outputs that the parts divide."""
        return linear.bias is not None and linear.out_features % cls.parts == 0

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs) -> (B, outputs)."""
        weight = self.weight.view(self.parts, -1, x.shape[1]).transpose(1, 2)
        return torch.bmm(x.expand(self.parts, *x.shape), weight).transpose(0, 1).flatten(1).add_(self.bias)


def few_at_a_time(layers: nn.Sequential) -> nn.Sequential:
    """What comes before the first ``nn.Flatten``, and it, computed for a few images at a time."""
    modules = list(layers)
    count = next((n for n, module in enumerate(modules, 1) if isinstance(module, nn.Flatten)), 0)
    return nn.Sequential(FewAtATime(nn.Sequential(*modules[:count])), *modules[count:]) if count else layers


class FewAtATime(nn.Module):
    """Layers that take a batch in parts: processors convolve a few images as fast as many, in far less memory.

    The matrices behind them are read once a batch.
    """

    def __init__(self, layers: nn.Sequential) -> None:
        super().__init__()
        self.layers = layers

    def forward(self, x: Tensor) -> Tensor:
        """(B, ...) -> (B, ...)."""
        together = IMAGES_A_THREAD * torch.get_num_threads()
        return torch.cat([self.layers(few) for few in x.split(together)])
