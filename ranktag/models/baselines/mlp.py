"""A network with one hidden layer that predicts every tag's gain."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ranktag.models.baselines._descent import BATCH_SIZE, EPOCHS, DescentConfig, Network, descend, fit_network
from ranktag.models.baselines._shared import Attempt, Score, sparse_targets
from ranktag.models.ranking import ExpectedGains
from ranktag.training_data.examples import Examples, standardisation

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
    """How much memory ``fit_head`` takes, in GiB."""
    d, v = training.features.shape[1], len(training.known)
    # Twelve for every tag of every list, while the targets are made of them; the weights, their average, the best,
    # gradients and moments, and one in between.
    numbers = 12 * int(training.steps.sum()) + 2 * len(validation.row) * v + 7 * HIDDEN * (d + 2 * v)
    return 4 * numbers / 2**30


def fit_head(training: Examples, validation: Examples, score: Score, epochs: int) -> Model:
    """The network that stands beside an LSTM: of one dropout, and in as many epochs as HEAD_STEPS allow, or fewer."""
    mean, scale = (part.cpu() for part in standardisation(training))
    model = Model(DescentConfig(len(mean), len(training.known), HEAD_DROPOUT))
    model.mean, model.scale = mean, scale

    def validate() -> float:
        return score(torch.cat([model.predict(block.cpu()).gain for _, block in validation.blocks()]))

    epochs = min(epochs, EPOCHS, max(1, HEAD_STEPS // -(-len(training.row) // BATCH_SIZE)))
    descend(model, training, sparse_targets(training), validate, epochs)
    return model


def fit(training: Examples, validation: Examples, score: Score) -> tuple[Model, Sequence[Attempt]]:
    """Train on every tag's mean gain and presence over an image's people (see ``fit_network``)."""
    return fit_network(Model, training, validation, sparse_targets(training), score)
