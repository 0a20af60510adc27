"""A moving average of weights in training: what is validated and kept."""

from __future__ import annotations

import torch
from torch import nn

# After its first steps it is updated once in several: it moves slowly, and each pass costs time.
EVERY = 8
AT_EACH_OF_THE_FIRST = 64


@torch.no_grad()
def follow(average: nn.Module, weights: nn.Module, decay: float, step: int) -> None:
    """average = decay average + (1 - decay) weights, after the ``step``-th step of the training, from 0.

    It follows fast at first, or it would remember the untrained weights.
    """
    every = EVERY if step >= AT_EACH_OF_THE_FIRST else 1
    if (step + 1) % every == 0:
        share = 1.0 - min(decay, (1 + step) / (10 + step)) ** every
        torch._foreach_lerp_(list(average.parameters()), list(weights.parameters()), share)
