"""Minimum-Bayes-risk decoding: what every tag is expected to gain, from drawn lists."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ranktag.decoding.stepper import Begun, Stepper
from ranktag.models.ranking import ExpectedGains, Limits


class Points(NamedTuple):
    """Lists being drawn: node (K,), the prefix each has come to, in order, and u (K,) float64 in [0, 1): what is left of its code."""

    node: Tensor
    u: Tensor


class Ways(NamedTuple):
    """The ways on that are drawn, in order of parent and tag: parent, tag, weight (M,) each, and the points on them."""

    parent: Tensor
    tag: Tensor
    weight: Tensor
    points: Points


@dataclass(frozen=True)
class Draw:
    """Lists drawn by arithmetic sampling (Vilnis et al., 2023).

    A list's code is a number in [0, 1), in which every list has an interval as long as
    its probability. The codes (j + offset) / lists are evenly spread, so a prefix of
    probability P is drawn by lists x P of them, give or take one, and by exactly as
    many on average over offsets. What is drawn for an image does not hang on the batch
    it is in, unless a code lies on a bound to within rounding.
    """

    lists: int
    offset: float

    @classmethod
    def seeded(cls, lists: int, seed: int) -> Draw:
        """The draw of that seed."""
        return cls(lists, float(np.random.default_rng(seed).random()))

    def begin(self, images: int, device: torch.device) -> Points:
        """The codes of every image."""
        u = (torch.arange(self.lists, dtype=torch.float64, device=device) + self.offset) / self.lists
        return Points(torch.arange(images, device=device).repeat_interleave(self.lists), u.repeat(images))

    def onward(self, points: Points, weight: Tensor, p: Tensor) -> Ways:
        """Where the lists go on from M nodes: weight (M,) lists at each, p (M, V + 1). Lists that stop are left out."""
        size = p.shape[1]
        # One search for all nodes: node i's distribution stands at i to i + 1.
        bounds = torch.cumsum(p, dim=1, dtype=torch.float64)
        bounds = bounds.div_(bounds[:, -1:].clone()).add_(torch.arange(len(p), device=p.device)[:, None]).flatten()
        code = points.node + points.u
        # Rounding, or a p that is not a number, must not lead to another node.
        at = torch.searchsorted(bounds, code, right=True).clamp(points.node * size, points.node * size + size - 1)
        going = (at % size < size - 1).nonzero().squeeze(1)
        at, code = at[going], code[going]
        low = torch.where(at % size > 0, bounds[at - 1], points.node[going].double())
        u = ((code - low) / (bounds[at] - low)).clamp(0.0, 1.0 - 1e-12)
        way, node, count = at.unique_consecutive(return_inverse=True, return_counts=True)
        return Ways(way // size, way % size, count.float(), Points(node, u))


def rank_gain(kind: str, rank: int) -> float:
    """Gain of a tag at ``rank`` (from 1) that does not depend on the list's length: 'log' 1/log2(1+r), 'binary' 1."""
    return 1.0 / math.log2(1 + rank) if kind == "log" else 1.0


def expected_gains(stepper: Stepper, image: Begun, limits: Limits, draw: Draw, kind: str) -> ExpectedGains:
    """Expected gain of every tag, from the tree of the lists that ``draw`` draws.

    Lists that begin alike share their state, so the tree has one node a distinct
    prefix and image, with the number of lists that pass through it. At each node every
    tag gains p_t(tag) x gain(t) from the exact softmax; only where the lists go on is drawn.

    kind: 'log', 'linear' or 'binary'.
    """
    device, v, n = stepper.device, stepper.vocabulary, len(image.h)
    gain = torch.zeros((n, v), device=device)
    presence = torch.zeros((n, v), device=device)
    owner = torch.arange(n, device=device)
    weight = torch.full((n,), float(draw.lists), device=device)
    said = torch.zeros((n, 0), dtype=torch.int64, device=device)
    points = draw.begin(n, device)
    h, c = image.h, image.c
    levels: list[_Level] = []
    for t in range(1, limits.longest + 1):
        p = stepper.log_probabilities(h, said, limits).exp_()
        at_rank = torch.zeros((n, v), device=device).index_add_(0, owner, (weight / draw.lists)[:, None] * p[:, :v])
        presence += at_rank
        if kind != "linear":
            gain.add_(at_rank, alpha=rank_gain(kind, t))
        if kind == "linear" or t < limits.longest:
            parent, tag, onward, points = draw.onward(points, weight, p)
            levels.append(_Level(owner, weight * p[:, v], parent, tag, onward))
            if not len(parent) or t == limits.longest:
                break
            h, c = stepper.grow(image, owner, h, c, parent, tag)
            owner, weight = owner[parent], onward
            said = torch.cat([said[parent], tag[:, None]], dim=1)
    if kind == "linear":
        _add_linear_gain(gain, levels, draw.lists)
    return ExpectedGains(gain, presence, presence.sum(dim=1))


@dataclass(frozen=True)
class _Level:
    """The nodes after t tags, (M,): their image and the weight that stops there; and the M' ways on: parent, tag and weight."""

    owner: Tensor
    stopped: Tensor
    parent: Tensor
    tag: Tensor
    onward: Tensor


def _add_linear_gain(gain: Tensor, levels: list[_Level], lists: float) -> None:
    """Add the linear gain (n - r + 1) / n, which hangs on the length n: weights by final length flow from the leaves up."""
    lengths = torch.arange(len(levels) + 1, device=gain.device)
    ending = torch.zeros((0, len(lengths)), device=gain.device)
    for t in range(len(levels) - 1, -1, -1):
        level = levels[t]
        if t == len(levels) - 1:
            # What goes on from the last level ends at the length limit.
            ending = torch.zeros((len(level.parent), len(lengths)), device=gain.device)
            ending[:, t + 1] = level.onward
        share = ((lengths - t) / lengths.clamp(min=1)).clamp(min=0)
        gain.index_put_((level.owner[level.parent], level.tag), ending @ share / lists, accumulate=True)
        above = torch.zeros((len(level.owner), len(lengths)), device=gain.device)
        above.index_add_(0, level.parent, ending)
        above[:, t] += level.stopped
        ending = above
