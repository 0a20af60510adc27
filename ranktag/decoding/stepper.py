"""A trained LSTM, or several, made ready for decoding: one step of every member, many lists at a time."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Sequence
from typing import NamedTuple, cast

import torch
import torch.nn.functional as F
from torch import Tensor

from ranktag.compute.lstm_step import activate
from ranktag.models.lstm import RankTagger, Tagger
from ranktag.models.ranking import Limits

IMPOSSIBLE = float("-inf")

# From so many rows on, libraries sum over so few columns in one order (oneDNN's and MKL's, in float32 and bfloat16).
FEWEST_ROWS, FEW_COLUMNS = 16, 256
# How much lower about a tag's logit is once it has come. Without it lists that are followed together seem to end too
# soon: LabelMeFacade's by 0.31 of 6.4 tags, with it by 0.05; Flickr8k's by 0.012 of 1.88, 0.002.
LOWER = 4.0


class InitialState(NamedTuple):
    """The state of K LSTMs after START, or after the tags that a list begins with, for B images.

    gates: (B, K, 4H), the image's share of the gates, added at every step. h, c: (B, K, H) float32.
    given: (B, P) the tags that the list begins with, padded by V: they do not come again.
    """

    gates: Tensor
    h: Tensor
    c: Tensor
    given: Tensor


class Bags(NamedTuple):
    """G weighted sums of rows: the rows row[bound[g] : bound[g + 1]] make up the g-th, by their weights.

    row, weight: (E,). bound: (G + 1,).
    """

    row: Tensor
    bound: Tensor
    weight: Tensor

    @classmethod
    def sorted(cls, row: Tensor, to: Tensor, weight: Tensor, size: int) -> Bags:
        """Of rows in any order. to: (E,) to which of the ``size`` sums each belongs; those of one stay in order."""
        to, order = to.sort(stable=True)
        bound = torch.searchsorted(to, torch.arange(size + 1, device=to.device))
        return cls(row[order], bound, weight[order])

    def sums(self, x: Tensor) -> Tensor:
        """(G, n) of rows x (M, n), in the type of x."""
        return F.embedding_bag(
            self.row,
            x,
            self.bound,
            mode="sum",
            include_last_offset=True,
            per_sample_weights=self.weight.to(x.dtype),
        )


class States(NamedTuple):
    """h and c (M, H) of every member, float32."""

    h: Sequence[Tensor]
    c: Sequence[Tensor]


class _Member:
    """An LSTM made ready for decoding: weights in the type that is computed in, tags' gate terms in a table.

    rows: as in ``Stepper``.
    """

    def __init__(self, model: RankTagger, dtype: torch.dtype, rows: int | None) -> None:
        self.model, self.dtype, self.rows = model, dtype, rows
        # A copy whose weights need not be converted for every batch.
        self.image = copy.deepcopy(model).to(dtype)
        self.recurrent = model.recurrent.detach().to(dtype).t()
        # In float32 always: bfloat16 would round different tags to equal scores.
        self.output = model.output.weight.detach().float().t()
        self.output_bias = model.output.bias.detach().float()
        table = F.linear(model.embedding.detach().to(dtype), model.embedding_gates.detach().to(dtype))
        # Below START a row for all tags that the model does not know: the mean of those that it knows.
        self.table = torch.cat([table, table[:-1].mean(dim=0, keepdim=True)])

    def initial_state(self, x: Tensor, person: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(B, D) standardised features, (B,) numbers of people -> image gates (B, 4H), h and c (B, H) after START."""
        if self.rows is not None and len(x) != self.rows:
            parts = [
                self.initial_state(_padded(part, self.rows), F.pad(own, (0, self.rows - len(own))))
                for part, own in zip(x.split(self.rows), person.split(self.rows))
            ]
            gates, h, c = (torch.cat(several)[: len(x)] for several in zip(*parts))
            return gates, h, c
        gates, start = self.image.state_of(x, self.image.project.weight, person)
        sums = self.table[-2:-1] + gates
        if start is not None:
            return gates, *self._cell(sums.addmm_(start[0], self.recurrent), start[1])
        return gates, *self._cell(sums, gates.new_zeros(1, 1, dtype=torch.float32))

    def standardise(self, features: Tensor) -> Tensor:
        """(B, D) raw features -> (B, D) of mean 0 and scale 1 over the training rows, in the type computed in."""
        return self.model.standardise(features).to(self.dtype)

    def step(self, gates: Tensor, h: Tensor, c: Tensor, parent: Tensor | None, tag: Tensor) -> tuple[Tensor, Tensor]:
        """``Stepper.step`` of this LSTM: gates (P, 4H), h, c (P, H)."""
        if parent is None:
            sums = self._add_product(gates.clone(), h.to(self.dtype), self.recurrent)
        else:
            sums = self._add_product(gates, h.to(self.dtype), self.recurrent).index_select(0, parent)
            c = c.index_select(0, parent)
        return self._cell(sums.add_(F.embedding(tag, self.table)), c)

    def step_by_shares(self, gates: Tensor, h: Tensor, c: Tensor, tags: Bags, last: Tensor) -> tuple[Tensor, Tensor]:
        """``Stepper.step_by_shares`` of this LSTM: gates (G + R, 4H), overwritten; h, c (G + R, H)."""
        followed = len(gates) - len(last)
        gates[:followed] += tags.sums(self.table)
        self._add_product(gates[followed:], last, self.table[: last.shape[1]])
        return self._cell(self._add_product(gates, h.to(self.dtype), self.recurrent), c)

    def logits(self, h: Tensor) -> Tensor:
        """(B, H) -> (B, V + 1) float32."""
        if self._at_once(h):
            return torch.addmm(self.output_bias, h, self.output)
        return self._add_product(self.output_bias.repeat(len(h), 1), h, self.output)

    def _add_product(self, sums: Tensor, x: Tensor, weight: Tensor) -> Tensor:
        """``sums`` += x @ weight, as many rows at a time as ``rows`` says."""
        if self._at_once(x):
            return sums.addmm_(x, weight)
        rows = self.rows or len(x)
        for part, own in zip(sums.split(rows), x.split(rows)):
            if len(part) == rows:
                part.addmm_(own, weight)
            else:
                part.copy_(torch.addmm(_padded(part, rows), _padded(own, rows), weight)[: len(part)])
        return sums

    def _at_once(self, x: Tensor) -> bool:
        """Whether a product's sums over the columns of x are alike whatever the number of its rows, or need not be, and
        nothing is compiled for that number."""
        if self.rows is None:
            return True
        compiled = x.device.type == "cpu" and x.dtype == torch.bfloat16
        return not compiled and len(x) >= FEWEST_ROWS and x.shape[1] <= FEW_COLUMNS

    def _cell(self, gates: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
        # In float32: in half as many bits, tanh takes five times as long.
        i, f, g, o = activate(gates.float())
        c = (f * c).addcmul_(i, g)
        return torch.tanh(c).mul_(o), c


class Stepper:
    """A trained model, or the members of an ensemble, made ready for decoding.

    rows: compute products for so many rows at a time, filled up with zeros. A library's product sums in an order that
    depends on the number of rows, so only then is what comes of a row the same, to the bit, whatever stands beside it.
    person: the name of the one whose lists they are; None, or one whom the model does not know: the mean of people.
    """

    def __init__(self, model: Tagger, dtype: torch.dtype, rows: int | None = None, person: str | None = None) -> None:
        self.person = model.people.index(person) if person in model.people else model.config.people
        # Torch declares the items of a ModuleList as modules of any kind.
        members = cast(Iterable[RankTagger], model.members)
        self.members = [_Member(member, dtype, rows) for member in members]
        first = self.members[0].model
        # Trained together, they were trained on the same images.
        self.alike = all(
            torch.equal(m.model.mean, first.mean) and torch.equal(m.model.scale, first.scale) for m in self.members
        )
        self.vocabulary = model.config.vocabulary
        self.device = self.members[0].table.device

    def initial_state(self, features: Tensor, person: Tensor | None = None) -> InitialState:
        """(B, D) raw features -> the state of every member after START.

        person: (B,) the number of the one whose list each is; None: all are of the one whom the stepper is for.
        """
        features = features.to(self.device)
        if person is None:
            person = torch.full((len(features),), self.person)
        person = person.to(self.device)
        x = [member.standardise(features) for member in (self.members[:1] if self.alike else self.members)]
        x = x * (len(self.members) // len(x))
        gates, h, c = map(_stack, zip(*(member.initial_state(own, person) for member, own in zip(self.members, x))))
        return InitialState(gates, h, c, torch.zeros((len(h), 0), dtype=torch.int64, device=self.device))

    def after(self, image: InitialState, given: Tensor) -> InitialState:
        """The state after the tags ``given`` (B, P), V for a tag that is not in the vocabulary, padded by -1.

        A tag that is not in the vocabulary takes its step with the mean embedding of those that are.
        """
        given = given.to(self.device)
        h, c = image.h, image.c
        for tag in given.unbind(dim=1):
            longer = (tag >= 0).nonzero().squeeze(1)
            row = torch.where(tag == self.vocabulary, self.vocabulary + 1, tag)[longer]
            next_h, next_c = self.step(image.gates[longer], h[longer], c[longer], None, row)
            h, c = h.index_copy(0, longer, next_h), c.index_copy(0, longer, next_c)
        return InitialState(image.gates, h, c, torch.where(given < 0, self.vocabulary, given))

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

    def step_by_shares(self, gates: Sequence[Tensor], states: States, tags: Bags, last: Tensor) -> States:
        """One step of every LSTM whose input is a mean of tags' embeddings.

        gates: image gates (G + R, 4H) of every member, overwritten. tags: what the inputs of the first G are made of.
        last (R, V): the shares of the tags in the other R.
        """
        last = last.to(gates[0].dtype)
        of_each = zip(self.members, gates, states.h, states.c)
        return States(*zip(*(member.step_by_shares(own, h, c, tags, last) for member, own, h, c in of_each)))

    def probabilities(self, h: Sequence[Tensor], prefix: Tensor, said: Tensor) -> Tensor:
        """p_t (M + R, V + 1) float32, the mean of the members', from the members' h (M + R, H).

        prefix (M, t): the tags so far of the first M, padded by V. said (R, V): of the other rows, which are means of
        several states, the share of these in which a tag has come already. There it cannot come again: its p is
        multiplied by what is left. STOP's p is made up for the tags' logits that they have lowered (LOWER).
        """
        m, total, fresh = len(prefix), None, 1.0 - said
        raised = (LOWER * said).exp_().mul_(fresh)
        for member, own in zip(self.members, h):
            z = member.logits(own)
            stop = z[:m, -1].clone()
            z[:m].scatter_(1, prefix, IMPOSSIBLE)
            z[:m, -1] = stop
            p = torch.softmax(z, dim=1)
            tags, stop = p[m:, :-1], p[m:, -1]
            stop /= (tags * raised).sum(dim=1).add_(stop).clamp_(min=1e-30)
            tags *= fresh
            tags *= ((1.0 - stop) / tags.sum(dim=1).clamp_(min=1e-30))[:, None]
            total = p if total is None else total.add_(p)
        assert total is not None, "a model has members"
        return total.div_(len(self.members))

    def log_probabilities(self, h: Tensor, prefix: Tensor, limits: Limits) -> Tensor:
        """log p_t (B, V + 1) float32 after masking, from h (B, K, H) and ``prefix`` (B, t), the tags so far.

        prefix: may be padded by V, as STOP never stands in it. Of several members it is the log of their mean p_t.
        """
        logits = [member.logits(h[:, k]) for k, member in enumerate(self.members)]
        for z in logits:
            if not limits.repeats:
                stop = z[:, -1].clone()
                z.scatter_(1, prefix, IMPOSSIBLE)
                z[:, -1] = stop
            if limits.exact:
                z[:, -1] = IMPOSSIBLE
        if len(logits) == 1:
            return torch.log_softmax(logits[0], dim=1)
        p = torch.softmax(logits[0], dim=1)
        for z in logits[1:]:
            p += torch.softmax(z, dim=1)
        return p.div_(len(logits)).log_()


def _padded(x: Tensor, rows: int) -> Tensor:
    """``x`` with rows of zeros below, so that there are as many as asked for."""
    return F.pad(x, (0, 0, 0, rows - len(x)))


def _stack(members: Sequence[Tensor]) -> Tensor:
    """K tensors (B, n) as one (B, K, n); of one, without copying it."""
    return members[0][:, None] if len(members) == 1 else torch.stack(list(members), dim=1)
