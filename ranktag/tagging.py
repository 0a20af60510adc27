"""Photo to ranked tags in one go: stage one's features, in memory, decoded by a trained model."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import torch

from ranktag.compute.device import choose_device
from ranktag.config import DecodingConfig, ExtractionConfig
from ranktag.decoding.rank import rank_tags
from ranktag.errors import RanktagError
from ranktag.features.in_memory import features_like
from ranktag.images.listing import list_images
from ranktag.models.checkpoint import load_checkpoint
from ranktag.progress import Progress


class TaggedImage(NamedTuple):
    """An image's path, its ranked tags with their probabilities, and, if it could not be read, why."""

    path: str
    tags: list[tuple[str, float]]
    error: str


def tag_images(
    images: Sequence[Path],
    run: Path,
    config: DecodingConfig = DecodingConfig(),
    *,
    weights: str | None = None,
    progress: Progress | None = None,
) -> Iterator[TaggedImage]:
    """Tag photos and the photos in folders with the model of a run, in the order given.

    The network, layer, weights and preprocessing are those the model was trained on.
    weights: where they are, if the model was trained on features of a weights file.
    progress: is told what was left out of folders.

    Raises RanktagError for a path that is not there, a run that cannot be read, or
    features that cannot be made again here.
    """
    paths = list(_photos(images, progress or Progress()))
    checkpoint = load_checkpoint(run)
    device = choose_device(config.device)
    names = iter(paths)
    extraction = ExtractionConfig(device=config.device, precision=config.precision)
    for features, errors in features_like(checkpoint.provenance, paths, weights=weights, config=extraction):
        # A failed row is NaN; what is decoded for it is not looked at.
        ranked = rank_tags(
            checkpoint.model, torch.from_numpy(features).nan_to_num(), checkpoint.longest, config, device
        )
        for numbers, scores, error in zip(ranked.tags, ranked.scores, errors):
            tags = [(checkpoint.vocabulary.tags[tag], float(score)) for tag, score in zip(numbers, scores) if tag >= 0]
            yield TaggedImage(
                os.fsencode(next(names)).decode("utf-8", "backslashreplace"), [] if error else tags, error
            )


def _photos(images: Sequence[Path], progress: Progress) -> Iterator[Path]:
    for image in images:
        if image.is_dir():
            listed = list_images(image)
            for sentence in listed.left_out:
                progress.note(sentence)
            yield from (Path(os.fsdecode(listed.path(number))) for number in range(len(listed)))
        elif os.path.lexists(image):
            yield image
        else:
            raise RanktagError(f"{image}: no such photo or folder; check the path")
