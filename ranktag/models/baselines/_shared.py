"""What the baselines share: their form, what they learn to predict, and rows a block at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any, ClassVar, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from ranktag.evaluation.metrics.ndcg import ndcg
from ranktag.models.baselines._cooccurrence import MOST_IMAGES, WEIGHTS, CoOccurrence, begun_lists
from ranktag.models.ranking import ExpectedGains, best_five, without
from ranktag.training_data.examples import Examples

BLOCK = 1024
# Of several tables of rows by tags.
MOST_GAINS = 2**24
# Summed at once: a multiple of what processors add at once, so that the last columns are added as in the whole.
COLUMNS = 64

# Checkpoints of ranktag before 2026-12 hold these of every baseline, whichever it is.
FORMERLY_SHARED = ("images", "neighbours", "sharpness", "penalty")

Score = Callable[[Tensor], float]
C = TypeVar("C", bound="BaselineConfig")


@dataclass(frozen=True)
class BaselineConfig:
    """How large a baseline is: features D, vocabulary V. One that has more sizes, or settings it chose, adds them.

    pairs: pairs of tags that stand in one training list. cooccurrence: the weight of their lift (see
    ``ranktag.models.baselines._cooccurrence``).
    """

    features: int
    vocabulary: int
    pairs: int = field(default=0, kw_only=True)
    cooccurrence: float = field(default=0.0, kw_only=True)

    @classmethod
    def read(cls: type[C], values: Mapping[str, Any]) -> C:
        """The config in a checkpoint. Raises TypeError for one of other names."""
        own = {f.name for f in fields(cls)}
        return cls(**{name: value for name, value in values.items() if name in own or name not in FORMERLY_SHARED})


@dataclass(frozen=True)
class Attempt:
    """One setting tried on the validation images, and their NDCG@5."""

    setting: str
    score: float


class Baseline(nn.Module):
    """A model without an LSTM. All that it learned stands in its state dict, which a checkpoint holds."""

    Config: ClassVar[type[BaselineConfig]] = BaselineConfig
    # Of the probabilities that it shows (see ``ranktag.models.calibration``); None before it is fitted.
    temperature: float | None = None

    def __init__(self, config: BaselineConfig) -> None:
        super().__init__()
        self.config = config
        self.together = CoOccurrence(config.vocabulary, config.pairs) if config.pairs else None

    def predict(self, features: Tensor) -> ExpectedGains:
        """From (B, D) raw features: the expected gain of every tag, by which tags are ranked (the tag at rank r gains
        1/log2(1+r)), P(tag in the list), and the list's expected length."""
        raise NotImplementedError

    def complete(self, features: Tensor, given: Tensor) -> ExpectedGains:
        """``predict`` for lists that begin with the tags ``given`` (B, P), V or -1 for none: the more often a tag
        stands beside them in training lists, the more is expected of it."""
        expected = self.predict(features)
        if self.together is None or not self.config.cooccurrence:
            return expected
        return lifted(expected, self.config.cooccurrence * self.together.log_lift(given))

    def learn_cooccurrence(self, training: Examples, validation: Examples) -> list[Attempt]:
        """Count which tags stand together, and choose the weight by NDCG@5 of the rest of the validation lists.

        Nothing is learned where no training list holds two tags, or no validation list has a rest.
        """
        encoded = (training.known.encode(tags) for people in training.people for tags in people)
        together = CoOccurrence.of([numbers for numbers in encoded if numbers], self.config.vocabulary)
        image, given, rests = begun_lists(validation, MOST_IMAGES)
        if not len(together.pairs) or not rests:
            return []
        self.together = together
        self.config = replace(self.config, pairs=len(together.pairs))
        return self._choose_weight(together, validation, image, given, rests)

    def _choose_weight(
        self,
        together: CoOccurrence,
        validation: Examples,
        image: Tensor,
        given: Tensor,
        rests: Sequence[Sequence[int]],
    ) -> list[Attempt]:
        features = validation.features[validation.row[: int(image.max()) + 1]].cpu()
        gain = torch.cat([self.predict(block).gain for block in blocks(features)])
        ranked: dict[float, list[list[int]]] = {weight: [] for weight in WEIGHTS}
        for rows in torch.arange(len(image)).split(max(1, min(BLOCK, MOST_GAINS // gain.shape[1]))):
            masked = without(ExpectedGains(gain[image[rows]], gain[image[rows]], gain[image[rows], 0]), given[rows])
            log_lift = together.log_lift(given[rows])
            for weight in WEIGHTS:
                ranked[weight] += best_five(lifted(masked, weight * log_lift).gain)
        truth = [[rest] for rest in rests]
        scores = {weight: float(np.mean(ndcg(truth, lists, 5))) for weight, lists in ranked.items()}
        self.config = replace(self.config, cooccurrence=max(scores, key=lambda weight: scores[weight]))
        return [Attempt(f"cooccurrence={weight:g} (of the rest)", score) for weight, score in scores.items()]


def lifted(expected: ExpectedGains, log_lift: Tensor) -> ExpectedGains:
    """Gains and presences times exp(log_lift), (B, V)."""
    lift = log_lift.exp()
    # A gain that is not positive, as regressions have, stays as low as it is.
    gain = torch.where(expected.gain > 0, expected.gain * lift, expected.gain)
    presence = (expected.presence * lift).clamp(max=1.0)
    return ExpectedGains(gain, presence, expected.length + (presence - expected.presence).sum(dim=1))


class SparseRows:
    """A matrix (N, M) float32 of which only what is not 0 is kept: a million images' tags are a thousandth of it.

    start: (N + 1,) where each row's entries begin. column, value: of the entries, no column twice in a row.
    """

    def __init__(self, start: Tensor, column: Tensor, value: Tensor, columns: int) -> None:
        self._start, self._column, self._value = start, column, value
        self.shape = (len(start) - 1, columns)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, chosen: Tensor | slice) -> Tensor:
        """Rows, (B, M), as a tensor. chosen: their numbers."""
        if isinstance(chosen, slice):
            chosen = torch.arange(*chosen.indices(len(self)))
        row, at = self._entries(chosen)
        dense = torch.zeros(len(chosen), self.shape[1])
        dense[row, self._column[at]] = self._value[at]
        return dense

    def _entries(self, chosen: Tensor) -> tuple[Tensor, Tensor]:
        """Of the entries of the chosen rows: which of those rows each is in, and its number."""
        counts = self._start[chosen + 1] - self._start[chosen]
        row = torch.arange(len(chosen)).repeat_interleave(counts)
        before = torch.cumsum(counts, 0) - counts
        return row, torch.arange(len(row)) - before[row] + self._start[chosen][row]

    def mean(self) -> Tensor:
        """The mean of every column, (M,), to the bit that of the matrix: sums are taken in its order."""
        row, parts = self._entries(torch.arange(len(self)))[0], []
        # The last are taken with those before them: a few columns would be added in another order.
        firsts = range(0, max(1, self.shape[1] // COLUMNS * COLUMNS), COLUMNS)
        for first, last in zip(firsts, [*firsts[1:], self.shape[1]]):
            mine = (first <= self._column) & (self._column < last)
            dense = torch.zeros(len(self), last - first)
            dense[row[mine], self._column[mine] - first] = self._value[mine]
            parts.append(dense.mean(0))
        return torch.cat(parts)


def sparse_targets(examples: Examples, *, gain: bool = True, presence: bool = True) -> SparseRows:
    """Mean over an image's people who gave tags of a tag's gain, and of its presence, side by side: (N, 2V), or one."""
    image, rank, tag = examples.ranked_tags()
    people = torch.tensor([sum(map(bool, lists)) for lists in examples.people], dtype=torch.int64)[image]
    # A tag that several people name has the sum of what each of them adds, one after the other.
    v = len(examples.known)
    keys, entry = np.unique((image * v + tag).numpy(), return_inverse=True)
    values = []
    if gain:
        values.append(1.0 / torch.log2(1.0 + rank) / people)
    if presence:
        values.append((1.0 / people.double()).float())
    sums = np.zeros((len(values), len(keys)), np.float32)
    for of_kind, value in zip(sums, values):
        np.add.at(of_kind, entry.reshape(-1), value.numpy())
    row, column = np.divmod(keys, v)
    both = np.concatenate([row] * len(values)), np.concatenate([column + n * v for n in range(len(values))])
    order = np.argsort(both[0], kind="stable")
    start = np.searchsorted(both[0][order], np.arange(len(examples.people) + 1))
    return SparseRows(
        torch.from_numpy(start.astype(np.int64)),
        torch.from_numpy(both[1][order].astype(np.int64)),
        torch.from_numpy(sums.reshape(-1)[order]),
        v * len(values),
    )


def targets(examples: Examples) -> tuple[Tensor, Tensor]:
    """``sparse_targets`` as two tensors: gain and presence, both (N, V) float32."""
    gain, presence = sparse_targets(examples)[:].chunk(2, dim=1)
    return gain.contiguous(), presence.contiguous()


def blocks(rows: Tensor) -> Iterator[Tensor]:
    """The rows of a tensor, at most BLOCK at a time."""
    return iter(rows.split(BLOCK))
