"""Photo to ranked tags in one go: stage one's features, in memory, decoded by a trained model."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple, overload

import numpy as np
import numpy.typing as npt
import torch

from ranktag.compute.device import choose_device
from ranktag.config import ChoiceConfig, DecodingConfig, ExtractionConfig
from ranktag.decoding.given import Encoder, padded
from ranktag.decoding.inputs import refuse_other_vocabularies
from ranktag.decoding.person import notes_on_person
from ranktag.decoding.rank import rank_tags
from ranktag.decoding.suggest import SUGGESTING, Suggester
from ranktag.errors import Mismatch, NotFound, RanktagError, Usage
from ranktag.features.in_memory import FeatureMaker
from ranktag.files.locations import shown
from ranktag.images.archives import archives_named
from ranktag.images.decode import ImageError
from ranktag.images.listing import list_images
from ranktag.images.photo import Photo, is_one, name_of, pixels_of
from ranktag.models.checkpoint import Checkpoint, load_checkpoint
from ranktag.progress import Progress
from ranktag.tags.chosen import TagChoice
from ranktag.tags.predictions import RankedTag
from ranktag.urls import is_url


class TaggedImage(NamedTuple):
    """An image's path, its ranked tags with their probabilities, and, if it could not be read, why.

    path: as it is shown; '' of a photo that has none. photo: as it is opened. name: its path below the folder
    that was named, or its own name.
    """

    path: str
    tags: list[tuple[str, float]]
    error: str
    photo: Path = Path()
    name: str = ""


class Tagger:
    """Photos to ranked tags, by the model of a run and its network, both loaded once.

    Any number of threads may share one: photos are decoded side by side, and the network computes for one
    call after another. A photo costs one image, however it is given; its tags are those of ``export-tags``
    as far as the precision that is computed in tells its features apart from the cache's.
    """

    def __init__(
        self,
        run: str | Path | Sequence[str | Path],
        config: DecodingConfig = DecodingConfig(),
        *,
        choice: ChoiceConfig = ChoiceConfig(),
        weights: str | Path | None = None,
        progress: Progress | None = None,
    ) -> None:
        """run: a run folder, or several of one vocabulary, trained on features of one network, that decide together.

        choice: which of the tags are given. weights: where the network's weights are, if the model was
        trained on features of a weights file. progress: is told of tags in ``choice`` that the model lacks,
        and of a ``config.person`` whom it does not know.

        Raises RanktagError for a run that cannot be read, runs that do not go together, or features that
        cannot be made again here.
        """
        runs = [Path(run)] if isinstance(run, (str, Path)) else [Path(one) for one in run]
        if not runs:
            raise Usage("no run folder is given; name at least one")
        checkpoints = [load_checkpoint(one) for one in runs]
        _refuse_unlike(runs, checkpoints)
        first = checkpoints[0]
        self.vocabulary, self._longest = first.vocabulary.tags, first.longest
        self._choice, self._config = TagChoice(choice), config
        self.encoder = Encoder.of(first)
        for sentence in [*self._choice.unknown(self.vocabulary), *notes_on_person(config.person, checkpoints, runs)]:
            (progress or Progress()).note(sentence)
        self._checkpoints = checkpoints
        self._models = [checkpoint.model for checkpoint in checkpoints]
        self._device = choose_device(config.device)
        extraction = ExtractionConfig(device=config.device, precision=config.precision)
        where = None if weights is None else str(weights)
        self._features = FeatureMaker(first.provenance, weights=where, config=extraction)
        self._computing = threading.Lock()

    @overload
    def tag(self, photos: Photo) -> TaggedImage: ...  # type: ignore[overload-overlap]  # a path is text, too

    @overload
    def tag(self, photos: Iterable[Photo]) -> Iterator[TaggedImage]: ...

    def tag(self, photos: Photo | Iterable[Photo]) -> TaggedImage | Iterator[TaggedImage]:
        """The tags of a photo; or of several, an iterator that gives each as soon as it is tagged.

        photos: each a path, a file opened in binary mode, the bytes of one, an image of Pillow's, or an array
        (H, W, 3) uint8. They are decoded in this process. One that cannot be read has the reason in ``error``.

        Raises Outage where the disk or the network does not give a file, and Usage for what is no photo.
        """
        if is_one(photos):
            return self._tag_one(photos)  # type: ignore[arg-type]
        return map(self._tag_one, photos)  # type: ignore[arg-type]

    def _tag_one(self, photo: Photo) -> TaggedImage:
        path = name_of(photo)
        place = Path(os.fsdecode(photo)) if isinstance(photo, (str, Path)) else Path(path)
        try:
            pixels = pixels_of(photo, self._features.preprocessing)
        except ImageError as error:
            return TaggedImage(path, [], str(error), place, _shown(place.name))
        with self._computing:
            (tags,) = self._ranked(self._features.of_pixels(pixels[None]))
        return TaggedImage(path, tags, "", place, _shown(place.name))

    def suggest(self, photo: Photo, given: Sequence[str] = ()) -> Suggester:
        """Suggestions for the list of a photo, begun with the tags ``given``, while somebody types it.

        photo: as for ``tag``. Raises RanktagError for one that cannot be read, and as ``Suggester``.
        """
        try:
            pixels = pixels_of(photo, self._features.preprocessing)
        except ImageError as error:
            raise RanktagError(f"{name_of(photo) or 'the photo'}: {error}; take another photo") from None
        with self._computing:
            (feature,) = self._features.of_pixels(pixels[None])
        return Suggester(self._checkpoints, feature, SUGGESTING.replace(person=self._config.person), given)

    def tag_files(self, paths: Sequence[str | Path], given: Sequence[str] = ()) -> Iterator[TaggedImage]:
        """The tags of photos' files, in order, a batch at a time: the fastest for many.

        given: the tags that the list of each photo begins with; named are those that come next.
        They are decoded by processes of their own, so that a photo that crashes its decoder has an ``error``, too.
        """
        places = [Path(path) for path in paths]
        batches, named = self._features.of_paths(paths), iter(places)
        while True:
            with self._computing:
                features, errors = next(batches, (None, []))
                if features is None:
                    return
                # A failed row is NaN; what is decoded for it is not looked at.
                ranked = self._ranked(np.nan_to_num(features), given)
            for tags, error, place in zip(ranked, errors, named):
                yield TaggedImage(
                    shown(os.fsencode(name_of(place))), [] if error else tags, error, place, _shown(place.name)
                )

    def _ranked(self, features: npt.NDArray[np.float32], given: Sequence[str] = ()) -> list[list[RankedTag]]:
        """The tags of (B, D) features, after the given ones."""
        x = torch.from_numpy(features)
        begun = padded([self.encoder.encode(given)] * len(x)) if given else None
        found = rank_tags(self._models, x, self._longest, self._config, self._device, given=begun)
        kept = [(tag, 1.0) for tag in self.encoder.spell(given)] if self._config.keep_given else []
        return [
            [
                *kept,
                *self._choice.of((self.vocabulary[tag], float(p)) for tag, p in zip(tags, scores) if tag >= 0),
            ]
            for tags, scores in zip(found.tags, found.scores)
        ]


def _refuse_unlike(runs: Sequence[Path], checkpoints: Sequence[Checkpoint]) -> None:
    """Raise Mismatch for models that cannot decide together of one photo."""
    refuse_other_vocabularies(runs, checkpoints)
    for path, checkpoint in zip(runs, checkpoints):
        unlike = checkpoints[0].provenance.differences(checkpoint.provenance)
        if unlike:
            raise Mismatch(
                f"{path}: was trained on other features than {runs[0]} ({'; '.join(unlike)}); "
                "runs that decide together need one network"
            )


def tag_images(
    images: Sequence[str | Path],
    run: str | Path | Sequence[str | Path],
    config: DecodingConfig = DecodingConfig(),
    *,
    choice: ChoiceConfig = ChoiceConfig(),
    weights: str | Path | None = None,
    given: Sequence[str] = (),
    progress: Progress | None = None,
) -> Iterator[TaggedImage]:
    """Tag photos and those in folders and tars, in the order given, by a ``Tagger`` made for it; arguments as there.

    given: the tags that the list of each photo begins with; named are those that come next (``config.keep_given``:
    the whole list). progress: is told what was left out of folders, and which given tags the model does not know.

    Raises RanktagError for a path that is not there, and as ``Tagger``.
    """
    photos = list(_photos(images, progress or Progress()))
    tagger = Tagger(run, config, choice=choice, weights=weights, progress=progress)
    for sentence in tagger.encoder.notes([given]):
        (progress or Progress()).note(sentence)
    tagged = tagger.tag_files([photo for photo, _ in photos], given)
    for image, (_, name) in zip(tagged, photos):
        yield image._replace(name=_shown(name))


def _shown(path: str | Path) -> str:
    """A path as text that any file and screen can hold: bytes that are not UTF-8 are escaped."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def _photos(images: Sequence[str | Path], progress: Progress) -> Iterator[tuple[str | Path, str]]:
    """Each photo and what it is called: its path below the folder that was named, its id in a tar, or its own name."""
    for image in images:
        if is_url(image) or archives_named(image):
            listed = list_images(image, progress=progress)
            for sentence in listed.left_out:
                progress.note(sentence)
            yield from ((os.fsdecode(listed.path(number)), image_id) for number, image_id in enumerate(listed.ids))
            continue
        image = Path(image)
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
