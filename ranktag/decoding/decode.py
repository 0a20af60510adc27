"""A feature cache and trained models in, a file of ranked tags out."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from ranktag.compute.allocator import kept_memory
from ranktag.compute.device import choose_device
from ranktag.config import ChoiceConfig, DecodingConfig
from ranktag.decoding.given import Encoder, Given, join_given, padded
from ranktag.decoding.inputs import FeatureRows, choose_rows, known_splits, open_models, rows_to_decode
from ranktag.decoding.memory import Memory, feature_digests
from ranktag.decoding.person import notes_on_person
from ranktag.decoding.rank import ranked_batches
from ranktag.feature_cache.store import FeatureStore
from ranktag.feature_cache.together import Caches
from ranktag.files.lock import only_writer
from ranktag.models.checkpoint import Checkpoint
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
    progress = progress or Progress()
    if not isinstance(output, Output):
        output = Output(format, Path(output), overwrite=overwrite, update=update)
    output.refuse_no_place()
    chosen = TagChoice(choice)
    runs, checkpoints, store = open_models(cache, run, force)
    about_person = notes_on_person(config.person, checkpoints, runs)
    rows = choose_rows(store, rows_to_decode(store, checkpoints[0], split, runs[0]), images, untagged)
    for sentence in chosen.unknown(checkpoints[0].vocabulary.tags):
        progress.note(sentence)
    begun = join_given(given or {}, store, checkpoints[0])
    work = _Work(store, checkpoints, rows, begun, chosen, config)
    written = _Written(known_splits(checkpoints), keep)
    with only_writer(output.path):
        if output.update:
            work = _bring_up_to_date(output, runs, work, written, progress)
        else:
            _write(output, work, written, progress)
    without_feature = 0 if split is not None or untagged is not None else _without_feature(store, images)
    return _report(output, work, written, without_feature, [*about_person, *begun.notes])


@dataclass(frozen=True)
class _Work:
    """Rows whose images are written, and what their tags follow from. kept: id -> tags that are there already."""

    store: FeatureStore
    checkpoints: Sequence[Checkpoint]
    rows: npt.NDArray[np.int64]
    begun: Given
    chosen: TagChoice
    config: DecodingConfig
    kept: Mapping[str, list[RankedTag]] = field(default_factory=dict)

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


def _write(output: Output, work: _Work, written: _Written, progress: Progress) -> None:
    with kept_memory():
        # Of files beside photos, of which a hundred thousand take many minutes, the writing is what is told of.
        tags = work.tags(None if output.beside_photos else progress)
        images: Iterator[PredictedImage] = (written.image(*image) for image in tags)
        if output.beside_photos:
            images = progress.over(images, "Writing", len(work.rows), "files")
        output.write(images)


def _bring_up_to_date(
    output: Output, runs: Sequence[Path], work: _Work, written: _Written, progress: Progress
) -> _Work:
    """Write the images, those that are as the output remembers them with the tags that they have in it.

    Returned is the work with what of it was there already.
    """
    memory = Memory(output, runs, work.config, work.chosen)
    features = feature_digests(work.store, work.rows.tolist(), work.begun.lists)
    if not output.overwrite:
        work = replace(work, kept=memory.kept(features))
    _write(output, work, written, progress)
    memory.write(features)
    return work


def _report(
    output: Output, work: _Work, written: _Written, without_feature: int, notes: Sequence[str]
) -> DecodingReport:
    return DecodingReport(
        output.place,
        len(work.rows),
        written.tags,
        without_feature,
        written.predictions,
        len(work.kept),
        tuple(output.failures),
        work.begun.missing,
        notes,
    )


def _without_feature(store: FeatureStore, images: Collection[str] | None) -> int:
    """How many of the images that are wanted, None being all, have no feature."""
    left_out = ~store.valid if images is None else ~store.valid & np.isin(store.image_id, list(images))
    return int(left_out.sum())


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
