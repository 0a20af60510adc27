"""The learning rate, step by step."""

from __future__ import annotations

import math


def learning_rate(step: int, total: int, warmup: int, highest: float, cosine: bool) -> float:
    """Rate of ``step`` (from 0) of ``total``: a linear rise over ``warmup`` steps, then flat or down a cosine to 0."""
    if step < warmup:
        return highest * (step + 1) / warmup
    return highest * 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, total - warmup))) if cosine else highest
