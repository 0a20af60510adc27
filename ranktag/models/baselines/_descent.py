"""Networks that predict numbers from 0 to 1 for every tag, trained by sigmoid cross-entropy."""

from __future__ import annotations

import copy
import statistics
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import TypeVar, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ranktag.compute.adamw import AdamW
from ranktag.compute.average import follow
from ranktag.compute.device import sent
from ranktag.compute.dropout import Dropout
from ranktag.compute.recording import RecordedWork
from ranktag.compute.standardise import standardise_columns
from ranktag.models.baselines._shared import Attempt, Baseline, BaselineConfig, Score, SparseRows
from ranktag.training_data.examples import Examples, rows_of, standardisation

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
    """Train a network of that kind on targets (N, M) once for each dropout, where the features are; keep the best by
    ``score``.

    All that is random comes from torch's generator.
    """
    mean, scale = standardisation(training)
    device = training.features.device

    def train(dropout: float) -> tuple[N, Attempt]:
        model = new_network(kind, dropout, mean, scale, len(training.known))
        descent = Descent(model, training, validation, targets, score, torch.default_generator, device)
        return model, Attempt(f"dropout={dropout:g}", descent.run())

    tried = [train(dropout) for dropout in DROPOUT]
    model, _ = max(tried, key=lambda one: one[1].score)
    return model, [attempt for _, attempt in tried]


def new_network(kind: type[N], dropout: float, mean: Tensor, scale: Tensor, vocabulary: int) -> N:
    """A network of random weights. mean, scale: (D,) of the training rows."""
    model = kind(DescentConfig(len(mean), vocabulary, dropout))
    model.mean, model.scale = mean.cpu(), scale.cpu()
    return model


class Descent:
    """The training of a network on targets (N, M) in 0..1, on a device, step by step.

    What is scored and kept is a moving average of the weights; the best epoch is that with the
    highest mean of its score and those of the WINDOW - 1 epochs before it. score: of the validation images, from the
    gain (N, V) of their tags. generator: of the processor, whatever the device, so that the same numbers are drawn.
    """

    def __init__(
        self,
        model: Network,
        training: Examples,
        validation: Examples,
        targets: SparseRows,
        score: Score,
        generator: torch.Generator,
        device: torch.device,
        epochs: int = EPOCHS,
    ) -> None:
        self._model, self._training, self._validation = model.requires_grad_(False), training, validation
        self._targets, self._score, self._generator, self._device = targets, score, generator, device
        self._dropout = Dropout(model.config.dropout, 0.0, 0.0, generator)
        self._epochs, self._best = epochs, -1.0
        # Those that are left to do, each done when it is asked for.
        self.steps = self._train()

    def run(self) -> float:
        """Do what is left; the model, on the processor again, has the weights of its best epoch. The epoch's score."""
        for _ in self.steps:
            pass
        return self._best

    def _train(self) -> Iterator[None]:
        layers = self._model.to(self._device).layers
        moving = copy.deepcopy(layers).requires_grad_()
        optimiser = AdamW(moving.parameters(), WEIGHT_DECAY)

        def learn(rows: Tensor, features: Tensor, target: Tensor) -> Tensor:
            loss = self._loss(moving, rows, features, target)
            loss.backward()
            optimiser.step(LR)
            return loss.detach()

        recorded = None
        if self._device.type == "cuda":
            state = [*moving.parameters(), *optimiser.tensors()]
            recorded = RecordedWork(learn, state, torch.Generator(self._device), self._device)
        scores: list[float] = []
        kept = copy_of(layers)
        step = 0
        for _ in range(self._epochs):
            if recorded is not None:
                recorded.begin()
            for chosen in torch.randperm(len(self._training.row), generator=self._generator).split(BATCH_SIZE):
                with nullcontext() if recorded is None else recorded.on_stream():
                    (learn if recorded is None else recorded.launch)(*self._batch(chosen))
                    follow(layers, moving, AVERAGE, step)
                step += 1
                yield
            if recorded is not None:
                recorded.wait()
            scores.append(self._validate())
            if (mean := statistics.fmean(scores[-WINDOW:])) > self._best:
                self._best, kept = mean, copy_of(layers)
        layers.load_state_dict(kept)
        self._model.cpu()

    def _batch(self, chosen: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Of the images (B,): the features (B, D) as stored, the numbers (K,) of those that the batch keeps in all of
        its rows, and the target (B, M)."""
        examples = self._training
        kept, _ = self._dropout.kept_features(examples.features.shape[1])
        rows = rows_of(examples.features, examples.row[sent(chosen, examples.row.device)])
        return sent(rows, self._device), sent(kept, self._device), sent(self._targets[chosen], self._device)

    def _loss(self, moving: nn.Module, rows: Tensor, kept: Tensor, target: Tensor) -> Tensor:
        """The mean loss (), of a ``_batch``."""
        model = self._model
        # Standardised batch by batch: of a million images the whole is several times the memory of most machines.
        x = standardise_columns(rows, kept, model.mean, model.scale, len(model.mean) / len(kept), torch.float32)
        first, *others = moving if isinstance(moving, nn.Sequential) else [moving]
        first = cast(nn.Linear, first)
        logits = F.linear(x, first.weight.index_select(1, kept), first.bias)
        for layer in others:
            logits = layer(logits)
        return F.binary_cross_entropy_with_logits(logits, target, reduction="none").sum(1).mean()

    def _validate(self) -> float:
        blocks = (block.to(self._device) for _, block in self._validation.blocks())
        return self._score(torch.cat([self._model.predict(block).gain for block in blocks]))


def copy_of(layers: nn.Module) -> dict[str, Tensor]:
    """Their weights, which stay as they are while the layers' own change."""
    return {name: value.clone() for name, value in layers.state_dict().items()}
