"""A feature cache and trained models in, a file of ranked tags out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ranktag import registry
from ranktag.compute.device import choose_device
from ranktag.config import DecodingConfig
from ranktag.decoding.rank import rank_tags
from ranktag.errors import RanktagError
from ranktag.feature_cache.store import FeatureStore, open_features
from ranktag.files.atomic import refuse_existing
from ranktag.models.checkpoint import Checkpoint, load_checkpoint
from ranktag.progress import Progress
from ranktag.tags.predictions import (
    WRITERS,
    Predictions,
    PredictionsWithSplit,
    predictions_to_frame,
    write_predictions,
)
from ranktag.tags.splits import SPLITS

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class DecodingReport:
    """What ``decode`` wrote.

    output: the file. images, tags: how many are in it. without_feature: images left out
    because they have no feature. predictions: image id -> (tag, probability) in order of rank.
    """

    output: Path
    images: int
    tags: int
    without_feature: int
    predictions: Predictions

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
    cache: str | Path,
    run: str | Path | Sequence[str | Path],
    output: str | Path,
    config: DecodingConfig = DecodingConfig(),
    *,
    split: str | None = None,
    format: str = "long",
    overwrite: bool = False,
    force: bool = False,
    progress: Progress | None = None,
) -> DecodingReport:
    """Write the ranked tags of a cache's images, in the cache's order, each with the split the model saw it in.

    run: a run folder, or several of one vocabulary (seeds, say) that decide together.
    split: only images that were in 'train', 'val' or 'test' when the model was trained.
    format: a module of ``ranktag.tags.writers``. force: take features that were made
    otherwise than those trained on. progress: is told how many images are done.

    Raises RanktagError for files that cannot be read, features of another making, runs
    of different vocabularies, a split without images, or an output that exists; ValueError
    for an unknown format.
    """
    cache, output = Path(cache), Path(output)
    refuse_existing(output, overwrite)
    registry.load(WRITERS, format)
    runs = [Path(run)] if isinstance(run, (str, Path)) else [Path(one) for one in run]
    checkpoints = [load_checkpoint(one) for one in runs]
    first = checkpoints[0]
    store = open_features(cache)
    for path, checkpoint in zip(runs, checkpoints):
        if checkpoint.vocabulary != first.vocabulary:
            raise RanktagError(f"{path}: has other tags than {runs[0]}; runs that decide together need one vocabulary")
        checkpoint.refuse_other_features(store, path, force=force)
    rows = np.flatnonzero(store.valid) if split is None else _rows_of_split(store, first, split)
    if split is not None and not len(rows):
        raise RanktagError(
            f"{cache}: no image of split '{split}' of {runs[0]} is in it; leave out --split to decode every image"
        )
    device = choose_device(config.device)
    models = [checkpoint.model for checkpoint in checkpoints]
    ranked = rank_tags(models, FeatureRows(store, rows), first.longest, config, device, progress)
    tags = first.vocabulary.tags
    predictions = PredictionsWithSplit(
        {
            store.image_id[row]: [(tags[tag], float(score)) for tag, score in zip(numbers, scores) if tag >= 0]
            for row, numbers, scores in zip(rows.tolist(), ranked.tags, ranked.scores)
        },
        _seen(checkpoints, [store.image_id[row] for row in rows.tolist()]),
    )
    write_predictions(output, predictions, format)
    without_feature = int((~store.valid).sum()) if split is None else 0
    return DecodingReport(output, len(rows), int((ranked.tags >= 0).sum()), without_feature, predictions)


def _seen(checkpoints: Sequence[Checkpoint], image_ids: Sequence[str]) -> dict[str, str]:
    """Image id -> the split in which it was when the models were trained, '' for one that none of them saw.

    Of several splits it is the one that the models knew most of: train before val before test.
    """
    known: dict[str, str] = {}
    for split in reversed(SPLITS):
        for checkpoint in checkpoints:
            known.update(dict.fromkeys(checkpoint.split.get(split, ()), split))
    return {image_id: known.get(image_id, "") for image_id in image_ids}


def _rows_of_split(store: FeatureStore, checkpoint: Checkpoint, split: str) -> npt.NDArray[np.int64]:
    """The cache's rows with features that were in the split when the model was trained."""
    chosen = set(checkpoint.split.get(split, ()))
    valid = np.flatnonzero(store.valid).tolist()
    return np.array([row for row in valid if store.image_id[row] in chosen], dtype=np.int64)
