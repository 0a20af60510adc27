"""The model: an LSTM that writes tags in order of importance and sees the image at every step.

Yan, Wang and Liao, "LSTM for Image Annotation with Relative Visual Importance", BMVC 2016:

    v   = W_I x + b_I                                     x = CNN(I), standardised; v in R^d
    h_t = LSTM(h_{t-1}, [e(tag_{t-1}); v])                e(START) at t = 1
    z_t = W_z h_t + b_z,  p_t = softmax(z_t)              over V tags and STOP

Where people are told apart (``ModelConfig.people``), v has a share that is the person's: e_p in R^d, which is zero on
average over the people and for one who is not known.

The LSTM's gates are sums, so the image's share, ``W_v v + b``, is computed once a
sequence instead of once a step, and a tag's share, ``W_e e(tag)``, can be a table of
V + 1 rows. That is the textbook form to float error (tests hold it to ``torch.nn.LSTM``
on concatenated inputs). Gates stand in ``torch.nn.LSTM``'s order: input, forget, cell, output.

Letters: B sequences, T steps, S = steps of all sequences together (without padding),
D features, d projection, H hidden, E embedding, V vocabulary.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ranktag.compute.dropout import Dropout
from ranktag.compute.packed_lstm import PackedLSTM
from ranktag.compute.standardise import standardise_columns
from ranktag.compute.table_rows import embed
from ranktag.models.ranking import Head
from ranktag.training_data.examples import PackedLists

if TYPE_CHECKING:
    from ranktag.compute.adamw import AdamW

FORMS = ("every-step", "initial-state")
# More would be a mistake, or a file made to exhaust the memory.
MOST_MEMBERS = 64


@dataclass(frozen=True)
class ModelConfig:
    """Sizes of the model. form: 'every-step', or 'initial-state', where v only sets (h_0, c_0) as in captioning.

    members: LSTMs of these sizes (see ``Ensemble``). people: that are told apart; 0 for none.
    """

    form: str
    features: int
    projection: int
    hidden: int
    embedding: int
    vocabulary: int
    members: int = 1
    people: int = 0


class ImageState(NamedTuple):
    """What the LSTM knows of B images: gates (B, 4H), added at every step; h_0, c_0 (B, H), or None for zeros."""

    gates: Tensor
    start: tuple[Tensor, Tensor] | None


class _Linear(nn.Linear):
    """``nn.Linear`` that leaves its numbers to the model, or they would be drawn twice."""

    def reset_parameters(self) -> None:
        """Draw nothing."""


class RankTagger(nn.Module):
    """The model of Yan et al., in both forms.

    Parameters: ``project`` (D -> d), ``embedding`` (V + 1 rows, START last),
    ``embedding_gates`` (4H, E), ``image_gates`` (4H, d; every-step only), ``recurrent``
    (4H, H), ``bias`` (4H), ``start`` (d -> 2H; initial-state only), ``output`` (H -> V + 1,
    STOP last), ``person`` (P, d; only where people are told apart). Buffers: ``mean``,
    ``scale`` (D): the features' standardisation.
    """

    mean: Tensor
    scale: Tensor
    # What has a say beside it in mbr's ranking; not a part of the state dict.
    head: Head | None = None
    # The names of those whom it tells apart, in the order of their numbers.
    people: tuple[str, ...] = ()
    # Of the probabilities that it shows (see ``ranktag.models.calibration``); None before it is fitted.
    temperature: float | None = None

    def __init__(self, config: ModelConfig, generator: torch.Generator | None = None) -> None:
        super().__init__()
        self.config = config
        d, hidden = config.projection, config.hidden
        self.register_buffer("mean", torch.zeros(config.features))
        self.register_buffer("scale", torch.ones(config.features))
        self.project = _Linear(config.features, d)
        self.embedding = nn.Parameter(torch.empty(config.vocabulary + 1, config.embedding))
        self.embedding_gates = nn.Parameter(torch.empty(4 * hidden, config.embedding))
        self.recurrent = nn.Parameter(torch.empty(4 * hidden, hidden))
        self.bias = nn.Parameter(torch.empty(4 * hidden))
        if config.form == "every-step":
            self.image_gates = nn.Parameter(torch.empty(4 * hidden, d))
        else:
            self.start = _Linear(d, 2 * hidden)
        self.output = _Linear(hidden, config.vocabulary + 1)
        if config.people:
            self.person = nn.Parameter(torch.empty(config.people, d))
        # To draw on the meta device, where weights are loaded into, would import torch._dynamo: over a second.
        if not self.recurrent.is_meta:
            self._initialise(generator)

    @property
    def members(self) -> Sequence[RankTagger]:
        """The model alone: it decides by itself."""
        return (self,)

    def multiplied(self) -> list[nn.Parameter]:
        """The parameters that are multiplied, or added to products, all of them in every step: all but ``embedding``,
        ``person`` and the matrix of ``project``."""
        some = ("embedding", "person", "project.weight")
        return [p for name, p in self.named_parameters() if name not in some]

    @torch.no_grad()
    def _initialise(self, generator: torch.Generator | None) -> None:
        for name, parameter in self.named_parameters():
            if parameter.dim() == 1 or name == "person":
                parameter.zero_()
            elif name == "embedding":
                parameter.normal_(0.0, 1.0, generator=generator)
            else:
                bound = parameter.shape[1] ** -0.5
                parameter.uniform_(-bound, bound, generator=generator)
        # A forget gate that starts open lets the gradient through (Jozefowicz et al., 2015).
        self.bias[self.config.hidden : 2 * self.config.hidden] = 1.0
        # Feature by feature in memory: of these, dropout takes some.
        self.project.weight.data = self.project.weight.t().contiguous().t()

    def standardise(self, features: Tensor) -> Tensor:
        """(B, D) raw features of any float type -> (B, D) float32 of mean 0 and scale 1 over the training rows."""
        # Converted first: arithmetic between two types is several times slower.
        return features.float().sub(self.mean).mul_(1.0 / self.scale)

    def image_state(
        self,
        features: Tensor,
        dtype: torch.dtype,
        dropout: Dropout | None = None,
        person: Tensor | None = None,
        optimiser: AdamW | None = None,
    ) -> ImageState:
        """(B, D) raw features -> what the LSTM knows of the images; products in ``dtype``.

        person: (B,) the number of the one whose list it is, P for one who is not known; None: of nobody. optimiser:
        what gives the weights in training, to move them; None: they are the model's.
        """
        projection = self.project.weight
        if dropout is not None and dropout.person and person is not None:
            person = dropout.forgotten(person, self.config.people)
        if dropout is None or not dropout.features:
            return self.state_of(self.standardise(features).to(dtype), projection, person, optimiser)
        kept, scale = dropout.kept_features(features.shape[1])
        x = standardise_columns(features, kept, self.mean, self.scale, scale, dtype)
        if optimiser is None or optimiser.rows is None:
            rows = projection.t().index_select(0, kept)
        else:
            rows = optimiser.rows.take(kept, dtype)
        return self.state_of(x, rows.t(), person, optimiser)

    def state_of(
        self, x: Tensor, projection: Tensor, person: Tensor | None = None, optimiser: AdamW | None = None
    ) -> ImageState:
        """``image_state`` of standardised features, in the type of ``x``; projection: its weights."""
        dtype = x.dtype
        v = F.linear(x, projection.to(dtype), _weight(self.project.bias, dtype, optimiser))
        if person is not None and self.config.people:
            v = v + F.embedding(person, self.person_shares().to(dtype))
        bias = _weight(self.bias, dtype, optimiser)
        if self.config.form == "every-step":
            return ImageState(F.linear(v, _weight(self.image_gates, dtype, optimiser), bias), None)
        start = F.linear(v, *(_weight(p, dtype, optimiser) for p in (self.start.weight, self.start.bias)))
        h, c = start.chunk(2, dim=1)
        return ImageState(bias.expand(len(v), -1), (torch.tanh(h), c.float()))

    def person_shares(self) -> Tensor:
        """(P + 1, d) what each person adds to v: zero on average, and of one who is not known, the last."""
        return F.pad(self.person - self.person.mean(0), (0, 0, 0, 1))

    def forward(
        self,
        features: Tensor,
        batch: PackedLists,
        dtype: torch.dtype = torch.float32,
        dropout: Dropout | None = None,
    ) -> Tensor:
        """Logits (S, V + 1) float32 of every next tag, with the true tags before it as input.

        features: (B, D) raw, of the lists of ``batch``, the longest first. dtype: of the products.
        """
        return self.logits(self.image_state(features, dtype, dropout, batch.person), batch, dropout).float()

    def logits(
        self,
        image: ImageState,
        batch: PackedLists,
        dropout: Dropout | None = None,
        optimiser: AdamW | None = None,
    ) -> Tensor:
        """``forward`` from what the LSTM knows of the images, in its type. optimiser: as in ``image_state``."""
        dtype = image.gates.dtype
        embedded = embed(self.embedding, batch.previous, dtype)
        if dropout is not None:
            embedded = dropout(embedded, dropout.embedding)
        gates = F.linear(embedded, _weight(self.embedding_gates, dtype, optimiser))
        h, c = image.start or (None, None)
        recurrent = _weight(self.recurrent, dtype, optimiser)
        hidden: Tensor = PackedLSTM.apply(gates, image.gates, h, c, recurrent, batch.sizes)
        if dropout is not None:
            hidden = dropout(hidden, dropout.output)
        output = (_weight(p, dtype, optimiser) for p in (self.output.weight, self.output.bias))
        return F.linear(hidden, *output)


def _weight(parameter: Tensor, dtype: torch.dtype, optimiser: AdamW | None) -> Tensor:
    """A parameter to compute with, in ``dtype``."""
    return parameter.to(dtype) if optimiser is None else optimiser.weight(parameter, dtype)


class Ensemble(nn.Module):
    """Several models of the same sizes, trained from different random weights: p_t is the mean of theirs."""

    head: Head | None = None
    people: tuple[str, ...] = ()
    temperature: float | None = None

    def __init__(self, members: Sequence[RankTagger]) -> None:
        super().__init__()
        self.config = dataclasses.replace(members[0].config, members=len(members))
        self.members = nn.ModuleList(members)


Tagger = RankTagger | Ensemble


def join_members(members: Sequence[RankTagger]) -> Tagger:
    """What decides: the ensemble of the members, or the only one."""
    return members[0] if len(members) == 1 else Ensemble(members)


def build_model(config: ModelConfig) -> Tagger:
    """A model of these sizes, to load weights into. Raises ValueError for an impossible number of members."""
    if not 1 <= config.members <= MOST_MEMBERS:
        raise ValueError(f"{config.members} members")
    one = dataclasses.replace(config, members=1)
    return join_members([RankTagger(one) for _ in range(config.members)])
