"""Logistic regression of a tag's presence, whatever its rank."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from ranktag.models.baselines._descent import DescentConfig, Network, fit_network
from ranktag.models.baselines._shared import Attempt, Score, sparse_targets
from ranktag.models.ranking import ExpectedGains
from ranktag.training_data.examples import Examples


class Model(Network):
    """sigmoid(W x + b), P(tag in the list), by which tags are ranked; x: standardised features."""

    def __init__(self, config: DescentConfig) -> None:
        super().__init__(config)
        self.layers = nn.Linear(config.features, config.vocabulary)

    def predict(self, features: Tensor) -> ExpectedGains:
        """See ``Baseline``."""
        presence = self.layers(self.standardise(features)).sigmoid()
        return ExpectedGains(presence, presence, presence.sum(dim=1))


def fit(training: Examples, validation: Examples, score: Score) -> tuple[Model, Sequence[Attempt]]:
    """Train on the share of an image's people that name a tag (see ``fit_network``)."""
    return fit_network(Model, training, validation, sparse_targets(training, gain=False), score)
