"""Ranked tags, and how they follow from what each tag is expected to gain.

Every model that scores tags ends here: the LSTM by minimum-Bayes-risk decoding, the
baselines directly.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True)
class Limits:
    """longest: the most tags in a list. exact: lists have exactly that many. repeats: a tag may come twice."""

    longest: int
    exact: bool = False
    repeats: bool = False


@dataclass(frozen=True)
class RankedTags:
    """Ranked tags of N images: tags (N, T) int64, padded by -1; scores (N, T) float32, padded by 0."""

    tags: npt.NDArray[np.int64]
    scores: npt.NDArray[np.float32]

    def lists(self) -> list[list[int]]:
        """The tag numbers of each image, without padding."""
        return [row[row >= 0].tolist() for row in self.tags]


@dataclass(frozen=True)
class ExpectedGains:
    """What a list drawn from the model is expected to hold: of N images and V tags.

    gain: (N, V) sum over r of P(tag at rank r) gain(r). presence: (N, V) P(tag in the
    list). length: (N,) expected number of tags.
    """

    gain: Tensor
    presence: Tensor
    length: Tensor


class Sizes(Protocol):
    """What the config of every model tells: features D and vocabulary V."""

    @property
    def features(self) -> int:
        """The width D of the features."""

    @property
    def vocabulary(self) -> int:
        """The number V of tags."""


@runtime_checkable
class Predictor(Protocol):
    """A model that says at once what it expects of every tag, as the baselines do; an LSTM is decoded instead."""

    @property
    def config(self) -> Sizes:
        """The model's sizes."""

    def predict(self, features: Tensor) -> ExpectedGains:
        """(B, D) raw features -> what is expected of the B images' lists."""


def rank_by_gain(gains: ExpectedGains, limits: Limits, shown: Tensor | None = None) -> RankedTags:
    """Tags by expected gain, as many as a list is expected to have, or as the limits say; score: P(tag in the list).

    shown: (N, V) the scores, where they are others than ``gains.presence``, as calibrated ones are.
    """
    v = gains.gain.shape[1]
    longest = min(limits.longest, v)
    order = torch.argsort(gains.gain, dim=1, descending=True, stable=True)[:, :longest]
    length = torch.full_like(gains.length, longest) if limits.exact else gains.length.round().clamp(max=longest)
    beyond = torch.arange(longest, device=order.device) >= length[:, None]
    beyond |= gains.gain.gather(1, order) == float("-inf")
    tags = order.masked_fill(beyond, -1)
    scores = (gains.presence if shown is None else shown).gather(1, order).clamp(max=1.0).masked_fill(beyond, 0.0)
    return RankedTags(tags.cpu().numpy(), scores.cpu().numpy())


@dataclass(frozen=True)
class Head:
    """A model of the gains alone, which has a say beside an LSTM. weight: of its gains, from 0 to 1."""

    model: Predictor
    weight: float

    def blended(self, gains: ExpectedGains, features: Tensor, kind: str, rows: int | None = None) -> ExpectedGains:
        """``gains`` of B images, with the head's mixed in. features: (B, D) raw.

        kind: of gain. With 'binary' a tag gains its presence; of 'linear' the head knows nothing. rows: compute for so
        many images at a time, filled up with zeros, so that what comes of one does not depend on the others.
        """
        if kind == "linear":
            return gains
        rows = rows or len(features)
        parts = [self.model.predict(F.pad(part, (0, 0, 0, rows - len(part)))) for part in features.split(rows)]
        own = torch.cat([part.presence if kind == "binary" else part.gain for part in parts])[: len(features)]
        return ExpectedGains(torch.lerp(gains.gain, own, self.weight), gains.presence, gains.length)


def mean_gains(several: Sequence[ExpectedGains]) -> ExpectedGains:
    """What several models of the same images and tags expect on average."""
    gain, presence, length = (
        torch.stack(parts).mean(0) for parts in zip(*((e.gain, e.presence, e.length) for e in several))
    )
    return ExpectedGains(gain, presence, length)


def mean_over(gains: ExpectedGains, owner: Tensor, weight: Tensor, n: int) -> ExpectedGains:
    """What is expected of N images, from that of M cases of them. owner, weight: (M,) of which image, how likely."""

    def mean(values: Tensor) -> Tensor:
        weighted = (values.t() * weight).t()
        return torch.zeros((n, *values.shape[1:]), device=values.device).index_add_(0, owner, weighted)

    return ExpectedGains(mean(gains.gain), mean(gains.presence), mean(gains.length))


def without(gains: ExpectedGains, given: Tensor) -> ExpectedGains:
    """What is expected of the rest of lists that begin with the tags ``given`` (N, P), V or -1 for none of the tags.

    The tags that are given come last, and the length is that of the rest.
    """
    v = gains.gain.shape[1]
    there = torch.zeros((len(given), v + 1), dtype=torch.bool, device=given.device)
    there = there.scatter_(1, torch.where(given < 0, v, given), True)[:, :v]
    presence = gains.presence.masked_fill(there, 0.0)
    length = gains.length - gains.presence.masked_fill(~there, 0.0).sum(dim=1)
    return ExpectedGains(gains.gain.masked_fill(there, float("-inf")), presence, length.clamp(min=0.0))


def best_five(gain: Tensor) -> list[list[int]]:
    """The five tags of greatest gain (N, V) of each image."""
    return rank_by_gain(ExpectedGains(gain, gain, gain[:, 0]), Limits(5, exact=True)).lists()
