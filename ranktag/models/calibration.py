"""Honest probabilities: one number by which a model's P(tag in the list) is drawn to or from one half.

    p' = 1 / (1 + exp(-logit(p) / T))           temperature scaling (Platt, 1999; Guo et al., ICML 2017), without a bias

T is fitted on the validation images by the mean squared difference (Brier, 1950) of p' and the share of an image's
people who list the tag, over all tags. (The log likelihood that Guo et al. take is infinite at the zeros and ones that
neighbours and regressions say.) It is kept only where it helps on images that it was not fitted on: each half of
the validation images is calibrated by the T of the other, and the mean gain of an image must lie more than 1.96
standard errors above zero. Order and number of a list's tags stay as they are.

Letters: N images, V vocabulary.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

# Of so many numbers in memory at once.
MOST_NUMBERS = 2**24
MOST_IMAGES = 1000
TEMPERATURES = tuple(math.exp(n / 20) for n in range(-40, 41))


def calibrated(presence: Tensor, temperature: float | None) -> Tensor:
    """P(tag in the list), any shape, by a temperature; None changes nothing, and what is 0 or 1 stays so."""
    if temperature is None or temperature == 1.0:
        return presence
    inner = (presence > 0.0) & (presence < 1.0)
    return torch.where(inner, torch.sigmoid(torch.logit(presence) / temperature), presence)


def fit_temperature(presence: Tensor, share: Tensor) -> float:
    """T of P(tag in the list), (N, V) as a model says it, and the share of people who list the tag, (N, V).

    1.0 where no T helps on images that it was not fitted on.
    """
    half = torch.arange(len(presence)) % 2 == 0
    if not half.any() or half.all():
        return 1.0
    gain = torch.empty(len(presence), dtype=torch.float64)
    for own, other in ((half, ~half), (~half, half)):
        fitted = _best(presence[other], share[other])
        gain[own] = _error(presence[own], share[own]) - _error(calibrated(presence[own], fitted), share[own])
    if not float(gain.mean()) > 1.96 * float(gain.std()) / math.sqrt(len(gain)):
        return 1.0
    return _best(presence, share)


def _best(presence: Tensor, share: Tensor) -> float:
    def error(temperature: float) -> float:
        return float(_error(calibrated(presence, temperature), share).mean())

    return min(TEMPERATURES, key=error)


def _error(presence: Tensor, share: Tensor) -> Tensor:
    """Mean squared difference of each image, (N,) float64."""
    return (presence.double() - share).square().mean(dim=1)
