"""What a model learns from: features joined by image id with people's tag lists."""

from __future__ import annotations

import hashlib
import itertools
import operator
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ranktag.config import TrainingConfig
from ranktag.errors import RanktagError
from ranktag.feature_cache.store import FeatureStore
from ranktag.feature_cache.together import Caches
from ranktag.tags.lists import TagList
from ranktag.tags.spelling import Spelling
from ranktag.tags.splits import shuffled
from ranktag.tags.vocabulary import Vocabulary
from ranktag.training_data.examples import Examples, examples, standardisation
from ranktag.training_data.join import Joined, Tags, join
from ranktag.training_data.loading import Loading
from ranktag.training_data.people import people_of


@dataclass(frozen=True)
class TrainingData:
    """A cache and tag lists ready to train on, loaded once for any number of runs.

    mean, scale: (D,) of the training images' features. people: those who are told apart.
    """

    joined: Joined
    vocabulary: Vocabulary
    training: Examples
    validation: Examples
    mean: Tensor
    scale: Tensor
    people: tuple[str, ...] = ()

    @property
    def longest(self) -> int:
        """Tags in the longest training list."""
        return self.training.longest

    def identity(self) -> dict[str, str]:
        """Digests of what is trained on: of a cache, of the digest that it holds of its data and of the statistics."""
        content = str(self.joined.store.attributes.get("content_sha256", "")).encode()
        statistics = self.mean.cpu().numpy().tobytes() + self.scale.cpu().numpy().tobytes()
        return {"cache": hashlib.sha256(content + statistics).hexdigest(), "tags": self.joined.tags_sha256}


def load_training_data(cache: Caches, tags: Tags, config: TrainingConfig, device: torch.device) -> TrainingData:
    """Join a cache and tag lists and load the features.

    Raises RanktagError for files that cannot be read, features that are not finite, and
    if nothing is left to train or validate on.
    """
    with Loading(device, config.max_memory) as loading:
        joined = join(cache, tags, config.split_seed, loading.begin)
        _refuse_empty(joined)
        if not config.keep_case:
            joined = _in_one_spelling(joined)
        lists = (tag_list for n in joined.parts["train"] for tag_list in joined.lists[n])
        vocabulary = Vocabulary.from_lists(lists, min_count=config.min_count)
        people = people_of(joined, config.person_min_lists) if config.person_embedding else ()
        features = loading.features()
    training = examples(joined, joined.parts["train"], vocabulary, features, people)
    validation = examples(joined, _for_validation(joined), vocabulary, features, people)
    mean, scale = standardisation(training)
    # A training feature that is not finite shows in the mean, and only then is looked for.
    for part in (validation,) if bool(mean.isfinite().all()) else (training, validation):
        _refuse_not_finite(joined.store, part)
    return TrainingData(joined, vocabulary, training, validation, mean, scale, people)


def _refuse_empty(joined: Joined) -> None:
    """Raise RanktagError where there is nothing to train or to validate on."""
    counts = joined.counts()
    for split, purpose in (("train", "train on"), ("val", "stop early by")):
        if not counts[split]:
            raise RanktagError(
                f"{joined.tags_name}: no tagged image with a feature in {joined.store.path} is in split '{split}', "
                f"so there is nothing to {purpose}; the splits hold {', '.join(f'{n} {s}' for s, n in counts.items())}"
            )


def _in_one_spelling(joined: Joined) -> Joined:
    """The lists with every tag in the spelling that is most frequent in the training lists."""
    spelling = Spelling.of(tags for n in joined.parts["train"] for tags in joined.lists[n])
    every: set[str] = set().union(*itertools.chain.from_iterable(joined.lists))
    if all(spelling.spell(tag) == tag for tag in every):
        return joined
    lists = [_spelt(people, spelling) for people in joined.lists]
    note = spelling.note()
    return replace(joined, lists=lists, notes=[*joined.notes, *([note] if note else [])])


def _spelt(people: Sequence[TagList], spelling: Spelling) -> Sequence[TagList]:
    """An image's lists in that spelling: the same objects where nothing changes, as nearly everywhere."""
    spelt = [spelling.spell_list(tags) for tags in people]
    return people if all(map(operator.eq, people, spelt)) else spelt


def _refuse_not_finite(store: FeatureStore, part: Examples) -> None:
    for start, block in part.blocks():
        bad = (~block.sum(1).isfinite()).nonzero().flatten()
        if len(bad):
            raise store.not_finite(int(part.row[start + int(bad[0])]))


def _for_validation(joined: Joined) -> list[int]:
    """The images of the split val; of a large one, a fixed part, so that validating stays cheap beside an epoch."""
    numbers = {joined.image_ids[n]: n for n in joined.parts["val"]}
    most = max(500, len(joined.parts["train"]) // 5)
    return sorted(numbers[image_id] for image_id in shuffled(numbers, 0)[:most])
