"""A network with one hidden layer that predicts every tag's gain."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import torch
from torch import Tensor, nn

from ranktag.models.baselines._descent import (
    BATCH_SIZE,
    EPOCHS,
    Descent,
    DescentConfig,
    Network,
    fit_network,
    new_network,
)
from ranktag.models.baselines._shared import Attempt, Score, sparse_targets
from ranktag.models.ranking import ExpectedGains
from ranktag.training_data.examples import Examples
from ranktag.training_data.load import TrainingData

HIDDEN = 512
HEAD_DROPOUT, HEAD_STEPS = 0.7, 4000


class Model(Network):
    """sigmoid(W_2 relu(W_1 x + b_1) + b_2), of gain and presence side by side; x: standardised features."""

    def __init__(self, config: DescentConfig) -> None:
        super().__init__(config)
        self.layers = nn.Sequential(
            nn.Linear(config.features, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, 2 * config.vocabulary)
        )

    def predict(self, features: Tensor) -> ExpectedGains:
        """See ``Baseline``."""
        gain, presence = self.layers(self.standardise(features)).sigmoid().chunk(2, dim=1)
        return ExpectedGains(gain, presence, presence.sum(dim=1))


def head_gibibytes(training: Examples, validation: Examples) -> float:
    """How much memory ``HeadTraining`` takes, in GiB."""
    d, v = training.features.shape[1], len(training.known)
    # Twelve for every tag of every list, while the targets are made of them; the weights, their average, the best,
    # gradients and moments, and one in between.
    numbers = 12 * int(training.steps.sum()) + 2 * len(validation.row) * v + 7 * HIDDEN * (d + 2 * v)
    return 4 * numbers / 2**30


class HeadTraining:
    """The training of the network that stands beside LSTMs, an iterator that does a step each time it is asked.

    Of one dropout, in at most as many epochs as HEAD_STEPS allow. Nothing is made before the first step.
    """

    def __init__(self, data: TrainingData, score: Score, seed: int, device: torch.device, epochs: int) -> None:
        self._data, self._score, self._seed, self._device = data, score, seed, device
        batches = -(-len(data.training.row) // BATCH_SIZE)
        self._epochs = min(epochs, EPOCHS, max(1, HEAD_STEPS // batches))

    def __iter__(self) -> HeadTraining:
        return self

    def __next__(self) -> None:
        """Do a step, if one is left to do."""
        _, descent = self._begun
        next(descent.steps)

    def trained(self) -> Model:
        """The network, after what is left to do."""
        model, descent = self._begun
        descent.run()
        return model

    @cached_property
    def _begun(self) -> tuple[Model, Descent]:
        data = self._data
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self._seed)
            model = new_network(Model, HEAD_DROPOUT, data.mean, data.scale, len(data.vocabulary))
            generator = torch.Generator().set_state(torch.get_rng_state())
        targets = sparse_targets(data.training)
        return model, Descent(
            model, data.training, data.validation, targets, self._score, generator, self._device, self._epochs
        )


def fit(training: Examples, validation: Examples, score: Score) -> tuple[Model, Sequence[Attempt]]:
    """Train on every tag's mean gain and presence over an image's people (see ``fit_network``)."""
    return fit_network(Model, training, validation, sparse_targets(training), score)
