"""How honest a trained model's P(tag in the list) is made, on the validation images."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ranktag.config import DecodingConfig, TrainingConfig
from ranktag.decoding.rank import rank_tags
from ranktag.models.baselines._shared import targets
from ranktag.models.calibration import MOST_IMAGES, MOST_NUMBERS, fit_temperature
from ranktag.training_data.examples import Examples
from ranktag.training_data.load import TrainingData


def temperature_for(model: nn.Module, data: TrainingData, config: TrainingConfig, device: torch.device) -> float:
    """The temperature of a model that has none yet (see ``ranktag.models.calibration``), by its default decoding."""
    validation, v = data.validation, len(data.vocabulary)
    n = min(len(validation.row), MOST_IMAGES, max(2, MOST_NUMBERS // v))
    features = validation.features[validation.row[:n]].float()
    decoding = DecodingConfig(num_tags=v, precision=config.precision)
    ranked = rank_tags(model, features, data.longest, decoding, device)
    # All tags in some order, each with its probability.
    presence = torch.zeros(n, v).scatter_(1, torch.from_numpy(ranked.tags), torch.from_numpy(ranked.scores))
    return fit_temperature(presence, _shares(validation, n))


def _shares(validation: Examples, n: int) -> Tensor:
    """Of the first ``n`` images the share of people who list each tag, (n, V)."""
    first = Examples(validation.features, validation.row[:n], validation.people[:n], validation.known)
    return targets(first)[1]
