"""Lists that are begun: the tags that somebody has given, in order or as a set, before the model goes on.

Tags of the vocabulary are found in any spelling that training would have taken for theirs. A tag that is not in the
vocabulary takes its place: the LSTM steps with the mean embedding of all tags, and the baselines look past it.

Letters: P, the most tags that a list of the batch is begun with.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, TypeVar

import numpy as np
import torch
from torch import Tensor

from ranktag.decoding.stepper import InitialState, Stepper
from ranktag.feature_cache.store import FeatureStore
from ranktag.models.checkpoint import Checkpoint
from ranktag.models.ranking import Limits
from ranktag.tags.lists import unique_tags
from ranktag.tags.matching import what_would_join
from ranktag.tags.predictions import RankedTag
from ranktag.tags.spelling import Spelling
from ranktag.tags.unicode_forms import other_forms, said
from ranktag.tags.vocabulary import Vocabulary
from ranktag.training_data.join import ABSENT, FAILED

# All orders of up to four tags; of more, as many drawn ones.
MOST_ORDERS = 24


class Encoder:
    """Tags as somebody gave them to the numbers of a vocabulary."""

    def __init__(self, vocabulary: Vocabulary, *, keep_case: bool = False) -> None:
        """keep_case: tags that differ only in letter case, spaces or Unicode form are different ones."""
        self._vocabulary = vocabulary
        self._spelling = Spelling({} if keep_case else dict.fromkeys(vocabulary.tags, 1))

    @classmethod
    def of(cls, checkpoint: Checkpoint) -> Encoder:
        """That of a model, which takes spellings for one as its training did."""
        return cls(checkpoint.vocabulary, keep_case=bool(checkpoint.training.get("keep_case")))

    def spell(self, tags: Sequence[str]) -> list[str]:
        """The tags in the vocabulary's spelling, each once; those that it lacks as they are."""
        return list(
            dict.fromkeys(
                tag if self._vocabulary.encode([tag]) else self._spelling.spell(tag) for tag in unique_tags(tags)
            )
        )

    def encode(self, tags: Sequence[str]) -> list[int]:
        """The number of each tag, V for one that is not in the vocabulary."""
        return [next(iter(self._vocabulary.encode([tag])), len(self._vocabulary)) for tag in self.spell(tags)]

    def notes(self, lists: Iterable[Sequence[str]]) -> list[str]:
        """A sentence on the tags that are not in the vocabulary, if there are any."""
        unknown = Counter(tag for tags in lists for tag in self.spell(tags) if not self._vocabulary.encode([tag]))
        if not unknown:
            return []
        shown = ", ".join(f"'{tag}'" for tag, _ in unknown.most_common(3)) + (", ..." if len(unknown) > 3 else "")
        return [
            f"{len(unknown):,} of the given tags are not among the {len(self._vocabulary):,} that the model knows: "
            f"{shown} (they take their place, and say nothing of what comes next)"
        ]


@dataclass(frozen=True)
class Given:
    """The lists that are begun of a cache's images.

    lists: image id -> tags as the vocabulary spells them. missing: id -> why, of the lists whose image has no feature.
    notes: one sentence for everything that a person should know of.
    """

    lists: Mapping[str, Sequence[str]]
    missing: Mapping[str, str]
    notes: Sequence[str]

    def kept(self, image_id: str, keep: bool) -> list[RankedTag]:
        """The given tags as they are written before those that come next, if they are: in the list for certain."""
        return [(tag, 1.0) for tag in self.lists.get(image_id, ())] if keep else []


T = TypeVar("T")


def join_given(
    given: Mapping[str, Sequence[str]], store: FeatureStore, checkpoint: Checkpoint, name: str = "--given"
) -> Given:
    """Join lists that are begun with a cache, by image id. name: where the lists are from.

    Raises RanktagError if two ids would be the same image but for Unicode's form.
    """
    there, missing, notes = join_ids(given, store, name)
    encoder = Encoder.of(checkpoint)
    lists = {image_id: encoder.spell(tags) for image_id, tags in there.items()}
    return Given(lists, missing, [*notes, *encoder.notes(lists.values())])


def join_ids(given: Mapping[str, T], store: FeatureStore, name: str) -> tuple[dict[str, T], dict[str, str], list[str]]:
    """What is given of images, by the ids of the cache; why the others have no feature; and that, in sentences."""
    forms = other_forms(given, set(store.image_id), name)
    row_of, known = store.row_of(), set(store.image_id)
    there = {forms.get(i, i): value for i, value in given.items() if forms.get(i, i) in row_of}
    missing = {i: FAILED if i in known else ABSENT for i in (forms.get(i, i) for i in given) if i not in row_of}
    notes = [said(forms)] if forms else []
    for reason in (ABSENT, FAILED):
        ids = [i for i, why in missing.items() if why == reason]
        if ids:
            shown = ", ".join(f"'{i}'" for i in ids[:3]) + (", ..." if len(ids) > 3 else "")
            notes.append(f"{len(ids):,} of {len(given):,} given lists are of images that are {reason}: {shown}")
            if reason == ABSENT and (hint := what_would_join(ids, row_of, name)):
                notes.append(hint)
    return there, missing, notes


def padded(lists: Sequence[Sequence[int]]) -> Tensor:
    """Lists of tag numbers as (N, P) int64, padded by -1."""
    given = torch.full((len(lists), max(map(len, lists), default=0)), -1, dtype=torch.int64)
    for n, numbers in enumerate(lists):
        given[n, : len(numbers)] = torch.tensor(numbers, dtype=torch.int64)
    return given


class Orders(NamedTuple):
    """M orders of the tags that N lists are begun with.

    image: the state after each order, of M lists. owner: (M,) which of the N it is of. weight: (M,) its
    probability, among those of its list.
    """

    image: InitialState
    owner: Tensor
    weight: Tensor


def after_set(stepper: Stepper, image: InitialState, given: Tensor, seed: int) -> Orders:
    """The states after the orders in which lists can be begun with the tags ``given`` (N, P), padded by -1.

    The order s of a set S has the weight P(s | image) / sum over orders s' of P(s' | image), with P(s) the product
    of p_t(s_t) over the tags of the vocabulary. Of more than MOST_ORDERS orders as many are drawn evenly.
    """
    owner, orders = _orders(given, seed)
    owner, orders = owner.to(stepper.device), orders.to(stepper.device)
    gates, h, c = image.gates[owner], image.h[owner], image.c[owner]
    log_p = torch.zeros(len(owner), device=stepper.device)
    for t, tag in enumerate(orders.unbind(dim=1)):
        # p of the next tag before its step; tags that are not in the vocabulary have none.
        before = torch.where(orders[:, :t] < 0, stepper.vocabulary, orders[:, :t])
        p = stepper.log_probabilities(h, before, Limits(1))
        known = (tag >= 0) & (tag < stepper.vocabulary)
        log_p += torch.where(known, p.gather(1, tag.clamp(min=0)[:, None]).squeeze(1), 0.0)
        begun = stepper.after(InitialState(gates, h, c, orders[:, :0]), tag[:, None])
        h, c = begun.h, begun.c
    most = torch.full((len(given),), float("-inf"), device=stepper.device)
    most.scatter_reduce_(0, owner, log_p, "amax")
    weight = (log_p - most[owner]).exp()
    weight /= torch.zeros_like(most).index_add_(0, owner, weight)[owner]
    begun_with = torch.where(orders < 0, stepper.vocabulary, orders)
    return Orders(InitialState(gates, h, c, begun_with), owner, weight)


def most_likely_order(orders: Orders, lists: int) -> InitialState:
    """Of each of N lists the state after its most likely order; of equal ones the first."""
    best = torch.stack([_first_best(orders, n) for n in range(lists)]) if lists else orders.owner
    return InitialState(*(part[best] for part in orders.image))


def _first_best(orders: Orders, n: int) -> Tensor:
    rows = (orders.owner == n).nonzero().squeeze(1)
    return rows[orders.weight[rows].argmax()]


def _orders(given: Tensor, seed: int) -> tuple[Tensor, Tensor]:
    """Which list (M,), and its tags in an order (M, P)."""
    generator = np.random.default_rng(seed)
    owner: list[int] = []
    found: list[list[int]] = []
    for n, row in enumerate(given.tolist()):
        tags = [tag for tag in row if tag >= 0]
        every = (
            list(itertools.permutations(tags))
            if len(tags) <= 4
            else [tuple(tags[i] for i in generator.permutation(len(tags))) for _ in range(MOST_ORDERS)]
        )
        owner += [n] * len(every)
        found += [[*order, *row[len(tags) :]] for order in every]
    return torch.tensor(owner), torch.tensor(found, dtype=torch.int64).reshape(len(found), given.shape[1])
