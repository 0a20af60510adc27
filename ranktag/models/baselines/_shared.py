"""What the baselines share: their form, what they learn to predict, and rows a block at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, fields
from typing import Any, ClassVar, TypeVar

import torch
from torch import Tensor, nn

from ranktag.models.ranking import ExpectedGains
from ranktag.training_data.examples import Examples

BLOCK = 1024

# Checkpoints of ranktag before 2026-12 hold these of every baseline, whichever it is.
FORMERLY_SHARED = ("images", "neighbours", "sharpness", "penalty")

Score = Callable[[Tensor], float]
C = TypeVar("C", bound="BaselineConfig")


@dataclass(frozen=True)
class BaselineConfig:
    """How large a baseline is: features D, vocabulary V. One that has more sizes, or settings it chose, adds them."""

    features: int
    vocabulary: int

    @classmethod
    def read(cls: type[C], values: Mapping[str, Any]) -> C:
        """The config in a checkpoint. Raises TypeError for one of other names."""
        own = {f.name for f in fields(cls)}
        return cls(**{name: value for name, value in values.items() if name in own or name not in FORMERLY_SHARED})


@dataclass(frozen=True)
class Attempt:
    """One setting tried on the validation images, and their NDCG@5."""

    setting: str
    score: float


class Baseline(nn.Module):
    """A model without an LSTM. All that it learned stands in its state dict, which a checkpoint holds."""

    Config: ClassVar[type[BaselineConfig]] = BaselineConfig

    def __init__(self, config: BaselineConfig) -> None:
        super().__init__()
        self.config = config

    def predict(self, features: Tensor) -> ExpectedGains:
        """From (B, D) raw features: the expected gain of every tag, by which tags are ranked (the tag at rank r gains
        1/log2(1+r)), P(tag in the list), and the list's expected length."""
        raise NotImplementedError


def targets(examples: Examples) -> tuple[Tensor, Tensor]:
    """Mean over an image's people who gave tags of a tag's gain, and of its presence: both (N, V) float32."""
    gain = torch.zeros(len(examples.people), len(examples.known))
    presence = torch.zeros_like(gain)
    for n, lists in enumerate(examples.people):
        people = [tags for tags in lists if tags]
        for tags in people:
            numbers = examples.known.encode(tags)
            ranks = torch.arange(1, len(numbers) + 1)
            gain[n, numbers] += 1.0 / torch.log2(1.0 + ranks) / len(people)
            presence[n, numbers] += 1.0 / len(people)
    return gain, presence


def blocks(rows: Tensor) -> Iterator[Tensor]:
    """The rows of a tensor, at most BLOCK at a time."""
    return iter(rows.split(BLOCK))
