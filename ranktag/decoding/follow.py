"""Minimum-Bayes-risk decoding without chance: likely beginnings of lists are followed one by one, others together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from ranktag.decoding.beginnings import EFFORT, Effort, Followed, Nodes, Rest, choose, tag_codes
from ranktag.decoding.mbr import GAIN_OF_RANK
from ranktag.decoding.stepper import Bags, InitialState, States, Stepper
from ranktag.models.ranking import ExpectedGains, Limits

# Of one length and image, on average over so many images at least; a batch that comes to more is parted.
MOST_NODES, FEWEST_IMAGES = 65, 64


class TooManyNodes(Exception):
    """There are more nodes than may be held at once."""


class _Level(NamedTuple):
    """M nodes and the rests of R images, (M + R,) each, at one length, and how they go on.

    owner: their images. stopped: the probability that a list ends there. left: that it goes on with the next rest.
    """

    owner: Tensor
    stopped: Tensor
    left: Tensor
    followed: Followed
    rest: Rest


class _Expectations:
    """What tags gain in the lists of N images, rank by rank, and how far that may be off.

    gain, presence: (N, V). bound: (N,), see ``Following``. gain_of_rank: None where it depends on the list's length.
    """

    def __init__(self, images: int, vocabulary: int, kind: str, device: torch.device) -> None:
        self.gain, self.presence = torch.zeros((2, images, vocabulary), device=device)
        self.bound, self._ended = torch.zeros((2, images), device=device)
        self.gain_of_rank = GAIN_OF_RANK.get(kind)

    def add(self, t: int, at_rank: Tensor) -> None:
        """Add what tags gain at rank t. at_rank (N, V): the probability of each there."""
        self.presence += at_rank
        if self.gain_of_rank is not None:
            self.gain.add_(at_rank, alpha=self.gain_of_rank(t))

    def doubt(self, t: int, nodes: Nodes, stopped: Tensor) -> None:
        """Add to the bound what is not known exactly of rank t. stopped (M,): the probability that lists end there."""
        known = self._ended.index_add(0, nodes.owner, torch.where(nodes.exact, nodes.weight, 0.0))
        self.bound.add_((1.0 - known).clamp_(min=0), alpha=self._at_most(t))
        self._ended.index_add_(0, nodes.owner, torch.where(nodes.exact, stopped, 0.0))

    def doubt_later(self, t: int, longest: int) -> None:
        """Of lists that go on after t tags nothing is known."""
        gain = sum(self._at_most(rank) for rank in range(t + 1, longest + 1))
        self.bound.add_((1.0 - self._ended).clamp_(min=0), alpha=gain)

    def _at_most(self, rank: int) -> float:
        return 1.0 if self.gain_of_rank is None else self.gain_of_rank(rank)

    def result(self) -> ExpectedGains:
        """All of it."""
        return ExpectedGains(self.gain, self.presence, self.presence.sum(dim=1))


class Following:
    """Expected gains of N images from the lists' beginnings, level by level.

    A beginning s (an image's first t - 1 tags, in order) that is likely (``Effort``) is a node of its own: its LSTMs'
    state is exact, and every tag gains P(s) p_t(tag | s) gain(t). Less likely ones of the same tags in other orders
    are one node if they come to as much together, and all others of an image and length are one, its rest: LSTMs'
    states, last tags' embeddings and (in the rest) what has been said are averaged, weighted by probability. So an
    image has at most 1 / fine + 1 nodes of each length.

    expected.bound (N,): the sum over ranks t of gain(t) x P(lists that are not known exactly at t). No tag's gain is
    further from the sum over all lists than that; where everything is followed it is zero. Measured, errors are a
    hundredth.
    """

    def __init__(self, stepper: Stepper, image: InitialState, limits: Limits, kind: str, effort: Effort) -> None:
        """image: where the lists go on from; ranks count from 1 there."""
        n, v, device = len(image.h), stepper.vocabulary, stepper.device
        self.stepper, self.limits, self.effort = stepper, limits, effort
        self.expected = _Expectations(n, v, kind, device)
        # What a list of unknown length is left out with would be lacking from the gains of its first tags, too.
        self._least = effort.least if self.expected.gain_of_rank else 0.0
        self.nodes, self._codes = Nodes.roots(image.given), tag_codes(v, device)
        nothing = torch.zeros((0, v), device=device)
        self.rest = Rest(self.nodes.owner[:0], self.nodes.weight[:0], nothing, nothing)
        # Of every member: the image's share of the gates, and the state of the M nodes first, then of the R rests.
        self._gates = [gates.contiguous() for gates in image.gates.unbind(dim=1)]
        self._states = States(image.h.unbind(dim=1), image.c.unbind(dim=1))

    def run(self, most: int | None = None) -> ExpectedGains:
        """Follow the lists to their ends. Raises TooManyNodes if there are more than ``most`` of one length."""
        by_length: list[_Level] = []
        for t in range(1, self.limits.longest + 1):
            if most is not None and len(self.nodes.owner) > most:
                raise TooManyNodes
            level = self._look(t)
            if self.expected.gain_of_rank is None:
                by_length.append(level)
            if t == self.limits.longest or not len(level.followed.whole) + len(level.rest.image):
                self.expected.doubt_later(t, self.limits.longest)
                break
            self._step(level)
        if by_length:
            _add_linear_gain(self.expected.gain, by_length)
        return self.expected.result()

    def _look(self, t: int) -> _Level:
        """Add what tags gain at rank t, and choose what is followed."""
        v, m, images = self.stepper.vocabulary, len(self.nodes.owner), len(self.expected.bound)
        owner = torch.cat([self.nodes.owner, self.rest.image])
        weight = torch.cat([self.nodes.weight, self.rest.probability])
        p = self.stepper.probabilities(self._states.h, self.nodes.prefix, self.rest.said)
        row = torch.arange(len(owner), device=owner.device)
        at_rank = Bags.sorted(row, owner, weight, images).sums(p)[:, :v]
        self.expected.add(t, at_rank)
        stopped = weight * p[:, v]
        self.expected.doubt(t, self.nodes, stopped[:m])
        # What nodes and rests have left for the next rest, and by which tags.
        left = weight - stopped
        followed = choose(self.nodes, p[:m, :v], self.rest, left[m:], self._codes, images, self.effort)
        left[:m].index_add_(0, followed.parent, followed.probability, alpha=-1)
        where = (self.nodes.owner[followed.parent], followed.tag)
        by_tag = at_rank.index_put_(where, -followed.probability, accumulate=True).clamp_(min=0)
        left.clamp_(min=0)
        return _Level(owner, stopped, left, followed, self._next_rest(owner, left, by_tag))

    def _next_rest(self, owner: Tensor, left: Tensor, by_tag: Tensor) -> Rest:
        """The rests of the images where they are not too little. left: (M + R,), by_tag: (N, V), probabilities."""
        nodes, m = self.nodes, len(self.nodes.owner)
        total = torch.zeros_like(self.expected.bound).index_add_(0, owner, left)
        image = (total >= max(self._least, torch.finfo(total.dtype).tiny)).nonzero().squeeze(1)
        said = F.pad(by_tag, (0, 1))
        where = (nodes.owner[:, None].expand_as(nodes.prefix), nodes.prefix)
        said.index_put_(where, left[:m, None].expand_as(nodes.prefix), accumulate=True)
        said[self.rest.image, :-1] += self.rest.said * left[m:, None]
        total = total[image]
        shares = (x[image] / total[:, None] for x in (said[:, :-1], by_tag))
        return Rest(image, total, *(x.clamp(max=1.0) for x in shares))

    def _step(self, level: _Level) -> None:
        """Take the LSTMs' step for what is followed."""
        tags = level.followed.tags()
        parts = self._parts(level, tags)
        states = States(*([parts.sums(x) for x in several] for several in self._states))
        self.nodes, self.rest = self.nodes.after(level.followed, self._codes), level.rest
        image = torch.cat([self.nodes.owner, self.rest.image])
        gates = [own.index_select(0, image) for own in self._gates]
        self._states = self.stepper.step_by_shares(gates, states, tags, self.rest.last)

    def _parts(self, level: _Level, tags: Bags) -> Bags:
        """What the next nodes and rests are made of. tags: of the nodes, by which tags."""
        rest = level.rest
        # Which of the rests an image's nodes and rest go on to, if any.
        place = torch.full((len(self.expected.bound),), -1, device=rest.image.device)
        place[rest.image] = torch.arange(len(rest.image), device=place.device)
        place = place[level.owner]
        row = (place >= 0).nonzero().squeeze(1)
        shares = level.left[row] / rest.probability[place[row]]
        rests = Bags.sorted(row, place[row], shares, len(rest.image))
        return Bags(
            torch.cat([level.followed.parent, rests.row]),
            torch.cat([tags.bound[:-1], rests.bound + len(tags.row)]),
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


def _add_linear_gain(gain: Tensor, levels: Sequence[_Level]) -> None:
    """Add the gain (n - r + 1) / n of rank r, which depends on the length n that lists come to.

    From the last level up, what is followed is given the probability to end at each length.
    """
    lengths = torch.arange(len(levels) + 1, device=gain.device)
    last = levels[-1]
    # Of the next nodes, as shares, and of the rests, as probabilities: what goes on from the last level ends there.
    ending = torch.zeros((len(last.followed.whole) + len(last.rest.image), len(lengths)), device=gain.device)
    ending[:, -1] = 1.0
    for t in range(len(levels) - 1, -1, -1):
        level = levels[t]
        nodes, rest = ending.split([len(level.followed.whole), len(level.rest.image)])
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
