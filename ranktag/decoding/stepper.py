"""A trained LSTM, or several, made ready for decoding: one step of every member, many lists at a time."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple, cast

import torch
import torch.nn.functional as F
from torch import Tensor

from ranktag.compute.packed_lstm import activate
from ranktag.models.lstm import RankTagger, Tagger
from ranktag.models.ranking import Limits

IMPOSSIBLE = float("-inf")


class InitialState(NamedTuple):
    """The state of K LSTMs after START, for B images.

    gates: (B, K, 4H), the image's share of the gates, added at every step. h, c: (B, K, H).
    """

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

    def initial_state(self, features: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(B, D) raw features -> image gates (B, 4H), h and c (B, H) after START."""
        gates, start = self.model.image_state(features, self.dtype)
        sums = self.table[-1:] + gates
        if start is not None:
            return gates, *self._cell(sums.addmm_(start[0], self.recurrent), start[1])
        return gates, *self._cell(sums, gates.new_zeros(1, 1, dtype=torch.float32))

    def step(self, gates: Tensor, h: Tensor, c: Tensor, parent: Tensor | None, tag: Tensor) -> tuple[Tensor, Tensor]:
        """``Stepper.step`` of this LSTM: gates (P, 4H), h, c (P, H)."""
        if parent is None:
            sums = torch.addmm(gates, h, self.recurrent)
        else:
            sums, c = gates.addmm_(h, self.recurrent).index_select(0, parent), c.index_select(0, parent)
        return self._cell(sums.add_(F.embedding(tag, self.table)), c)

    def logits(self, h: Tensor) -> Tensor:
        """(B, H) -> (B, V + 1) float32."""
        return torch.addmm(self.output_bias, h.float(), self.output)

    def _cell(self, gates: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
        i, f, g, o = activate(gates)
        c = torch.addcmul(f * c, i, g)
        return o * torch.tanh(c).to(self.dtype), c


class Stepper:
    """A trained model, or the members of an ensemble, made ready for decoding."""

    def __init__(self, model: Tagger, dtype: torch.dtype) -> None:
        # Torch declares the items of a ModuleList as modules of any kind.
        members = cast(Iterable[RankTagger], model.members)
        self.members = [_Member(member, dtype) for member in members]
        self.vocabulary = model.config.vocabulary
        self.device = self.members[0].table.device

    def initial_state(self, features: Tensor) -> InitialState:
        """(B, D) raw features -> the state of every member after START."""
        features = features.to(self.device)
        return InitialState(*map(_stack, zip(*(member.initial_state(features) for member in self.members))))

    def step(self, gates: Tensor, h: Tensor, c: Tensor, parent: Tensor | None, tag: Tensor) -> tuple[Tensor, Tensor]:
        """One step of every LSTM from P prefixes to M that are each one of them and a tag more.

        gates (P, K, 4H): image gates, overwritten if there are parents; h, c (P, K, H). Of the
        M: parent (M,), which of the P they continue (None: the one of the same number), and
        tag (M,). Returns their h and c. What depends on the parent alone is computed once
        for all its continuations.
        """
        states = (member.step(gates[:, k], h[:, k], c[:, k], parent, tag) for k, member in enumerate(self.members))
        h, c = map(_stack, zip(*states))
        return h, c

    def branch(
        self, image: InitialState, owner: Tensor, h: Tensor, c: Tensor, parent: Tensor, tag: Tensor
    ) -> tuple[Tensor, Tensor]:
        """``step`` for a tree of prefixes, of which some end, and others have several continuations.

        Of N prefixes: owner (N,), the image of each, and h, c (N, K, H). Of the M continuations: parent (M,), tag (M,).
        """
        parents, which = parent.unique(return_inverse=True)
        return self.step(
            image.gates.index_select(0, owner[parents]),
            h.index_select(0, parents),
            c.index_select(0, parents),
            which,
            tag,
        )

    def log_probabilities(self, h: Tensor, prefix: Tensor, limits: Limits) -> Tensor:
        """log p_t (B, V + 1) float32 after masking, from h (B, K, H) and ``prefix`` (B, t), the tags so far.

        Of several members it is the log of their mean p_t.
        """
        logits = [member.logits(h[:, k]) for k, member in enumerate(self.members)]
        for z in logits:
            if limits.exact:
                z[:, -1] = IMPOSSIBLE
            if not limits.repeats:
                z.scatter_(1, prefix, IMPOSSIBLE)
        if len(logits) == 1:
            return torch.log_softmax(logits[0], dim=1)
        p = torch.softmax(logits[0], dim=1)
        for z in logits[1:]:
            p += torch.softmax(z, dim=1)
        return p.div_(len(logits)).log_()


def _stack(members: Sequence[Tensor]) -> Tensor:
    """K tensors (B, n) as one (B, K, n); of one, without copying it."""
    return members[0][:, None] if len(members) == 1 else torch.stack(list(members), dim=1)
