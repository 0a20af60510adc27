"""Tag transfer from the training images that look most alike."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from ranktag.models.baselines._shared import Attempt, Baseline, BaselineConfig, Score, blocks, targets
from ranktag.models.ranking import ExpectedGains
from ranktag.training_data.examples import Examples

# Tried on the validation images; the best is kept.
NEIGHBOURS = (5, 10, 20, 30, 50, 100, 200)
SHARPNESS = (0.0, 8.0, 32.0)


@dataclass(frozen=True)
class KnnConfig(BaselineConfig):
    """images: M training images that are kept. neighbours: k. sharpness: of their weights."""

    images: int
    neighbours: int
    sharpness: float


class Model(Baseline):
    """Mean gain and presence over the k nearest training images by cosine, weighted by exp(sharpness x cosine).

    Buffers, of the M training images: ``directions`` (M, D) float16, features of length 1;
    ``gain``, ``presence`` (M, V).
    """

    Config = KnnConfig
    config: KnnConfig
    directions: Tensor
    gain: Tensor
    presence: Tensor

    def __init__(self, config: KnnConfig) -> None:
        super().__init__(config)
        self.register_buffer("directions", torch.zeros(config.images, config.features, dtype=torch.float16))
        self.register_buffer("gain", torch.zeros(config.images, config.vocabulary))
        self.register_buffer("presence", torch.zeros(config.images, config.vocabulary))

    def nearest(self, features: Tensor, k: int) -> tuple[Tensor, Tensor]:
        """Cosines and numbers (B, k) of the nearest training images, nearest first; at most B x BLOCK at once."""
        directions = F.normalize(features.float())
        best = features.new_zeros((len(features), 0), dtype=torch.float32)
        number = torch.zeros((len(features), 0), dtype=torch.int64, device=features.device)
        start = 0
        for block in blocks(self.directions):
            cosine = torch.cat([best, directions @ block.float().t()], dim=1)
            numbers = torch.arange(start, start + len(block), device=features.device).expand(len(features), -1)
            best, at = cosine.topk(min(k, cosine.shape[1]), dim=1)
            number = torch.cat([number, numbers], dim=1).gather(1, at)
            start += len(block)
        return best, number

    def vote(self, cosine: Tensor, number: Tensor, sharpness: float) -> tuple[Tensor, Tensor]:
        """Expected gain and presence from the neighbours' cosines and numbers (B, k)."""
        weight = torch.softmax(sharpness * cosine, dim=1)[:, None]
        return (weight @ self.gain[number]).squeeze(1), (weight @ self.presence[number]).squeeze(1)

    def predict(self, features: Tensor) -> ExpectedGains:
        """See ``Baseline``."""
        k, sharpness = self.config.neighbours, self.config.sharpness
        votes = [self.vote(*self.nearest(block, k), sharpness) for block in blocks(features)]
        gain, presence = (torch.cat(parts) for parts in zip(*votes))
        return ExpectedGains(gain, presence, presence.sum(dim=1))


def fit(training: Examples, validation: Examples, score: Score) -> tuple[Model, Sequence[Attempt]]:
    """Keep the training images; choose k and sharpness by ``score`` of the validation images."""
    gain, presence = targets(training)
    config = KnnConfig(training.features.shape[1], len(training.known), len(gain), neighbours=0, sharpness=0.0)
    model = Model(config)
    model.directions = torch.cat([F.normalize(block).half().cpu() for _, block in training.blocks()])
    model.gain, model.presence = gain, presence
    most = min(max(NEIGHBOURS), len(gain))
    found = [model.nearest(part.cpu(), most) for _, block in validation.blocks() for part in blocks(block)]
    cosine, number = (torch.cat(parts) for parts in zip(*found))
    attempts = {}
    for k, sharpness in itertools.product(sorted({min(k, most) for k in NEIGHBOURS}), SHARPNESS):
        pairs = zip(blocks(cosine[:, :k]), blocks(number[:, :k]))
        expected = torch.cat([model.vote(c, n, sharpness)[0] for c, n in pairs])
        attempts[k, sharpness] = Attempt(f"neighbours={k}, sharpness={sharpness:g}", score(expected))
    k, sharpness = max(attempts, key=lambda setting: attempts[setting].score)
    model.config = replace(config, neighbours=k, sharpness=sharpness)
    return model, list(attempts.values())
