"""Minimum-Bayes-risk decoding without chance: likely beginnings of lists are followed one by one, others together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from ranktag.decoding.mbr import GAIN_OF_RANK
from ranktag.decoding.stepper import Bags, InitialState, States, Stepper
from ranktag.models.ranking import ExpectedGains, Limits


class Effort(NamedTuple):
    """How far lists are followed, in probabilities.

    fine: a beginning is followed by itself from this probability on, and so are several of the same tags that come to
    as much, where what is too small to be looked at then comes to less than ``left``. coarse: from this one on where
    it comes to more, as following a few more of very many would not tell more. least: what all others come to
    together is no longer followed below it.
    """

    fine: float
    coarse: float
    left: float
    least: float


EFFORT = Effort(fine=1 / 256, coarse=1 / 64, left=1 / 4, least=1 / 256)
# Beginnings below this part of the probability to be followed from are not looked through for others of the same tags.
FEWEST = 1 / 8
# Of one length and image, on average over so many images at least; a batch that comes to more is parted.
MOST_NODES, FEWEST_IMAGES = 65, 64


class TooManyNodes(Exception):
    """There are more nodes than may be held at once."""


class _Rest(NamedTuple):
    """What R images' other beginnings of one length come to: image (R,), probability (R,).

    said (R, V): the share that holds a tag. last (R, V): the share whose last tag it is.
    """

    image: Tensor
    probability: Tensor
    said: Tensor
    last: Tensor


class _Followed(NamedTuple):
    """G nodes of the next length: E beginnings go on there, (E,) each, from which node and with which tag.

    group: which of the G, ascending. size: G, of which the first ``alone`` are one beginning's each.
    """

    parent: Tensor
    tag: Tensor
    probability: Tensor
    group: Tensor
    size: int
    alone: int

    def whole(self) -> Tensor:
        """The probability of each of the G."""
        return self.probability.new_zeros(self.size).index_add_(0, self.group, self.probability)


class _Level(NamedTuple):
    """M nodes and the rests of R images, (M + R,) each, at one length, and how they go on.

    owner: their images. stopped: the probability that a list ends there. left: that it goes on with the next rest.
    """

    owner: Tensor
    stopped: Tensor
    left: Tensor
    followed: _Followed
    rest: _Rest


class Following:
    """Expected gains of N images from the lists' beginnings, level by level.

    A beginning s (an image's first t - 1 tags, in order) that is likely (``Effort``) is a node of its own: its LSTMs'
    state is exact, and every tag gains P(s) p_t(tag | s) gain(t). Less likely ones of the same tags in other orders
    are one node if they come to as much together, and all others of an image and length are one, its rest: LSTMs'
    states, last tags' embeddings and (in the rest) what has been said are averaged, weighted by probability. So an
    image has at most 1 / fine + 1 nodes of each length.

    bound (N,): the sum over ranks t of gain(t) x P(lists that are not known exactly at t). No tag's gain is further
    from the sum over all lists than that; where everything is followed it is zero. Measured, errors are a hundredth.
    """

    def __init__(
        self,
        stepper: Stepper,
        image: InitialState,
        limits: Limits,
        kind: str,
        effort: Effort,
    ) -> None:
        """image: where the lists go on from; ranks count from 1 there."""
        n, v, device = len(image.h), stepper.vocabulary, stepper.device
        self.stepper, self.limits, self.effort = stepper, limits, effort
        self.gain_of_rank = GAIN_OF_RANK.get(kind)
        # What a list of unknown length is left out with would be lacking from the gains of its first tags, too.
        self.least = effort.least if self.gain_of_rank else 0.0
        self.gain, self.presence = torch.zeros((n, v), device=device), torch.zeros((n, v), device=device)
        self.bound, self._ended = torch.zeros(n, device=device), torch.zeros(n, device=device)
        # Of each node: its image, its probability, whether it is one beginning alone, its tags, and their sum of codes.
        self.owner, self.weight = torch.arange(n, device=device), torch.ones(n, device=device)
        self.exact = torch.ones(n, dtype=torch.bool, device=device)
        self.prefix = image.given
        self._code, self._set = _codes(v, device), torch.zeros(n, dtype=torch.int64, device=device)
        nothing = torch.zeros((0, v), device=device)
        self.rest = _Rest(self.owner[:0], self.weight[:0], nothing, nothing)
        # Of every member: the image's share of the gates, and the state of the M nodes first, then of the R rests.
        self._gates = [gates.contiguous() for gates in image.gates.unbind(dim=1)]
        self.states = States(image.h.unbind(dim=1), image.c.unbind(dim=1))
        self._levels: list[_Level] = []

    def run(self, most: int | None = None) -> ExpectedGains:
        """Follow the lists to their ends. Raises TooManyNodes if there are more than ``most`` of one length."""
        for t in range(1, self.limits.longest + 1):
            if most is not None and len(self.owner) > most:
                raise TooManyNodes
            level = self._look(t)
            if self.gain_of_rank is None:
                self._levels.append(level)
            if t == self.limits.longest or not level.followed.size + len(level.rest.image):
                self._bound_rest(t)
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
        p = self.stepper.probabilities(self.states.h, self.prefix, self.rest.said)
        row = torch.arange(len(owner), device=owner.device)
        at_rank = Bags.sorted(row, owner, weight, len(self.bound)).sums(p)[:, :v]
        self.presence += at_rank
        gain = 1.0 if self.gain_of_rank is None else self.gain_of_rank(t)
        if self.gain_of_rank is not None:
            self.gain.add_(at_rank, alpha=gain)
        stopped = weight * p[:, v]
        self._add_bound(gain, stopped[:m])
        followed = self._followed(p[:m, :v], (weight - stopped)[m:])
        # What nodes and rests have left for the next rest, and by which tags.
        left = weight - stopped
        left[:m].index_add_(0, followed.parent, followed.probability, alpha=-1)
        where = (self.owner[followed.parent], followed.tag)
        by_tag = at_rank.index_put_(where, -followed.probability, accumulate=True).clamp_(min=0)
        left.clamp_(min=0)
        return _Level(owner, stopped, left, followed, self._rest(owner, left, by_tag))

    def _add_bound(self, gain: float, stopped: Tensor) -> None:
        known = torch.where(self.exact, self.weight, 0.0)
        known = self._ended.index_add(0, self.owner, known)
        self.bound.add_((1.0 - known).clamp_(min=0), alpha=gain)
        self._ended.index_add_(0, self.owner, torch.where(self.exact, stopped, 0.0))

    def _bound_rest(self, t: int) -> None:
        """Of what goes on after t tags nothing is known."""
        later = range(t + 1, self.limits.longest + 1)
        gain = sum(1.0 if self.gain_of_rank is None else self.gain_of_rank(rank) for rank in later)
        self.bound.add_((1.0 - self._ended).clamp_(min=0), alpha=gain)

    def _share(self, q: Tensor, rest: Tensor) -> Tensor:
        """From which probability on an image's beginnings are followed, (N,); q and rest as in ``_followed``."""
        fine, coarse, left, _ = self.effort
        small = torch.where(q < coarse * FEWEST, q, 0.0).sum(dim=1)
        lost = torch.zeros_like(self.bound).index_add_(0, self.owner, small).index_add_(0, self.rest.image, rest)
        return torch.where(lost < left, fine, coarse)

    def _followed(self, p: Tensor, rest: Tensor) -> _Followed:
        """How the nodes go on. p (M, V): of every tag, after each node. rest (R,): what goes on from the rests."""
        q = p * self.weight[:, None]
        share = self._share(q, rest)[self.owner]
        least = (share * FEWEST).clamp_(min=torch.finfo(q.dtype).tiny)
        # A probability that is not a number is followed nowhere.
        parent, tag = (q >= least[:, None]).nonzero(as_tuple=True)
        q, share = q[parent, tag], share[parent]
        alone = q >= share
        few = (~alone).nonzero().squeeze(1)
        sets = (self._set[parent[few]] + self._code[tag[few]]) % (1 << 40) + (self.owner[parent[few]] << 40)
        different, group = sets.unique(return_inverse=True)
        mass = q.new_zeros(len(different)).index_add_(0, group, q[few])
        together = mass >= mass.index_copy(0, group, share[few])
        kept = together[group]
        singles = alone.nonzero().squeeze(1)
        group, order = (torch.cumsum(together, 0) - 1 + len(singles))[group[kept]].sort(stable=True)
        chosen = torch.cat([singles, few[kept][order]])
        group = torch.cat([torch.arange(len(singles), device=q.device), group])
        return _Followed(
            parent[chosen], tag[chosen], q[chosen], group, len(singles) + int(together.sum()), len(singles)
        )

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
        followed, rest = level.followed, level.rest
        whole, size, device = followed.whole(), followed.size, followed.group.device
        first = torch.searchsorted(followed.group, torch.arange(size + 1, device=device))
        tags = Bags(followed.tag, first, followed.probability / whole[followed.group])
        first = first[:-1]
        node, tag = followed.parent[first], followed.tag[first]
        image = torch.cat([level.owner[node], rest.image])
        bags = self._parts(level, tags)
        states = States(*([bags.sums(x) for x in several] for several in self.states))
        gates = [own.index_select(0, image) for own in self._gates]
        self.states = self.stepper.step_by_shares(gates, states, tags, rest.last)
        self.exact = self.exact[node] & (torch.arange(size, device=device) < followed.alone)
        self._set = self._set[node] + self._code[tag]
        self.owner, self.weight, self.rest = level.owner[node], whole, rest
        self.prefix = torch.cat([self.prefix[node], tag[:, None]], dim=1)

    def _parts(self, level: _Level, tags: Bags) -> Bags:
        """What the next nodes and rests are made of. tags: of the nodes, by which tags."""
        rest, size = level.rest, level.followed.size
        # Which of the rests an image's nodes and rest go on to, if any.
        place = torch.full((len(self.bound),), -1, device=rest.image.device)
        place[rest.image] = torch.arange(len(rest.image), device=place.device)
        place = place[level.owner]
        row = (place >= 0).nonzero().squeeze(1)
        shares = level.left[row] / rest.probability[place[row]]
        rests = Bags.sorted(row, place[row], shares, len(rest.image))
        return Bags(
            torch.cat([level.followed.parent, rests.row]),
            torch.cat([tags.bound[:size], rests.bound + len(tags.row)]),
            torch.cat([tags.weight, rests.weight]),
        )


def followed_gains(stepper: Stepper, image: InitialState, limits: Limits, kind: str) -> ExpectedGains:
    """Expected gain of every tag (see ``Following``). kind: 'log', 'linear' or 'binary'."""
    images = len(image.h)
    try:
        most = MOST_NODES * max(images, FEWEST_IMAGES) if images > 1 else None
        return Following(stepper, image, limits, kind, EFFORT).run(most)
    except TooManyNodes:
        halves = (InitialState(*half) for half in zip(*(x.tensor_split(2) for x in image)))
        parts = [followed_gains(stepper, half, limits, kind) for half in halves]
    return ExpectedGains(*(torch.cat(several) for several in zip(*((p.gain, p.presence, p.length) for p in parts))))


def _codes(vocabulary: int, device: torch.device) -> Tensor:
    """A number for every tag, (V,), so that sums tell sets of tags apart."""
    return torch.randint(1 << 40, (vocabulary,), generator=torch.Generator().manual_seed(0)).to(device)


def _add_linear_gain(gain: Tensor, levels: Sequence[_Level]) -> None:
    """Add the gain (n - r + 1) / n of rank r, which depends on the length n that lists come to.

    From the last level up, what is followed is given the probability to end at each length.
    """
    lengths = torch.arange(len(levels) + 1, device=gain.device)
    last = levels[-1]
    # Of the next nodes, as shares, and of the rests, as probabilities: what goes on from the last level ends there.
    ending = torch.zeros((last.followed.size + len(last.rest.image), len(lengths)), device=gain.device)
    ending[:, -1] = 1.0
    for t in range(len(levels) - 1, -1, -1):
        level = levels[t]
        nodes, rest = ending.split([level.followed.size, len(level.rest.image)])
        each = nodes[level.followed.group] * level.followed.probability[:, None]
        worth = ((lengths - t) / lengths.clamp(min=1)).clamp(min=0)
        where = (level.owner[level.followed.parent], level.followed.tag)
        gain.index_put_(where, each @ worth, accumulate=True)
        gain[level.rest.image] += level.rest.last * (rest @ worth * level.rest.probability)[:, None]
        above = torch.zeros((len(level.owner), len(lengths)), device=gain.device)
        above.index_add_(0, level.followed.parent, each)
        # A rest's endings are shared out among those that it is made of.
        of_image = torch.zeros((len(gain), len(lengths)), device=gain.device)
        of_image[level.rest.image] = rest
        above += level.left[:, None] * of_image[level.owner]
        above[:, t] += level.stopped
        ending = above / above.sum(dim=1, keepdim=True).clamp(min=torch.finfo(above.dtype).tiny)
