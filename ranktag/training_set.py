"""What a model learns from: features joined by image id with people's tag lists."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ranktag.config import TrainingConfig
from ranktag.errors import RanktagError
from ranktag.feature_store import FeatureStore, open_features
from ranktag.files import sha256_file
from ranktag.memory import kept_memory
from ranktag.metrics import ndcg
from ranktag.model import PackedLists
from ranktag.tag_lists import SPLITS, TagList, TagLists, assign_splits, read_tag_lists, shuffled
from ranktag.vocabulary import Vocabulary


@dataclass(frozen=True)
class Joined:
    """A cache and tag lists, joined by image id.

    rows: (N,) the cache's row of each image that has a feature. image_ids, lists: N ids and people's lists. split: id ->
    split, also of images that have no feature. notes: one sentence for everything that was left out.
    """

    store: FeatureStore
    image_ids: Sequence[str]
    rows: np.ndarray
    lists: Sequence[Sequence[TagList]]
    split: dict[str, str]
    made_split: bool
    tags_sha256: str
    notes: Sequence[str]

    @cached_property
    def parts(self) -> dict[str, list[int]]:
        """Split -> numbers of its images that somebody tagged."""
        parts: dict[str, list[int]] = {split: [] for split in SPLITS}
        for number, (image_id, people) in enumerate(zip(self.image_ids, self.lists)):
            if any(people):
                parts[self.split[image_id]].append(number)
        return parts

    def counts(self) -> dict[str, int]:
        """Split -> its number of tagged images."""
        return {split: len(numbers) for split, numbers in self.parts.items()}


def join(cache: Path, tags: Path, seed: int) -> Joined:
    """Join a cache and a tag file; without a split column, a split is made from ``seed``.

    Raises RanktagError for files that cannot be read, and if no id is in both.
    """
    store = open_features(cache)
    tag_lists = read_tag_lists(tags)
    row_of = store.row_of()
    image_ids = [i for i in tag_lists.lists if i in row_of]
    notes = _left_out(store, tag_lists, row_of)
    if not image_ids:
        there, asked = next(iter(store.image_id), "none"), next(iter(tag_lists.lists))
        raise RanktagError(f"{tags}: none of its image ids has a feature in {cache} (ids there: '{there}', here: '{asked}'); write the ids alike, as with 'ranktag prepare csv --prefix'")
    made = tag_lists.split is None
    split = assign_splits(image_ids, seed) if tag_lists.split is None else dict(tag_lists.split)
    if made:
        notes.append(f"no split column: {', '.join(f'{sum(p == s for p in split.values())} {s}' for s in SPLITS)} (seed {seed})")
    return Joined(
        store,
        image_ids,
        np.array([row_of[i] for i in image_ids]),
        [tag_lists.lists[i] for i in image_ids],
        split,
        made,
        sha256_file(tags),
        notes,
    )


def _left_out(store: FeatureStore, tag_lists: TagLists, row_of: dict[str, int]) -> list[str]:
    notes = []
    known = set(store.image_id)
    for reason, ids in (
        ("not in the cache", [i for i in tag_lists.lists if i not in known]),
        ("without a feature, because extraction failed", [i for i in tag_lists.lists if i in known and i not in row_of]),
    ):
        if ids:
            shown = ", ".join(f"'{i}'" for i in ids[:3])
            notes.append(f"{len(ids)} of {len(tag_lists.lists)} tagged images are {reason}: {shown}{', ...' if len(ids) > 3 else ''}")
    untagged = sum(not any(people) for people in tag_lists.lists.values())
    if untagged:
        notes.append(f"{untagged} images have no tags and are not trained on")
    return notes


def load_features(store: FeatureStore, device: torch.device, max_memory: float) -> Tensor:
    """All rows of a cache, (N, D) as stored: in the device's memory, or mapped from disk if larger than ``max_memory`` GiB."""
    features, offset = store.features, store.features.offset  # type: ignore[attr-defined]
    gibibytes = features.nbytes / 2**30
    if gibibytes <= max_memory and (device.type != "cuda" or gibibytes <= 0.5 * torch.cuda.mem_get_info(device)[0] / 2**30):
        # Read, not copied from the mapping: a page fault for every 4 KiB would take several times as long.
        return torch.from_numpy(np.fromfile(store.path, features.dtype, features.size, offset=offset).reshape(features.shape)).to(device)
    # Copy-on-write pages: torch wants writable memory, the file stays as it is.
    return torch.from_numpy(np.memmap(store.path, features.dtype, "c", offset, features.shape))


class Examples:
    """The images of one split as a model takes them.

    features: (all rows of the cache, D) float16 or float32. row: (N,) each image's row.
    people: N images' lists of tags, also of tags that are not in the vocabulary. The L lists
    learned from are those that hold a known tag: ``image`` (L,) says whose and ``steps``
    (L,) their length with STOP.
    """

    def __init__(self, features: Tensor, row: Tensor, people: Sequence[Sequence[TagList]], known: Vocabulary) -> None:
        self.features = features
        self.row = row.to(features.device)
        self.people = people
        self.known = known
        vocabulary = len(known)
        encoded = ((n, known.encode(tags)) for n, lists in enumerate(people) for tags in lists)
        lists = [(n, numbers) for n, numbers in encoded if numbers]
        self.image = torch.tensor([n for n, _ in lists], dtype=torch.int64)
        self.steps = torch.tensor([len(numbers) + 1 for _, numbers in lists], dtype=torch.int64)
        # START and STOP share the number V, each in its own role: previous tags are a list's run of
        # [START, tags, STOP] without its end, targets the same without its beginning.
        self._flat = torch.tensor([n for _, numbers in lists for n in (vocabulary, *numbers, vocabulary)], dtype=torch.int64)
        self._offset = torch.cumsum(self.steps + 1, 0) - (self.steps + 1)

    @property
    def longest(self) -> int:
        """Tags in the longest list."""
        return int(self.steps.max()) - 1

    def ndcg5(self, ranked: Iterable[Iterable[int]]) -> float:
        """Mean NDCG@5 over the images of their ranked tag numbers."""
        return float(np.mean(ndcg(self.people, [self.known.decode(numbers) for numbers in ranked], 5)))

    def blocks(self, size: int = 512) -> Iterator[tuple[int, Tensor]]:
        """The images' features, (<= size, D) float32 at a time, with the number of the first."""
        for start in range(0, len(self.row), size):
            yield start, self.features[self.row[start : start + size]].float()

    def pack(self, chosen: Tensor) -> tuple[Tensor, PackedLists]:
        """Features (B, D) and lists of the given list numbers (B,), packed step by step, the longest list first."""
        steps = self.steps[chosen]
        order = torch.argsort(steps, descending=True, stable=True)
        t = torch.arange(int(steps.max()))[:, None]
        reached = t < steps[order]
        at = (self._offset[chosen[order]] + t)[reached]
        device = self.features.device
        lists = PackedLists(self._flat[at].to(device), self._flat[at + 1].to(device), reached.sum(1).tolist())
        return self.features[self.row[self.image[chosen[order]].to(device)]], lists


def examples(joined: Joined, chosen: Sequence[int], vocabulary: Vocabulary, features: Tensor) -> Examples:
    """Examples of the joined images of the given numbers. features: all rows of the cache."""
    return Examples(features, torch.from_numpy(joined.rows[chosen]), [joined.lists[n] for n in chosen], vocabulary)


def standardisation(training: Examples) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation (D,) float32 of the training images' features; a feature that never varies has scale 1."""
    total = torch.zeros(training.features.shape[1], dtype=torch.float64, device=training.features.device)
    squares = total.clone()
    for _, block in training.blocks():
        total += block.sum(0)
        squares += block.square().sum(0)
    mean = total / len(training.row)
    scale = (squares / len(training.row) - mean.square()).clamp(min=0).sqrt()
    return mean.float(), torch.where(scale > 1e-6, scale, 1.0).float()


@dataclass(frozen=True)
class TrainingData:
    """A cache and tag lists ready to train on, loaded once for any number of runs.

    mean, scale: (D,) of the training images' features.
    """

    joined: Joined
    vocabulary: Vocabulary
    training: Examples
    validation: Examples
    mean: Tensor
    scale: Tensor

    @property
    def longest(self) -> int:
        """Tags in the longest training list."""
        return self.training.longest

    def identity(self) -> dict[str, str]:
        """Digests of what is trained on: of a cache, the one it holds of its data (and, should it hold none, of the statistics)."""
        content = str(self.joined.store.attributes.get("content_sha256", "")).encode()
        statistics = self.mean.cpu().numpy().tobytes() + self.scale.cpu().numpy().tobytes()
        return {"cache": hashlib.sha256(content + statistics).hexdigest(), "tags": self.joined.tags_sha256}


@kept_memory()
def load_training_data(cache: Path, tags: Path, config: TrainingConfig, device: torch.device) -> TrainingData:
    """Join a cache and a tag file and load the features.

    Raises RanktagError for files that cannot be read, features that are not finite, and
    if nothing is left to train or validate on.
    """
    joined = join(cache, tags, config.split_seed)
    counts = joined.counts()
    for split, purpose in (("train", "train on"), ("val", "stop early by")):
        if not counts[split]:
            raise RanktagError(
                f"{tags}: no tagged image with a feature in {cache} is in split '{split}', so there is nothing to {purpose}; "
                f"the splits hold {', '.join(f'{n} {s}' for s, n in counts.items())}"
            )
    lists = (tag_list for n in joined.parts["train"] for tag_list in joined.lists[n])
    vocabulary = Vocabulary.from_lists(lists, min_count=config.min_count)
    features = load_features(joined.store, device, config.max_memory)
    training = examples(joined, joined.parts["train"], vocabulary, features)
    validation = examples(joined, _for_validation(joined), vocabulary, features)
    mean, scale = standardisation(training)
    # A number that is not finite shows in the mean, and only then is looked for.
    for part in (validation,) if bool(mean.isfinite().all()) else (training, validation):
        for start, block in part.blocks():
            bad = (~block.sum(1).isfinite()).nonzero().flatten()
            if len(bad):
                raise joined.store.not_finite(int(part.row[start + int(bad[0])]))
    return TrainingData(joined, vocabulary, training, validation, mean, scale)


def _for_validation(joined: Joined) -> list[int]:
    """The images of the split val; of very many, a fixed part, so that validating stays cheap beside an epoch."""
    numbers = {joined.image_ids[n]: n for n in joined.parts["val"]}
    most = max(500, len(joined.parts["train"]) // 5)
    return sorted(numbers[image_id] for image_id in shuffled(numbers, 0)[:most])
