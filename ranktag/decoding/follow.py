"""Minimum-Bayes-risk decoding without chance: likely beginnings of lists are followed one by one, others together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from ranktag.decoding.mbr import GAIN_OF_RANK
from ranktag.decoding.stepper import InitialState, Mixture, Stepper
from ranktag.models.ranking import ExpectedGains, Limits

# A beginning of lists is followed by itself from this probability on, and so are several of the same tags that come to
# as much. What all others come to together is no longer followed below ``LEAST``.
SHARE, LEAST = 1 / 64, 1 / 256
# Beginnings below this part of ``SHARE`` are not looked through for others of the same tags.
FEWEST = 1 / 8
# Of one length and image.
MOST_NODES = 65


class _Rest(NamedTuple):
    """What R images' other beginnings of one length come to: image (R,), probability (R,).

    said (R, V): the share that holds a tag. last (R, V): the share whose last tag it is.
    """

    image: Tensor
    probability: Tensor
    said: Tensor
    last: Tensor


class _Level(NamedTuple):
    """M nodes and the rests of R images, (M + R,) each, at one length, and how they go on.

    owner: their images. stopped: the probability that a list ends there. left: that it goes on with the next rest.
    goes_on: (E,) what is followed: by which tag from which node to which of the G next nodes. probability: (E,).
    rest: what is followed as one.
    """

    owner: Tensor
    stopped: Tensor
    left: Tensor
    goes_on: Mixture
    probability: Tensor
    rest: _Rest


class Following:
    """Expected gains of N images from the lists' beginnings, level by level.

    A beginning s (an image's first t - 1 tags, in order) of P(s) >= share is a node of its own: its LSTMs' state is
    exact, and every tag gains P(s) p_t(tag | s) gain(t). Less likely ones of the same tags in other orders are one
    node if they come to as much together, and all others of an image and length are one, its rest: LSTMs' states,
    last tags' embeddings and (in the rest) what has been said are averaged, weighted by probability. So an image has
    at most 1 / share + 1 nodes of each length.

    bound (N,): the sum over ranks t of gain(t) x P(lists that are not known exactly at t). No tag's gain is further
    from the sum over all lists than that; with share = 0 it is zero. Measured, errors are a hundredth of it.
    """

    def __init__(
        self,
        stepper: Stepper,
        image: InitialState,
        limits: Limits,
        kind: str,
        share: float,
        least: float,
    ) -> None:
        """image: where the lists go on from; ranks count from 1 there."""
        n, v, device = len(image.h), stepper.vocabulary, stepper.device
        self.stepper, self.image, self.limits, self.share, self.least = stepper, image, limits, share, least
        self.gain_of_rank = GAIN_OF_RANK.get(kind)
        self.gain, self.presence = torch.zeros((n, v), device=device), torch.zeros((n, v), device=device)
        self.bound, self._ended = torch.zeros(n, device=device), torch.zeros(n, device=device)
        # Of each node: its image, its probability, whether it is one beginning alone, its tags, and their sum of codes.
        self.owner, self.weight = torch.arange(n, device=device), torch.ones(n, device=device)
        self.exact = torch.ones(n, dtype=torch.bool, device=device)
        self.prefix = image.given
        self._code, self._set = _codes(v, device), torch.zeros(n, dtype=torch.int64, device=device)
        nothing = torch.zeros((0, v), device=device)
        self.rest = _Rest(self.owner[:0], self.weight[:0], nothing, nothing)
        # Of the M nodes first, then of the R images' rests.
        self.h, self.c = image.h, image.c
        self._levels: list[_Level] = []

    def run(self) -> ExpectedGains:
        """Follow the lists to their ends."""
        for t in range(1, self.limits.longest + 1):
            level = self._look(t)
            if self.gain_of_rank is None:
                self._levels.append(level)
            if t == self.limits.longest or not len(level.probability) + len(level.rest.image):
                break
            self._step(level)
        if self.gain_of_rank is None:
            _add_linear_gain(self.gain, self._levels)
        return ExpectedGains(self.gain, self.presence, self.presence.sum(dim=1))

    def _look(self, t: int) -> _Level:
        """Add what tags gain at rank t, and choose what is followed."""
        v, m = self.stepper.vocabulary, len(self.prefix)
        owner = torch.cat([self.owner, self.rest.image])
        weight = torch.cat([self.weight, self.rest.probability])
        p = self.stepper.probabilities(self.h, self.prefix, self.rest.said)
        joint = p[:, :v] * weight[:, None]
        at_rank = torch.zeros_like(self.presence).index_add_(0, owner, joint)
        self.presence += at_rank
        gain = 1.0 if self.gain_of_rank is None else self.gain_of_rank(t)
        if self.gain_of_rank is not None:
            self.gain.add_(at_rank, alpha=gain)
        stopped = weight * p[:, v]
        self._add_bound(gain, stopped[:m])
        goes_on, q = self._followed(joint[:m])
        # What nodes and rests have left for the next rest, and by which tags.
        left = joint.sum(dim=1).index_add_(0, goes_on.parent, q, alpha=-1).clamp_(min=0)
        by_tag = at_rank.index_put_((owner[goes_on.parent], goes_on.tag), -q, accumulate=True).clamp_(min=0)
        return _Level(owner, stopped, left, goes_on, q, self._rest(owner, left, by_tag))

    def _add_bound(self, gain: float, stopped: Tensor) -> None:
        known = torch.where(self.exact, self.weight, 0.0)
        known = self._ended.index_add(0, self.owner, known)
        self.bound.add_((1.0 - known).clamp_(min=0), alpha=gain)
        self._ended.index_add_(0, self.owner, torch.where(self.exact, stopped, 0.0))

    def _followed(self, joint: Tensor) -> tuple[Mixture, Tensor]:
        """How the nodes go on: joint (M, V) the probabilities of their continuations. With those of the mixture's."""
        # A probability that is not a number is followed nowhere.
        parent, tag = ((joint >= self.share * FEWEST) & (joint > 0)).nonzero(as_tuple=True)
        q = joint[parent, tag]
        alone = q >= self.share
        few = (~alone).nonzero().squeeze(1)
        sets = (self._set[parent[few]] + self._code[tag[few]]) % (1 << 40) + (self.owner[parent[few]] << 40)
        _, group = sets.unique(return_inverse=True)
        mass = q.new_zeros(int(group.max()) + 1 if len(group) else 0).index_add_(0, group, q[few])
        together = mass >= self.share
        kept = together[group] if len(group) else alone[few]
        chosen = torch.cat([alone.nonzero().squeeze(1), few[kept]])
        number = torch.cumsum(together, 0) - 1 + int(alone.sum())
        group = torch.cat([torch.arange(int(alone.sum()), device=q.device), number[group[kept]]])
        q = q[chosen]
        size = int(alone.sum() + together.sum())
        share = q / q.new_zeros(size).index_add_(0, group, q)[group]
        return Mixture(parent[chosen], tag[chosen], group, share, size), q

    def _rest(self, owner: Tensor, left: Tensor, by_tag: Tensor) -> _Rest:
        """The rests of the images where they are not too little. left: (M + R,), by_tag: (N, V), probabilities."""
        m = len(self.prefix)
        total = torch.zeros_like(self.bound).index_add_(0, owner, left)
        image = (total >= max(self.least, torch.finfo(total.dtype).tiny)).nonzero().squeeze(1)
        said = F.pad(by_tag, (0, 1))
        where = (self.owner[:, None].expand_as(self.prefix), self.prefix)
        said.index_put_(where, left[:m, None].expand_as(self.prefix), accumulate=True)
        said[self.rest.image, :-1] += self.rest.said * left[m:, None]
        total = total[image]
        shares = (x[image] / total[:, None] for x in (said[:, :-1], by_tag))
        return _Rest(image, total, *(x.clamp(max=1.0) for x in shares))

    def _step(self, level: _Level) -> None:
        """Take the LSTMs' step for what is followed."""
        parent, tag, group, share, size = level.goes_on
        first = torch.full((size,), len(group), device=group.device).scatter_reduce_(
            0, group, torch.arange(len(group), device=group.device), "amin"
        )
        node = parent[first]
        image = torch.cat([level.owner[node], level.rest.image])
        # The rest's share of each of the nodes and rests that go on with it.
        place = torch.full((len(self.bound),), -1, device=group.device)
        place[level.rest.image] = torch.arange(len(level.rest.image), device=group.device)
        place = place[level.owner]
        row = (place >= 0).nonzero().squeeze(1)
        of_rest = level.left[row] / level.rest.probability[place[row]]
        rows, to, weight = torch.cat([parent, row]), torch.cat([group, place[row] + size]), torch.cat([share, of_rest])
        h, c = (_mixed(x, rows, to, weight, len(image)) for x in (self.h, self.c))
        self.h, self.c = self.stepper.step_by_shares(self.image.gates[image], h, c, level.goes_on, level.rest.last)
        self.exact = self.exact[node] & (level.probability[first] >= self.share)
        self._set = self._set[node] + self._code[tag[first]]
        self.owner = level.owner[node]
        self.weight = level.probability.new_zeros(size).index_add_(0, group, level.probability)
        self.prefix = torch.cat([self.prefix[node], tag[first, None]], dim=1)
        self.rest = level.rest


def followed_gains(stepper: Stepper, image: InitialState, limits: Limits, kind: str) -> ExpectedGains:
    """Expected gain of every tag (see ``Following``). kind: 'log', 'linear' or 'binary'."""
    return Following(stepper, image, limits, kind, SHARE, LEAST).run()


def _codes(vocabulary: int, device: torch.device) -> Tensor:
    """A number for every tag, (V,), so that sums tell sets of tags apart."""
    return torch.randint(1 << 40, (vocabulary,), generator=torch.Generator().manual_seed(0)).to(device)


def _mixed(x: Tensor, row: Tensor, to: Tensor, weight: Tensor, size: int) -> Tensor:
    """Weighted sums of rows of states x (B, K, H), in float32: row, to, weight (E,). Returns (size, K, H)."""
    sums = x.new_zeros((size, *x.shape[1:]), dtype=torch.float32)
    return sums.index_add_(0, to, x.index_select(0, row) * weight[:, None, None])


def _add_linear_gain(gain: Tensor, levels: Sequence[_Level]) -> None:
    """Add the gain (n - r + 1) / n of rank r, which depends on the length n that lists come to.

    From the last level up, what is followed is given the probability to end at each length.
    """
    lengths = torch.arange(len(levels) + 1, device=gain.device)
    last = levels[-1]
    # Of the next nodes, as shares, and of the rests, as probabilities: what goes on from the last level ends there.
    ending = torch.zeros((last.goes_on.size + len(last.rest.image), len(lengths)), device=gain.device)
    ending[:, -1] = 1.0
    for t in range(len(levels) - 1, -1, -1):
        level = levels[t]
        followed, rest = ending.split([level.goes_on.size, len(level.rest.image)])
        each = followed[level.goes_on.group] * level.probability[:, None]
        worth = ((lengths - t) / lengths.clamp(min=1)).clamp(min=0)
        where = (level.owner[level.goes_on.parent], level.goes_on.tag)
        gain.index_put_(where, each @ worth, accumulate=True)
        gain[level.rest.image] += level.rest.last * (rest @ worth * level.rest.probability)[:, None]
        above = torch.zeros((len(level.owner), len(lengths)), device=gain.device)
        above.index_add_(0, level.goes_on.parent, each)
        # A rest's endings are shared out among those that it is made of.
        of_image = torch.zeros((len(gain), len(lengths)), device=gain.device)
        of_image[level.rest.image] = rest
        above += level.left[:, None] * of_image[level.owner]
        above[:, t] += level.stopped
        ending = above / above.sum(dim=1, keepdim=True).clamp(min=torch.finfo(above.dtype).tiny)
