"""A feature cache and trained models in, a file of ranked tags out."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ranktag.compute.allocator import kept_memory
from ranktag.compute.device import choose_device
from ranktag.config import ChoiceConfig, DecodingConfig
from ranktag.decoding.given import Encoder, Given, join_given, padded
from ranktag.decoding.memory import Memory, feature_digests
from ranktag.decoding.person import notes_on_person
from ranktag.decoding.rank import ranked_batches
from ranktag.errors import Mismatch, RanktagError
from ranktag.feature_cache.store import FeatureStore
from ranktag.feature_cache.together import Caches, open_together
from ranktag.files.lock import only_writer
from ranktag.models.checkpoint import Checkpoint, load_checkpoint
from ranktag.progress import Progress
from ranktag.tags.chosen import TagChoice
from ranktag.tags.outputs import Output
from ranktag.tags.predictions import (
    PredictedImage,
    Predictions,
    PredictionsWithSplit,
    RankedTag,
    SeenImage,
    predictions_to_frame,
)
from ranktag.tags.splits import SPLITS

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class DecodingReport:
    """What ``decode`` wrote.

    output: the file or folder. images, tags: how many are in it. without_feature: images left out
    because they have no feature. predictions: image id -> (tag, probability) in order of
    rank; empty where they were not to be kept in memory. kept: of how many images they were there
    already. failures: id and reason of images that the format could not be written for.
    given_missing: id -> why, of given lists whose image has no feature. notes: one sentence for
    everything that should be known of the given lists and of ``config.person``.
    """

    output: Path
    images: int
    tags: int
    without_feature: int
    predictions: Predictions
    kept: int = 0
    failures: tuple[tuple[str, str], ...] = ()
    given_missing: Mapping[str, str] = field(default_factory=dict)
    notes: Sequence[str] = ()

    def predictions_frame(self) -> pd.DataFrame:
        """The predictions, a row a tag: image_id, rank, tag, probability, split."""
        return predictions_to_frame(self.predictions)


class FeatureRows:
    """Chosen rows of a memory-mapped cache, read when they are sliced.

    Raises RanktagError at a row that is not finite: no decoder could tell it from any other.
    """

    def __init__(self, store: FeatureStore, rows: npt.NDArray[np.int64]) -> None:
        self._store, self._rows = store, rows

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, part: slice) -> Tensor:
        block = torch.from_numpy(self._store.features[self._rows[part]])
        bad = (~block.sum(dim=1, dtype=torch.float32).isfinite()).nonzero().flatten()
        if len(bad):
            raise self._store.not_finite(int(self._rows[part][int(bad[0])]))
        return block


def decode(
    cache: Caches,
    run: str | Path | Sequence[str | Path],
    output: str | Path | Output,
    config: DecodingConfig = DecodingConfig(),
    *,
    choice: ChoiceConfig = ChoiceConfig(),
    split: str | None = None,
    images: Collection[str] | None = None,
    untagged: Collection[str] | None = None,
    given: Mapping[str, Sequence[str]] | None = None,
    format: str = "long",
    overwrite: bool = False,
    update: bool = False,
    force: bool = False,
    keep: bool = True,
    progress: Progress | None = None,
) -> DecodingReport:
    """Write the ranked tags of a cache's images, in the cache's order, each with the split the model saw it in.

    cache: one, or several that are used as one. run: a run folder, or several of one
    vocabulary (seeds, say) that decide together.
    output: a file of ``format`` (a module of ``ranktag.tags.writers``), replaced if ``overwrite``, brought up
    to date if ``update`` (if the same models and settings made it, images whose features are the same keep
    their tags); or an ``Output``, which says all of that and more itself. choice: which of the tags are written.
    split: only images that were in 'train', 'val' or 'test' when the model was trained.
    images: only images of these ids, all of which must be in the cache. untagged: only
    images that are not among these ids. given: image id -> the tags that its list begins with, of some images;
    what comes next is written (``config.keep_given``: the whole list), and the other images are decoded as usual.
    force: take features that were made otherwise than those trained on. keep: the report holds the predictions;
    without, they are in the output alone, which is written as they come, with a batch of them in memory.
    progress: is told how many images are done.

    Raises RanktagError for files that cannot be read, features of another making, runs
    of different vocabularies, a split without images, or an output that exists or that
    another process writes; ValueError for an unknown format.
    """
    if not isinstance(output, Output):
        output = Output(format, Path(output), overwrite=overwrite, update=update)
    output.refuse_no_place()
    chosen = TagChoice(choice)
    runs, checkpoints, store = open_models(cache, run, force)
    about_person = notes_on_person(config.person, checkpoints, runs)
    rows = _chosen(store, rows_to_decode(store, checkpoints[0], split, runs[0]), images, untagged)
    for sentence in chosen.unknown(checkpoints[0].vocabulary.tags):
        (progress or Progress()).note(sentence)
    begun = join_given(given or {}, store, checkpoints[0])
    with only_writer(output.path):
        memory = Memory(output, runs, config, chosen) if output.update else None
        features = feature_digests(store, rows.tolist(), begun.lists) if memory else {}
        kept = memory.kept(features) if memory and not output.overwrite else {}
        work = _Work(store, checkpoints, rows, begun, chosen, config, kept)
        written = _Written(known_splits(checkpoints), keep)
        with kept_memory():
            # Of files beside photos, which take much longer than their tags, the writing is what is told of.
            tags = work.tags(None if output.beside_photos else progress)
            _write(output, (written.image(*image) for image in tags), len(rows), progress or Progress())
        if memory:
            memory.write(features)
    return DecodingReport(
        output.place,
        len(rows),
        written.tags,
        0 if split is not None or untagged is not None else _without_feature(store, images),
        written.predictions,
        len(kept),
        tuple(output.failures),
        begun.missing,
        [*about_person, *begun.notes],
    )


@dataclass(frozen=True)
class _Work:
    """Rows whose images are written, and what their tags follow from. kept: image id -> tags that are there already."""

    store: FeatureStore
    checkpoints: Sequence[Checkpoint]
    rows: npt.NDArray[np.int64]
    begun: Given
    chosen: TagChoice
    config: DecodingConfig
    kept: Mapping[str, list[RankedTag]]

    def tags(self, progress: Progress | None) -> Iterator[tuple[str, list[RankedTag]]]:
        """Each image's id and tags, in the cache's order, decoded as they are asked for."""
        ids, begun = self.store.image_id, self.begun.lists
        todo = np.array([row for row in self.rows.tolist() if ids[row] not in self.kept], np.int64)
        lists = [begun.get(ids[row], ()) for row in todo.tolist()] if begun else []
        if not len(todo) and self.kept:
            return self._each(iter(()))
        return self._each(ranked_rows(self.store, todo, self.checkpoints, self.config, progress, lists))

    def _each(self, ranked: Iterator[list[RankedTag]]) -> Iterator[tuple[str, list[RankedTag]]]:
        for row in self.rows.tolist():
            image_id = self.store.image_id[row]
            if image_id in self.kept:
                yield image_id, self.kept[image_id]
            else:
                yield image_id, [*self.begun.kept(image_id, self.config.keep_given), *self.chosen.of(next(ranked))]
        # To the end of what it tells of its progress.
        next(ranked, None)


class _Written:
    """What is being written: counted, with the split that each image was seen in, and kept if that is wanted."""

    def __init__(self, split: Mapping[str, str], keep: bool) -> None:
        self.tags = 0
        self._seen: dict[str, str] = {}
        self.predictions = PredictionsWithSplit({}, self._seen)
        self._split, self._keep = split, keep

    def image(self, image_id: str, tags: list[RankedTag]) -> SeenImage:
        """An image as writers take it."""
        split = self._split.get(image_id, "")
        self.tags += len(tags)
        if self._keep:
            self.predictions[image_id], self._seen[image_id] = tags, split
        return SeenImage(image_id, tags, split)


def _write(output: Output, images: Iterator[PredictedImage], count: int, progress: Progress) -> None:
    if output.beside_photos:
        # A hundred thousand files take many minutes.
        images = progress.over(images, "Writing", count, "files")
    output.write(images)


def _without_feature(store: FeatureStore, images: Collection[str] | None) -> int:
    """How many of the images that are wanted, None being all, have no feature."""
    left_out = ~store.valid if images is None else ~store.valid & np.isin(store.image_id, list(images))
    return int(left_out.sum())


def open_models(
    cache: Caches, run: str | Path | Sequence[str | Path], force: bool
) -> tuple[list[Path], list[Checkpoint], FeatureStore]:
    """The runs' folders, their models and the cache. Raises RanktagError if they do not belong together."""
    runs = [Path(run)] if isinstance(run, (str, Path)) else [Path(one) for one in run]
    checkpoints = [load_checkpoint(one) for one in runs]
    store = open_together(cache)
    _refuse_unlike(runs, checkpoints, store, force)
    return runs, checkpoints, store


def _refuse_unlike(runs: Sequence[Path], checkpoints: Sequence[Checkpoint], store: FeatureStore, force: bool) -> None:
    """Raise RanktagError if models cannot decide together or were trained on other features."""
    for path, checkpoint in zip(runs, checkpoints):
        if checkpoint.vocabulary != checkpoints[0].vocabulary:
            raise Mismatch(f"{path}: has other tags than {runs[0]}; runs that decide together need one vocabulary")
        checkpoint.refuse_other_features(store, path, force=force)


def ranked_rows(
    store: FeatureStore,
    rows: npt.NDArray[np.int64],
    checkpoints: Sequence[Checkpoint],
    config: DecodingConfig,
    progress: Progress | None,
    given: Sequence[Sequence[str]],
) -> Iterator[list[RankedTag]]:
    """The ranked tags of some rows, each of which may come again, decoded as they are asked for.

    given: the tags that the list of each begins with; none where no list is begun.
    """
    models = [checkpoint.model for checkpoint in checkpoints]
    longest, device = checkpoints[0].longest, choose_device(config.device)
    encoder = Encoder.of(checkpoints[0])
    begun = padded([encoder.encode(tags) for tags in given]) if any(given) else None
    batches = ranked_batches(models, FeatureRows(store, rows), longest, config, device, progress, begun)
    tags = checkpoints[0].vocabulary.tags
    return (
        [(tags[tag], float(score)) for tag, score in zip(numbers, scores) if tag >= 0]
        for ranked in batches
        for numbers, scores in zip(ranked.tags, ranked.scores)
    )


def _chosen(
    store: FeatureStore,
    rows: npt.NDArray[np.int64],
    images: Collection[str] | None,
    untagged: Collection[str] | None,
) -> npt.NDArray[np.int64]:
    """Those of ``rows`` that are of ``images`` and not of ``untagged``. Raises RanktagError if none is left."""
    if images is None and untagged is None:
        return rows
    if images is not None:
        known = set(store.image_id)
        lacking = [image_id for image_id in images if image_id not in known]
        if lacking:
            raise Mismatch(
                f"{store.path}: {len(lacking):,} of the {len(images):,} images that are listed are not in it "
                f"('{lacking[0]}' first); mend the list, or bring the cache up to date with extract-features"
            )
    wanted, left_out = None if images is None else set(images), set(untagged or ())
    kept = [
        row
        for row in rows.tolist()
        if (wanted is None or store.image_id[row] in wanted) and store.image_id[row] not in left_out
    ]
    if not kept and (wanted is not None or untagged is not None):
        raise RanktagError(f"{store.path}: no image is left to decode; choose other images or leave out the choice")
    return np.array(kept, np.int64)


def seen(checkpoints: Sequence[Checkpoint], image_ids: Sequence[str]) -> dict[str, str]:
    """Image id -> the split in which it was when the models were trained, '' for one that none of them saw."""
    known = known_splits(checkpoints)
    return {image_id: known.get(image_id, "") for image_id in image_ids}


def known_splits(checkpoints: Sequence[Checkpoint]) -> dict[str, str]:
    """Id of every image that a model saw -> the split in which it was then.

    Of several splits it is the one that the models knew most of: train before val before test.
    """
    known: dict[str, str] = {}
    for split in reversed(SPLITS):
        for checkpoint in checkpoints:
            known.update(dict.fromkeys(checkpoint.split.get(split, ()), split))
    return known


def rows_to_decode(store: FeatureStore, checkpoint: Checkpoint, split: str | None, run: Path) -> npt.NDArray[np.int64]:
    """The cache's rows with features, or those that were in the split when the model was trained.

    Raises RanktagError if none was.
    """
    if split is None:
        return np.flatnonzero(store.valid)
    chosen = set(checkpoint.split.get(split, ()))
    rows = [row for row in np.flatnonzero(store.valid).tolist() if store.image_id[row] in chosen]
    if not rows:
        raise RanktagError(
            f"{store.path}: no image of split '{split}' of {run} is in it; leave out --split to decode every image"
        )
    return np.array(rows, dtype=np.int64)
