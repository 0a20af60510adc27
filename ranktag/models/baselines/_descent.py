"""Networks that predict numbers from 0 to 1 for every tag, trained by sigmoid cross-entropy."""

from __future__ import annotations

import copy
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ranktag.compute.adamw import AdamW
from ranktag.compute.average import follow
from ranktag.compute.dropout import Dropout
from ranktag.models.baselines._shared import Attempt, Baseline, BaselineConfig, Score, SparseRows
from ranktag.training_data.examples import Examples, standardisation

# Shares of the features dropped in training; tried on the validation images, the best is kept.
DROPOUT = (0.5, 0.7, 0.85)
EPOCHS, BATCH_SIZE, LR, WEIGHT_DECAY, AVERAGE = 40, 128, 1e-3, 0.1, 0.99
# As with the LSTM, single epochs of a few hundred validation images differ by chance.
WINDOW = 5


@dataclass(frozen=True)
class DescentConfig(BaselineConfig):
    """dropout: the share of the features that was dropped in training."""

    dropout: float


class Network(Baseline):
    """Layers, the subclass's, on standardised features. Buffers: ``mean``, ``scale`` (D)."""

    Config = DescentConfig
    config: DescentConfig
    mean: Tensor
    scale: Tensor
    layers: nn.Module

    def __init__(self, config: DescentConfig) -> None:
        super().__init__(config)
        self.register_buffer("mean", torch.zeros(config.features))
        self.register_buffer("scale", torch.ones(config.features))

    def standardise(self, features: Tensor) -> Tensor:
        """(B, D) raw features of any float type -> (B, D) float32 of mean 0 and scale 1 over the training rows."""
        return (features.float() - self.mean) / self.scale


N = TypeVar("N", bound=Network)


def fit_network(
    kind: type[N], training: Examples, validation: Examples, targets: SparseRows, score: Score
) -> tuple[N, Sequence[Attempt]]:
    """Train a network of that kind on targets (N, M) once for each dropout; keep the best by ``score``.

    All that is random comes from torch's generator.
    """
    mean, scale = (part.cpu() for part in standardisation(training))

    def train(dropout: float) -> tuple[N, Attempt]:
        model = kind(DescentConfig(len(mean), len(training.known), dropout))
        model.mean, model.scale = mean, scale

        def validate() -> float:
            return score(torch.cat([model.predict(block.cpu()).gain for _, block in validation.blocks()]))

        return model, Attempt(f"dropout={dropout:g}", descend(model, training, targets, validate))

    tried = [train(dropout) for dropout in DROPOUT]
    model, _ = max(tried, key=lambda one: one[1].score)
    return model, [attempt for _, attempt in tried]


def descend(
    model: Network, examples: Examples, targets: SparseRows, score: Callable[[], float], epochs: int = EPOCHS
) -> float:
    """Train the model on targets (N, M) in 0..1, leave it with the weights of its best epoch, and return its score.

    What is scored and kept is a moving average of the weights; the best epoch is that with the
    highest mean of its score and those of the WINDOW - 1 epochs before it. score: of the model as
    it stands.
    """
    model.requires_grad_(False)
    moving = copy.deepcopy(model.layers).requires_grad_()
    optimiser = AdamW(moving.parameters(), WEIGHT_DECAY)
    dropout = Dropout(model.config.dropout, 0.0, 0.0, torch.default_generator)
    scores: list[float] = []
    best, kept = -1.0, copy.deepcopy(model.layers.state_dict())
    step = 0
    for _ in range(epochs):
        for chosen in torch.randperm(len(examples.row)).split(BATCH_SIZE):
            # Standardised batch by batch: of a million images the whole is several times the memory of most machines.
            x = model.standardise(examples.features[examples.row[chosen.to(examples.row.device)]].cpu())
            logits = _of_kept_features(moving, x, dropout)
            loss = F.binary_cross_entropy_with_logits(logits, targets[chosen], reduction="none").sum(1).mean()
            loss.backward()
            optimiser.step(LR)
            follow(model.layers, moving, AVERAGE, step)
            step += 1
        scores.append(score())
        if (mean := statistics.fmean(scores[-WINDOW:])) > best:
            best, kept = mean, copy.deepcopy(model.layers.state_dict())
    model.layers.load_state_dict(kept)
    return best


def _of_kept_features(layers: nn.Module, x: Tensor, dropout: Dropout) -> Tensor:
    """What the layers make of (B, D) features, of which the batch keeps the same in all of its rows."""
    first, *others = layers if isinstance(layers, nn.Sequential) else [layers]
    kept, scale = dropout.kept_features(x.shape[1])
    weight, bias = cast(nn.Linear, first).weight, cast(nn.Linear, first).bias
    logits = F.linear(x.index_select(1, kept) * scale, weight.index_select(1, kept), bias)
    for layer in others:
        logits = layer(logits)
    return logits
