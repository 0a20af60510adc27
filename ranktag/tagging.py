"""Photo to ranked tags in one go: stage one's features, in memory, decoded by a trained model."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import torch

from ranktag.compute.device import choose_device
from ranktag.config import ChoiceConfig, DecodingConfig, ExtractionConfig
from ranktag.decoding.rank import rank_tags
from ranktag.errors import NotFound
from ranktag.features.in_memory import features_like
from ranktag.images.listing import list_images
from ranktag.models.checkpoint import load_checkpoint
from ranktag.progress import Progress
from ranktag.tags.chosen import TagChoice


class TaggedImage(NamedTuple):
    """An image's path, its ranked tags with their probabilities, and, if it could not be read, why.

    path: as it is shown. photo: as it is opened. name: its path below the folder that was named, or its own name.
    """

    path: str
    tags: list[tuple[str, float]]
    error: str
    photo: Path = Path()
    name: str = ""


def tag_images(
    images: Sequence[Path],
    run: Path,
    config: DecodingConfig = DecodingConfig(),
    *,
    choice: ChoiceConfig = ChoiceConfig(),
    weights: str | None = None,
    progress: Progress | None = None,
) -> Iterator[TaggedImage]:
    """Tag photos and the photos in folders with the model of a run, in the order given.

    The network, layer, weights and preprocessing are those the model was trained on.
    choice: which of the tags are given.
    weights: where they are, if the model was trained on features of a weights file.
    progress: is told what was left out of folders.

    Raises RanktagError for a path that is not there, a run that cannot be read, or
    features that cannot be made again here.
    """
    photos = list(_photos(images, progress or Progress()))
    paths = [photo for photo, _ in photos]
    checkpoint, chosen = load_checkpoint(run), TagChoice(choice)
    for sentence in chosen.unknown(checkpoint.vocabulary.tags):
        (progress or Progress()).note(sentence)
    device = choose_device(config.device)
    named = iter(photos)
    extraction = ExtractionConfig(device=config.device, precision=config.precision)
    for features, errors in features_like(checkpoint.provenance, paths, weights=weights, config=extraction):
        # A failed row is NaN; what is decoded for it is not looked at.
        ranked = rank_tags(
            checkpoint.model, torch.from_numpy(features).nan_to_num(), checkpoint.longest, config, device
        )
        for numbers, scores, error in zip(ranked.tags, ranked.scores, errors):
            tags = [(checkpoint.vocabulary.tags[tag], float(score)) for tag, score in zip(numbers, scores) if tag >= 0]
            photo, name = next(named)
            yield TaggedImage(_shown(photo), [] if error else chosen.of(tags), error, photo, _shown(name))


def _shown(path: str | Path) -> str:
    """A path as text that any file and screen can hold: bytes that are not UTF-8 are escaped."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def _photos(images: Sequence[Path], progress: Progress) -> Iterator[tuple[Path, str]]:
    """Each photo and what it is called: its path below the folder that was named, or its own name."""
    for image in images:
        if image.is_dir():
            listed = list_images(image)
            for sentence in listed.left_out:
                progress.note(sentence)
            for number in range(len(listed)):
                photo = Path(os.fsdecode(listed.path(number)))
                yield photo, os.path.relpath(photo, image)
        elif os.path.lexists(image):
            yield image, image.name
        else:
            raise NotFound(f"{image}: no such photo or folder; check the path")
