"""A feature cache and trained models in, a file of ranked tags out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ranktag.compute.device import choose_device
from ranktag.config import DecodingConfig
from ranktag.decoding.rank import FeatureRows, rank_tags
from ranktag.errors import RanktagError
from ranktag.feature_cache.store import open_features
from ranktag.files.atomic import refuse_existing
from ranktag.models.checkpoint import load_checkpoint
from ranktag.tags.predictions import write_predictions


@dataclass(frozen=True)
class DecodingReport:
    """What ``decode`` wrote: the file, its images and tags, and images left out because they have no feature."""

    output: Path
    images: int
    tags: int
    without_feature: int


def decode(
    cache: Path,
    run: Path | Sequence[Path],
    output: Path,
    config: DecodingConfig = DecodingConfig(),
    *,
    split: str | None = None,
    format: str = "long",
    overwrite: bool = False,
    force: bool = False,
) -> DecodingReport:
    """Write the ranked tags of a cache's images as CSV, in the cache's order.

    run: a run folder, or several of one vocabulary (seeds, say) that decide together.
    split: only images that were in 'train', 'val' or 'test' when the model was trained.
    format: 'long' or 'wide' (see ``ranktag.tags.predictions``). force: take features that
    were made otherwise than those trained on.

    Raises RanktagError for files that cannot be read, features of another making, runs
    of different vocabularies, a split without images, or an output that exists.
    """
    refuse_existing(output, overwrite)
    runs = [Path(run)] if isinstance(run, (str, Path)) else [Path(one) for one in run]
    checkpoints = [load_checkpoint(one) for one in runs]
    checkpoint = checkpoints[0]
    store = open_features(cache)
    for one, other in zip(runs, checkpoints):
        if other.vocabulary != checkpoint.vocabulary:
            raise RanktagError(f"{one}: has other tags than {runs[0]}; runs that decide together need one vocabulary")
        other.refuse_other_features(store, one, force=force)
    rows = np.flatnonzero(store.valid)
    if split is not None:
        chosen = set(checkpoint.split.get(split, ()))
        rows = np.array([row for row in rows if store.image_id[row] in chosen], dtype=np.int64)
        if not len(rows):
            raise RanktagError(
                f"{cache}: no image of split '{split}' of {runs[0]} is in it; leave out --split to decode every image"
            )
    device = choose_device(config.device)
    ranked = rank_tags([one.model for one in checkpoints], FeatureRows(store, rows), checkpoint.longest, config, device)
    tags = checkpoint.vocabulary.tags
    predictions = {
        store.image_id[row]: [(tags[tag], float(score)) for tag, score in zip(numbers, scores) if tag >= 0]
        for row, numbers, scores in zip(rows, ranked.tags, ranked.scores)
    }
    write_predictions(output, predictions, format)
    return DecodingReport(
        output, len(rows), int((ranked.tags >= 0).sum()), int((~store.valid).sum()) if split is None else 0
    )
