"""Captions: the nouns of each, in order of first mention, are one person's list for the image."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ranktag.config import CaptionsConfig
from ranktag.errors import RanktagError
from ranktag.files.tables import read_table
from ranktag.tags.annotations.builder import Prepared
from ranktag.tags.annotations.files import BrokenFile, split_in_name
from ranktag.tags.annotations.nouns import nouns_of, read_vocabulary
from ranktag.tags.readers.csv import one_character
from ranktag.tags.readers.labelme_json import read_json

_TOKEN_LINE = re.compile(r"(.+?)#\d+\t(.*)")


Caption = tuple[str, str]
"""Image and caption."""


def prepare_captions(
    sources: Sequence[Path],
    config: CaptionsConfig,
    vocabulary: Path | None = None,
    split_lists: Mapping[str, Path] | None = None,
) -> Prepared:
    """Tag lists of caption files, one list a caption: five captions are five people's lists.

    vocabulary: a file of tags, one a line; only they are looked for. Without it the
    tags are the captions' nouns (see ``ranktag.tags.annotations.nouns``). split_lists:
    'train', 'val', 'test' -> a file of image names, one a line (Flickr8k's
    ``Flickr_8k.trainImages.txt``); images in none are left out. Without it the split
    is the 'train', 'val' or 'test' in a source's name, if every one has one.

    ``image_id`` is the image's name as the file gives it (COCO: ``file_name``).

    Raises RanktagError: an unreadable file, an unknown layout, no tag at all.
    """
    find = nouns_of if vocabulary is None else read_vocabulary(vocabulary)
    listed = _listed_splits(split_lists or {})
    in_names = [split_in_name(path) for path in sources]
    prepared = Prepared(config.prefix or "")
    for path, in_name in zip(sources, in_names, strict=True):
        for image, caption in _captions(Path(path), config, prepared):
            split = listed.get(image) if listed else in_name if None not in in_names else None
            if listed and split is None:
                prepared.drop("captions of images that are in no split list")
                continue
            try:
                prepared.add(image, find(caption), split)
            except BrokenFile as error:
                raise RanktagError(f"{path}: {error}; mend it there") from None
    prepared.drop_rare(config.min_count)
    return prepared.checked(
        ", ".join(map(str, sources)),
        "caption with a noun" if vocabulary is None else "caption with a tag of the vocabulary",
    )


def _listed_splits(files: Mapping[str, Path]) -> dict[str, str]:
    """Image -> split, from a file of image names a split. Raises RanktagError if one is in two."""
    listed: dict[str, str] = {}
    for part, path in files.items():
        for number, line in _lines(path):
            if line.strip() and listed.setdefault(line.strip(), part) != part:
                raise RanktagError(
                    f"{path}: line {number}: '{line.strip()}' is in the {listed[line.strip()]} list, too; an image belongs to one split"
                )
    return listed


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    try:
        with open(path, encoding="utf-8-sig") as file:
            yield from enumerate(file, 1)
    except OSError as error:
        raise RanktagError(f"{path}: cannot be read ({error.strerror}); check the path and its permissions") from None
    except UnicodeDecodeError:
        raise RanktagError(f"{path}: is not UTF-8 text; save it as UTF-8") from None


def _captions(path: Path, config: CaptionsConfig, prepared: Prepared) -> Iterator[Caption]:
    layout = _layout(path) if config.layout == "auto" else config.layout
    if layout == "coco":
        return _coco(path, prepared)
    return _tokens(path) if layout == "tokens" else _csv(path, config)


def _layout(path: Path) -> str:
    if path.suffix.lower() == ".json":
        return "coco"
    first = next((line for _, line in _lines(path) if line.strip()), "")
    return "tokens" if _TOKEN_LINE.match(first) else "csv"


def _csv(path: Path, config: CaptionsConfig) -> Iterator[Caption]:
    columns = (config.image_column, config.caption_column)
    for line, (image, caption) in read_table(path, columns, separator=one_character(config.separator, "--separator")):
        if not image.strip():
            raise RanktagError(f"{path}: line {line} names no image; fill it in or remove the line")
        yield image.strip(), caption


def _tokens(path: Path) -> Iterator[Caption]:
    for number, line in _lines(path):
        if not line.strip():
            continue
        match = _TOKEN_LINE.match(line.strip("\r\n"))
        if match is None:
            raise RanktagError(
                f"{path}: line {number} is not of the form photo.jpg#0, tab, caption; mend it, or name another --layout"
            )
        yield match[1], match[2]


def _coco(path: Path, prepared: Prepared) -> Iterator[Caption]:
    """Captions of COCO's JSON, an image after the other in the order of its ``images``."""
    try:
        content = read_json(path)
    except BrokenFile as error:
        raise RanktagError(f"{path}: {error}; name COCO's captions_*.json") from None
    images, annotations = (_records(content, key, path) for key in ("images", "annotations"))
    captions: dict[Any, list[str]] = {}
    for index, image in enumerate(images):
        if not isinstance(image.get("file_name"), str) or not isinstance(image.get("id"), (int, str)):
            raise RanktagError(f"{path}: images[{index}] has no 'id' or no 'file_name'; name COCO's captions_*.json")
        captions[image["id"]] = []
    for index, annotation in enumerate(annotations):
        if not isinstance(annotation.get("caption"), str) or not isinstance(annotation.get("image_id"), (int, str)):
            raise RanktagError(
                f"{path}: annotations[{index}] has no 'caption' or no 'image_id'; name COCO's captions_*.json"
            )
        if annotation["image_id"] in captions:
            captions[annotation["image_id"]].append(annotation["caption"])
        else:
            prepared.drop("captions of images that the file does not list")
    prepared.drop("images without a caption", sum(not texts for texts in captions.values()))
    for image in images:
        # Taken out, so that an image listed twice gives its captions once.
        yield from ((image["file_name"], caption) for caption in captions.pop(image["id"], ()))


def _records(content: Any, key: str, path: Path) -> list[dict[str, Any]]:
    records = content.get(key) if isinstance(content, dict) else None
    if not isinstance(records, list) or not all(isinstance(record, dict) for record in records):
        raise RanktagError(f"{path}: has no list '{key}' of COCO's form; name COCO's captions_*.json")
    return records
