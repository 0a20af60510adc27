"""Models without an LSTM, to compare with: the popular tags, the neighbours' tags, and a ridge regression.

Each ``predict``s, from (B, D) raw features, ``ExpectedGains``: the expected gain of every
tag, by which tags are ranked (the tag at rank r gains 1/log2(1+r)), P(tag in the list)
and the list's expected length. All that is learned stands in buffers, so a checkpoint
holds it like the weights of an LSTM.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ranktag.models.ranking import ExpectedGains
from ranktag.training_data.examples import Examples, standardisation

# Tried on the validation images; the best is kept.
NEIGHBOURS = (5, 10, 20, 30, 50, 100, 200)


SHARPNESS = (0.0, 8.0, 32.0)


# In units of the mean eigenvalue of the Gram matrix.
PENALTIES = tuple(10.0 ** (exponent / 4) for exponent in range(-8, 13))


BLOCK = 1024


Score = Callable[[Tensor], float]


@dataclass(frozen=True)
class BaselineConfig:
    """What was chosen and how large it is: features D, vocabulary V, images M (training images that knn keeps)."""

    features: int
    vocabulary: int
    images: int = 0
    neighbours: int = 0
    sharpness: float = 0.0
    penalty: float = 0.0


@dataclass(frozen=True)
class Trial:
    """One setting tried on the validation images."""

    setting: str
    score: float


class Popularity(nn.Module):
    """The same list for every image: tags by their mean gain over the training lists."""

    gain: Tensor
    presence: Tensor

    def __init__(self, config: BaselineConfig) -> None:
        super().__init__()
        self.config = config
        self.register_buffer("gain", torch.zeros(config.vocabulary))
        self.register_buffer("presence", torch.zeros(config.vocabulary))

    def predict(self, features: Tensor) -> ExpectedGains:
        """See the module."""
        n = len(features)
        return ExpectedGains(self.gain.expand(n, -1), self.presence.expand(n, -1), self.presence.sum().expand(n))


class Neighbours(nn.Module):
    """Tag transfer: mean gain and presence over the k nearest training images by cosine, weighted by exp(sharpness x cosine)."""

    directions: Tensor
    gain: Tensor
    presence: Tensor

    def __init__(self, config: BaselineConfig) -> None:
        super().__init__()
        self.config = config
        self.register_buffer("directions", torch.zeros(config.images, config.features, dtype=torch.float16))
        self.register_buffer("gain", torch.zeros(config.images, config.vocabulary))
        self.register_buffer("presence", torch.zeros(config.images, config.vocabulary))

    def nearest(self, features: Tensor, k: int) -> tuple[Tensor, Tensor]:
        """Cosines and numbers (B, k) of the nearest training images, nearest first; never more than B x BLOCK cosines at once."""
        directions = F.normalize(features.float())
        best = features.new_zeros((len(features), 0), dtype=torch.float32)
        number = torch.zeros((len(features), 0), dtype=torch.int64, device=features.device)
        for start, block in _blocks(self.directions):
            cosine = torch.cat([best, directions @ block.float().t()], dim=1)
            numbers = torch.arange(start, start + len(block), device=features.device).expand(len(features), -1)
            best, at = cosine.topk(min(k, cosine.shape[1]), dim=1)
            number = torch.cat([number, numbers], dim=1).gather(1, at)
        return best, number

    def vote(self, cosine: Tensor, number: Tensor, sharpness: float) -> tuple[Tensor, Tensor]:
        """Expected gain and presence from the neighbours' cosines and numbers (B, k)."""
        weight = torch.softmax(sharpness * cosine, dim=1)[:, None]
        return (weight @ self.gain[number]).squeeze(1), (weight @ self.presence[number]).squeeze(1)

    def predict(self, features: Tensor) -> ExpectedGains:
        """See the module."""
        votes = [
            self.vote(*self.nearest(block, self.config.neighbours), self.config.sharpness)
            for _, block in _blocks(features)
        ]
        gain, presence = (torch.cat(parts) for parts in zip(*votes))
        return ExpectedGains(gain, presence, presence.sum(dim=1))


class Ridge(nn.Module):
    """Ridge regression of gain and presence on standardised features."""

    mean: Tensor
    scale: Tensor
    weight: Tensor
    bias: Tensor

    def __init__(self, config: BaselineConfig) -> None:
        super().__init__()
        self.config = config
        self.register_buffer("mean", torch.zeros(config.features))
        self.register_buffer("scale", torch.ones(config.features))
        self.register_buffer("weight", torch.zeros(config.features, 2 * config.vocabulary))
        self.register_buffer("bias", torch.zeros(2 * config.vocabulary))

    def predict(self, features: Tensor) -> ExpectedGains:
        """See the module."""
        y = ((features.float() - self.mean) / self.scale) @ self.weight + self.bias
        gain, presence = y.chunk(2, dim=1)
        # The sum of the regressions is the regression of the sum: the length before each is cut to a probability.
        return ExpectedGains(gain, presence.clamp(0.0, 1.0), presence.sum(dim=1).clamp(min=0.0))


BASELINES: dict[str, Any] = {"popularity": Popularity, "knn": Neighbours, "linear": Ridge}


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


def fit_popularity(training: Examples) -> Popularity:
    """Mean gain and presence over the training lists."""
    gain, presence = targets(training)
    model = Popularity(BaselineConfig(training.features.shape[1], len(training.known)))
    model.gain, model.presence = gain.mean(0), presence.mean(0)
    return model


def fit_neighbours(training: Examples, validation: Examples, score: Score) -> tuple[Neighbours, list[Trial]]:
    """Keep the training images; choose k and sharpness by ``score`` of the validation images' expected gains (N, V)."""
    gain, presence = targets(training)
    config = BaselineConfig(training.features.shape[1], len(training.known), images=len(gain))
    model = Neighbours(config)
    model.directions = torch.cat([F.normalize(block).half().cpu() for _, block in training.blocks()])
    model.gain, model.presence = gain, presence
    most = min(max(NEIGHBOURS), len(gain))
    found = [model.nearest(part.cpu(), most) for _, block in validation.blocks() for _, part in _blocks(block)]
    cosine, number = (torch.cat(parts) for parts in zip(*found))
    trials = []
    for k, sharpness in itertools.product(sorted({min(k, most) for k in NEIGHBOURS}), SHARPNESS):
        votes = [
            model.vote(c[:, :k], n[:, :k], sharpness)[0] for (_, c), (_, n) in zip(_blocks(cosine), _blocks(number))
        ]
        trials.append((Trial(f"neighbours={k}, sharpness={sharpness:g}", score(torch.cat(votes))), k, sharpness))
    _, k, sharpness = max(trials, key=lambda trial: trial[0].score)
    model.config = BaselineConfig(config.features, config.vocabulary, config.images, neighbours=k, sharpness=sharpness)
    return model, [trial for trial, *_ in trials]


def fit_ridge(training: Examples, validation: Examples, score: Score) -> tuple[Ridge, list[Trial]]:
    """Solve W = (X'X + penalty I)^-1 X'Y for every penalty at once and keep the best by ``score`` on the validation images.

    One eigendecomposition serves all penalties: of X'X (D, D) or, where there are
    fewer images than features, of XX' (N, N), whose W = X'(XX' + penalty I)^-1 Y is the same.
    """
    gain, presence = targets(training)
    y = torch.cat([gain, presence], dim=1)
    bias = y.mean(0)
    y = (y - bias).double()
    mean, scale = (part.cpu() for part in standardisation(training))

    def rows(examples: Examples) -> Iterator[Tensor]:
        for _, block in examples.blocks():
            yield (block.cpu() - mean) / scale

    n, dim = y.shape[0], mean.shape[0]
    if n <= dim:
        x = torch.cat(list(rows(training)))
        value, basis = torch.linalg.eigh((x @ x.t()).double())
        # W = X' Q (L + penalty)^-1 Q'Y
        left, right = x.t() @ basis.float(), basis.t() @ y
    else:
        gram = torch.zeros(dim, dim, dtype=torch.float64)
        product = torch.zeros(dim, y.shape[1], dtype=torch.float64)
        start = 0
        for block in rows(training):
            gram += block.t() @ block
            product += block.t().double() @ y[start : start + len(block)]
            start += len(block)
        value, basis = torch.linalg.eigh(gram)
        left, right = basis.float(), basis.t() @ product
    # Validation predictions for any penalty are one small product away.
    seen = torch.cat([block @ left for block in rows(validation)])
    unit = float(value.clamp(min=0).mean()) or 1.0
    trials = []
    for penalty in PENALTIES:
        solved = (right / (value + penalty * unit)[:, None]).float()
        trials.append(
            (
                Trial(f"penalty={penalty:g}", score(seen @ solved[:, : gain.shape[1]] + bias[: gain.shape[1]])),
                penalty,
                solved,
            )
        )
    _, penalty, solved = max(trials, key=lambda trial: trial[0].score)
    model = Ridge(BaselineConfig(dim, len(training.known), penalty=penalty))
    model.mean, model.scale, model.weight, model.bias = mean, scale, left @ solved, bias
    return model, [trial for trial, *_ in trials]


def _blocks(rows: Tensor) -> Iterator[tuple[int, Tensor]]:
    for start in range(0, len(rows), BLOCK):
        yield start, rows[start : start + BLOCK]
