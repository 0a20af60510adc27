"""Minimum-Bayes-risk decoding: what every tag is expected to gain, from drawn lists."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ranktag.decoding.stepper import InitialState, Stepper
from ranktag.models.ranking import ExpectedGains, Limits


class Codes(NamedTuple):
    """The lists being drawn: node (K,), the prefix that each has come to, in order, and u (K,) float64 in [0, 1).

    u is what is left of the list's code: where it stands in the interval of its prefix.
    """

    node: Tensor
    u: Tensor


class Continuations(NamedTuple):
    """The continuations that are drawn, (M,), in order of parent and tag.

    parent: the prefix that is continued. tag: by which tag. weight: how many lists go
    there. codes: those lists.
    """

    parent: Tensor
    tag: Tensor
    weight: Tensor
    codes: Codes


@dataclass(frozen=True)
class Draw:
    """Lists drawn by arithmetic sampling (Vilnis et al., 2023).

    A list's code is a number in [0, 1), in which every list has an interval as long as
    its probability. The codes (j + offset) / lists are evenly spread, so a prefix of
    probability P is drawn by lists x P of them, give or take one, and by exactly as
    many on average over offsets. What is drawn for an image does not depend on the batch
    it is in, unless a code lies on a bound to within rounding.
    """

    lists: int
    offset: float

    @classmethod
    def seeded(cls, lists: int, seed: int) -> Draw:
        """The draw of that seed."""
        return cls(lists, float(np.random.default_rng(seed).random()))

    def begin(self, images: int, device: torch.device) -> Codes:
        """The codes of every image."""
        u = (torch.arange(self.lists, dtype=torch.float64, device=device) + self.offset) / self.lists
        return Codes(torch.arange(images, device=device).repeat_interleave(self.lists), u.repeat(images))

    def continuations(self, codes: Codes, weight: Tensor, p: Tensor) -> Continuations:
        """How the lists at M nodes go on: weight (M,) lists at each, p (M, V + 1). Lists that stop are left out."""
        size = p.shape[1]
        # One search for all nodes: node i's distribution stands at i to i + 1.
        bounds = torch.cumsum(p, dim=1, dtype=torch.float64)
        bounds = bounds.div_(bounds[:, -1:].clone()).add_(torch.arange(len(p), device=p.device)[:, None]).flatten()
        code = codes.node + codes.u
        # Rounding, or a p that is not a number, must not lead to another node.
        at = torch.searchsorted(bounds, code, right=True).clamp(codes.node * size, codes.node * size + size - 1)
        unfinished = (at % size < size - 1).nonzero().squeeze(1)
        at, code = at[unfinished], code[unfinished]
        low = torch.where(at % size > 0, bounds[at - 1], codes.node[unfinished].double())
        u = ((code - low) / (bounds[at] - low)).clamp(0.0, 1.0 - 1e-12)
        place, node, count = at.unique_consecutive(return_inverse=True, return_counts=True)
        return Continuations(place // size, place % size, count.float(), Codes(node, u))


# Gains that follow from a tag's rank (from 1) alone; 'linear' also depends on the list's length.
GAIN_OF_RANK: dict[str, Callable[[int], float]] = {
    "log": lambda rank: 1.0 / math.log2(1 + rank),
    "binary": lambda rank: 1.0,
}


class _Level(NamedTuple):
    """M prefixes of one length in the tree of drawn lists: their images, the lists that stop there, what follows."""

    owner: Tensor
    stopped: Tensor
    next: Continuations


def expected_gains(stepper: Stepper, image: InitialState, limits: Limits, draw: Draw, kind: str) -> ExpectedGains:
    """Expected gain of every tag, from the tree of the lists that ``draw`` draws.

    Lists that begin alike share their state, so the tree has one node a distinct
    prefix and image, with the number of lists that pass through it. At each node every
    tag gains p_t(tag) x gain(t) from the exact softmax; only how the lists go on is drawn.
    Ranks count from 1 after the tags that are given.

    kind: 'log', 'linear' or 'binary'.
    """
    device, v, n = stepper.device, stepper.vocabulary, len(image.h)
    gain = torch.zeros((n, v), device=device)
    presence = torch.zeros((n, v), device=device)
    # Of each node: its image, its lists, its prefix and the LSTMs' state.
    owner = torch.arange(n, device=device)
    weight = torch.full((n,), float(draw.lists), device=device)
    prefix = image.given
    h, c = image.h, image.c
    codes = draw.begin(n, device)
    gain_of_rank = GAIN_OF_RANK.get(kind)
    levels: list[_Level] = []
    for t in range(1, limits.longest + 1):
        p = stepper.log_probabilities(h, prefix, limits).exp_()
        at_rank = torch.zeros((n, v), device=device).index_add_(0, owner, (weight / draw.lists)[:, None] * p[:, :v])
        presence += at_rank
        if gain_of_rank is not None:
            gain.add_(at_rank, alpha=gain_of_rank(t))
            if t == limits.longest:
                break
        drawn = draw.continuations(codes, weight, p)
        if gain_of_rank is None:
            levels.append(_Level(owner, weight * p[:, v], drawn))
        if not len(drawn.parent) or t == limits.longest:
            break
        h, c = stepper.branch(image, owner, h, c, drawn.parent, drawn.tag)
        owner, weight, codes = owner[drawn.parent], drawn.weight, drawn.codes
        prefix = torch.cat([prefix[drawn.parent], drawn.tag[:, None]], dim=1)
    if gain_of_rank is None:
        _add_linear_gain(gain, levels, draw.lists)
    return ExpectedGains(gain, presence, presence.sum(dim=1))


def _add_linear_gain(gain: Tensor, levels: Sequence[_Level], lists: int) -> None:
    """Add the gain (n - r + 1) / n of rank r, which depends on the length n that the drawn lists come to.

    From the leaves up, each node is given how many of its lists end at each length.
    """
    lengths = torch.arange(len(levels) + 1, device=gain.device)
    ending = torch.zeros((0, len(lengths)), device=gain.device)
    for t in range(len(levels) - 1, -1, -1):
        owner, stopped, (parent, tag, weight, _) = levels[t]
        if t == len(levels) - 1:
            # What goes on from the last level ends at the length limit.
            ending = torch.zeros((len(parent), len(lengths)), device=gain.device)
            ending[:, t + 1] = weight
        share = ((lengths - t) / lengths.clamp(min=1)).clamp(min=0)
        gain.index_put_((owner[parent], tag), ending @ share / lists, accumulate=True)
        above = torch.zeros((len(owner), len(lengths)), device=gain.device)
        above.index_add_(0, parent, ending)
        above[:, t] += stopped
        ending = above
