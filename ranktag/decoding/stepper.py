"""A trained model made ready for decoding: one step of every member, many lists at a time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from ranktag.compute.packed_lstm import activate
from ranktag.models.lstm import RankTagger, Tagger
from ranktag.models.ranking import Limits

NEVER = float("-inf")


class Begun(NamedTuple):
    """B images' lists, begun: image gates (B, K, 4H), added at every step, and the h and c (B, K, H) of the K members after START."""

    gates: Tensor
    h: Tensor
    c: Tensor


class _Member:
    """An LSTM made ready for decoding: weights in the type that is computed in, tags' gate terms in a table."""

    def __init__(self, model: RankTagger, dtype: torch.dtype) -> None:
        self.model, self.dtype = model, dtype
        self.recurrent = model.recurrent.detach().to(dtype).t()
        # In float32 always: bfloat16 would round different tags to equal scores.
        self.output = model.output.weight.detach().float().t()
        self.output_bias = model.output.bias.detach().float()
        self.table = F.linear(model.embedding.detach().to(dtype), model.embedding_gates.detach().to(dtype))

    def begin(self, features: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(B, D) raw features -> image gates (B, 4H), h and c (B, H) after START."""
        gates, start = self.model.image_state(features, self.dtype)
        begun = self.table[-1:] + gates
        if start is not None:
            return gates, *self._cell(begun.addmm_(start[0], self.recurrent), start[1])
        return gates, *self._cell(begun, gates.new_zeros(1, 1, dtype=torch.float32))

    def step(self, gates: Tensor, h: Tensor, c: Tensor, parent: Tensor | None, tag: Tensor) -> tuple[Tensor, Tensor]:
        """``Stepper.step`` of this LSTM: gates (P, 4H), h, c (P, H)."""
        if parent is None:
            sums = torch.addmm(gates, h, self.recurrent)
        else:
            sums, c = gates.addmm_(h, self.recurrent).index_select(0, parent), c.index_select(0, parent)
        return self._cell(sums.add_(F.embedding(tag, self.table)), c)

    def _cell(self, gates: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
        i, f, g, o = activate(gates)
        c = torch.addcmul(f * c, i, g)
        return o * torch.tanh(c).to(self.dtype), c


class Stepper:
    """A trained model, or the members of an ensemble, made ready for decoding."""

    def __init__(self, model: Tagger, dtype: torch.dtype) -> None:
        self.members = [_Member(member, dtype) for member in model.members]  # type: ignore[arg-type]
        self.vocabulary = model.config.vocabulary
        self.device = self.members[0].table.device

    def images(self, features: Tensor) -> Begun:
        """(B, D) raw features -> lists of B images that have only begun."""
        features = features.to(self.device)
        return Begun(*map(_side_by_side, zip(*(member.begin(features) for member in self.members))))

    def step(self, gates: Tensor, h: Tensor, c: Tensor, parent: Tensor | None, tag: Tensor) -> tuple[Tensor, Tensor]:
        """One step of every LSTM from P lists to M that are each one of them and a tag more.

        gates (P, K, 4H): image gates, overwritten if there are parents; h, c (P, K, H). Of the
        M lists: parent (M,), which of the P they go on from (None: the list of the same number),
        and tag (M,). Returns their h and c. What depends on the parent alone is computed once
        for all that go on from it.
        """
        h, c = map(
            _side_by_side,
            zip(*(member.step(gates[:, k], h[:, k], c[:, k], parent, tag) for k, member in enumerate(self.members))),
        )
        return h, c

    def grow(
        self, image: Begun, owner: Tensor, h: Tensor, c: Tensor, parent: Tensor, tag: Tensor
    ) -> tuple[Tensor, Tensor]:
        """``step`` for a tree: of N lists, owner (N,) are their images and h, c (N, K, H), those with children go on."""
        parents, which = parent.unique(return_inverse=True)
        return self.step(
            image.gates.index_select(0, owner[parents]),
            h.index_select(0, parents),
            c.index_select(0, parents),
            which,
            tag,
        )

    def log_probabilities(self, h: Tensor, said: Tensor, limits: Limits) -> Tensor:
        """log p_t (B, V + 1) float32 after masking: ``said`` (B, t) are the tags already in the list."""
        z = [torch.addmm(member.output_bias, h[:, k].float(), member.output) for k, member in enumerate(self.members)]
        for one in z:
            if limits.exact:
                one[:, -1] = NEVER
            if not limits.repeats:
                one.scatter_(1, said, NEVER)
        if len(z) == 1:
            return torch.log_softmax(z[0], dim=1)
        return sum(torch.softmax(one, dim=1) for one in z).div_(len(z)).log_()  # type: ignore[union-attr]


def _side_by_side(members: Sequence[Tensor]) -> Tensor:
    """K tensors (B, n) as one (B, K, n)."""
    return members[0][:, None] if len(members) == 1 else torch.stack(list(members), dim=1)
