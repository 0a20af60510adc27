"""A network of stage one that computes in no time: mean colours of 64 squares, seeded, times a fixed matrix.

As a program it is ``ranktag`` with that network in VGG's place; SECONDS_PER_BATCH in
the environment makes it slow enough to be interrupted.
"""

from __future__ import annotations

import os
import sys
import time
from typing import Any

import torch
from torch import nn

import ranktag.features.network
from ranktag.features.backbones import vgg16
from ranktag.features.network import Network
from ranktag.pipelines import cli
from ranktag.pipelines.shared.running import run


class Slow(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        time.sleep(float(os.environ.get("SECONDS_PER_BATCH", "0")))
        return x


def tiny_network(scale: float = 1.0, bias: float = 0.0) -> Network:
    """Features of about ``scale``, plus ``bias``; float32 on the processor."""
    linear = nn.Linear(3 * 64, 4096)
    with torch.no_grad():
        linear.weight.copy_(torch.randn(4096, 3 * 64, generator=torch.Generator().manual_seed(0)).mul_(scale * 0.1))
        linear.bias.fill_(bias)
    layers = nn.Sequential(nn.AvgPool2d(28), Slow(), nn.Flatten(), linear, nn.ReLU())
    return Network(layers, vgg16.BACKBONE.preprocessing, "0" * 64, torch.device("cpu"), torch.float32)


def load_tiny(*arguments: Any, **named: Any) -> Network:
    """In place of ``ranktag.features.network.load_network``."""
    return tiny_network()


if __name__ == "__main__":
    ranktag.features.network.load_network = load_tiny
    sys.exit(run(cli.group, "ranktag", sys.argv[1:]))
