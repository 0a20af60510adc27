"""Beginnings of lists, by length: which of them are likely enough to be followed, and which are one with others."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from ranktag.decoding.stepper import Bags


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

# Sums of tags' codes are counted modulo this; above it is the image's number.
CODES = 1 << 40


class Rest(NamedTuple):
    """What R images' other beginnings of one length come to: image (R,), probability (R,).

    said (R, V): the share that holds a tag. last (R, V): the share whose last tag it is.
    """

    image: Tensor
    probability: Tensor
    said: Tensor
    last: Tensor


class Followed(NamedTuple):
    """How beginnings go on: E of them, (E,) each, from which node and with which tag, to G nodes of the next length.

    group: which of the G, ascending. bound (G + 1,): where each of them begins among the E. whole (G,): their
    probabilities. alone: the first so many are one beginning's each.
    """

    parent: Tensor
    tag: Tensor
    probability: Tensor
    group: Tensor
    bound: Tensor
    whole: Tensor
    alone: int

    def tags(self) -> Bags:
        """The tags that lead to each of the G, with their shares."""
        return Bags(self.tag, self.bound, self.probability / self.whole[self.group])


class Nodes(NamedTuple):
    """M beginnings of one length that are followed, (M,) each.

    owner: their images. weight: their probabilities. exact: whether each is one beginning alone, and not several of
    the same tags in other orders. prefix (M, P): their tags, in one of the orders. code: of the tags, in any order.
    """

    owner: Tensor
    weight: Tensor
    exact: Tensor
    prefix: Tensor
    code: Tensor

    @classmethod
    def roots(cls, given: Tensor) -> Nodes:
        """One of each image. given (N, P): the tags that its list begins with."""
        n, device = len(given), given.device
        exact = torch.ones(n, dtype=torch.bool, device=device)
        code = torch.zeros(n, dtype=torch.int64, device=device)
        return cls(torch.arange(n, device=device), torch.ones(n, device=device), exact, given, code)

    def after(self, followed: Followed, codes: Tensor) -> Nodes:
        """The nodes of the next length. codes (V,): as for ``choose``."""
        first, size = followed.bound[:-1], len(followed.whole)
        node, tag = followed.parent[first], followed.tag[first]
        exact = self.exact[node] & (torch.arange(size, device=node.device) < followed.alone)
        prefix = torch.cat([self.prefix[node], tag[:, None]], dim=1)
        return Nodes(self.owner[node], followed.whole, exact, prefix, self.code[node] + codes[tag])


def tag_codes(vocabulary: int, device: torch.device) -> Tensor:
    """A number for every tag, (V,), so that sums tell sets of tags apart."""
    return torch.randint(CODES, (vocabulary,), generator=torch.Generator().manual_seed(0)).to(device)


def choose(
    nodes: Nodes, p: Tensor, rest: Rest, rest_goes_on: Tensor, codes: Tensor, images: int, effort: Effort
) -> Followed:
    """How the nodes go on that are likely enough, and what of the same tags is, together.

    p (M, V): of every tag, after each node. rest_goes_on (R,): the probability with which lists of the rests go on.
    """
    q = p * nodes.weight[:, None]
    share = _share(q, nodes, rest, rest_goes_on, images, effort)[nodes.owner]
    least = (share * FEWEST).clamp_(min=torch.finfo(q.dtype).tiny)
    # A probability that is not a number is followed nowhere.
    parent, tag = (q >= least[:, None]).nonzero(as_tuple=True)
    q, share = q[parent, tag], share[parent]
    alone = q >= share
    few = (~alone).nonzero().squeeze(1)
    sets = (nodes.code[parent[few]] + codes[tag[few]]) % CODES + nodes.owner[parent[few]] * CODES
    different, group = sets.unique(return_inverse=True)
    mass = q.new_zeros(len(different)).index_add_(0, group, q[few])
    together = mass >= mass.index_copy(0, group, share[few])
    kept = together[group]
    singles = alone.nonzero().squeeze(1)
    group, order = (torch.cumsum(together, 0) - 1 + len(singles))[group[kept]].sort(stable=True)
    chosen = torch.cat([singles, few[kept][order]])
    group = torch.cat([torch.arange(len(singles), device=q.device), group])
    size = len(singles) + int(together.sum())
    q = q[chosen]
    bound = torch.searchsorted(group, torch.arange(size + 1, device=q.device))
    whole = q.new_zeros(size).index_add_(0, group, q)
    return Followed(parent[chosen], tag[chosen], q, group, bound, whole, len(singles))


def _share(q: Tensor, nodes: Nodes, rest: Rest, rest_goes_on: Tensor, images: int, effort: Effort) -> Tensor:
    """From which probability on an image's beginnings are followed, (N,). q (M, V): theirs, one tag longer."""
    small = torch.where(q < effort.coarse * FEWEST, q, 0.0).sum(dim=1)
    lost = q.new_zeros(images).index_add_(0, nodes.owner, small).index_add_(0, rest.image, rest_goes_on)
    return torch.where(lost < effort.left, effort.fine, effort.coarse)
