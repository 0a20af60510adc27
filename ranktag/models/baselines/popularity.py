"""The same list for every image, tags by their mean gain over the training lists."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ranktag.models.baselines._shared import Attempt, Baseline, BaselineConfig, Score, sparse_targets
from ranktag.models.ranking import ExpectedGains
from ranktag.training_data.examples import Examples


class Model(Baseline):
    """Buffers: ``gain``, ``presence`` (V), means over the training images."""

    gain: Tensor
    presence: Tensor

    def __init__(self, config: BaselineConfig) -> None:
        super().__init__(config)
        self.register_buffer("gain", torch.zeros(config.vocabulary))
        self.register_buffer("presence", torch.zeros(config.vocabulary))

    def predict(self, features: Tensor) -> ExpectedGains:
        """See ``Baseline``."""
        n = len(features)
        return ExpectedGains(self.gain.expand(n, -1), self.presence.expand(n, -1), self.presence.sum().expand(n))


def fit(training: Examples, validation: Examples, score: Score) -> tuple[Model, Sequence[Attempt]]:
    """Mean gain and presence over the training lists; there is no setting to choose."""
    model = Model(BaselineConfig(training.features.shape[1], len(training.known)))
    model.gain = sparse_targets(training, presence=False).mean()
    model.presence = sparse_targets(training, gain=False).mean()
    return model, []
