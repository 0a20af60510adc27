"""Captions (CSV, Flickr8k, COCO).

SOURCE is a CSV table, Flickr8k's token file or COCO's captions JSON.

Each caption is one person's list: its nouns, in order of first mention, plural
and singular merged. The nouns are those that TextBlob's tagger finds; about nine
in ten are right, and verbs it takes for nouns are the usual mistake. With
--vocabulary only the given tags are looked for, in singular or plural, the
longest first. English only.

image_id is the image's name as the file gives it (COCO: file_name). The split
is the train, val or test in the name of SOURCE (captions_val2017.json), if every
SOURCE has one, or comes from --train-images, --val-images, --test-images.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ranktag.config import setting
from ranktag.errors import RanktagError
from ranktag.files.tables import read_table
from ranktag.tags.annotations.builder import TagListBuilder
from ranktag.tags.annotations.files import BrokenFile, cell_separator, read_json, read_lines, split_in_name
from ranktag.tags.annotations.nouns import nouns_of, read_vocabulary
from ranktag.tags.annotations.settings import ReaderConfig

_TOKEN_LINE = re.compile(r"(.+?)#\d+\t(.*)")

# Image and caption.
Caption = tuple[str, str]


@dataclass(frozen=True)
class CaptionsConfig(ReaderConfig):
    """Settings of tag lists from captions."""

    layout: str = setting(
        "auto",
        "how captions are written: a CSV table, Flickr8k's token file (photo.jpg#0, tab, caption) or COCO's JSON; "
        "auto looks",
        choices=("auto", "csv", "tokens", "coco"),
    )
    image_column: str = setting("image", "the CSV column that names the image")
    caption_column: str = setting("caption", "the CSV column that holds the caption")
    separator: str = setting(",", "the character between the cells of a CSV file; tab for a tab")
    min_count: int = setting(
        1, "nouns in fewer captions are left out; 5 is usual with large sets", unit="captions", low=1
    )
    vocabulary: Path | None = setting(
        None, "a text file of tags, one a line, of one or more words: only they are looked for", when_none="none"
    )
    train_images: Path | None = setting(
        None,
        "a text file: names of the train images, one a line; images in no such list are left out",
        when_none="none",
    )
    val_images: Path | None = setting(None, "the same for val", when_none="none")
    test_images: Path | None = setting(None, "the same for test", when_none="none")


def read(sources: Sequence[Path], config: CaptionsConfig) -> TagListBuilder:
    """Tag lists of caption files, one list a caption: five captions are five people's lists.

    ``config.vocabulary`` is a file of tags, one a line; only they are looked for.
    Without it the tags are the captions' nouns (see ``ranktag.tags.annotations.nouns``).
    ``config.train_images`` and so on are files of image names, one a line (Flickr8k's
    ``Flickr_8k.trainImages.txt``); images in none are left out. Without them the split
    is the 'train', 'val' or 'test' in a source's name, if every one has one.

    ``image_id`` is the image's name as the file gives it (COCO: ``file_name``).

    Raises RanktagError: an unreadable file, an unknown layout, no tag at all.
    """
    sources = [Path(source) for source in sources]
    find = nouns_of if config.vocabulary is None else read_vocabulary(config.vocabulary)
    listed = _listed_splits(config)
    in_names = [split_in_name(path) for path in sources]
    builder = TagListBuilder(config.prefix)
    for path, in_name in zip(sources, in_names, strict=True):
        for image, caption in _captions(path, config, builder):
            split = listed.get(image) if listed else in_name if None not in in_names else None
            if listed and split is None:
                builder.drop("captions of images that are in no split list")
                continue
            try:
                builder.add(image, find(caption), split)
            except BrokenFile as error:
                raise RanktagError(f"{path}: {error}; mend it there") from None
    builder.drop_rare(config.min_count)
    wanted = "noun" if config.vocabulary is None else "tag of the vocabulary"
    return builder.checked(", ".join(map(str, sources)), f"caption with a {wanted}")


def _listed_splits(config: CaptionsConfig) -> dict[str, str]:
    """Image -> split, from the settings' lists of image names. Raises RanktagError if an image is in two."""
    listed: dict[str, str] = {}
    for part, path in (("train", config.train_images), ("val", config.val_images), ("test", config.test_images)):
        for number, line in read_lines(path) if path is not None else ():
            name = line.strip()
            if name and listed.setdefault(name, part) != part:
                raise RanktagError(
                    f"{path}: line {number}: '{name}' is in the {listed[name]} list, too; an image belongs to one split"
                )
    return listed


def _captions(path: Path, config: CaptionsConfig, builder: TagListBuilder) -> Iterator[Caption]:
    layout = _layout(path) if config.layout == "auto" else config.layout
    if layout == "coco":
        return _coco(path, builder)
    return _tokens(path) if layout == "tokens" else _csv(path, config)


def _layout(path: Path) -> str:
    if path.suffix.lower() == ".json":
        return "coco"
    first = next((line for _, line in read_lines(path) if line.strip()), "")
    return "tokens" if _TOKEN_LINE.match(first) else "csv"


def _csv(path: Path, config: CaptionsConfig) -> Iterator[Caption]:
    columns = (config.image_column, config.caption_column)
    separator = cell_separator(config.separator, "--separator")
    for line, (image, caption) in read_table(path, columns, separator=separator):
        if not image.strip():
            raise RanktagError(f"{path}: line {line} names no image; fill it in or remove the line")
        yield image.strip(), caption


def _tokens(path: Path) -> Iterator[Caption]:
    for number, line in read_lines(path):
        if not line.strip():
            continue
        match = _TOKEN_LINE.match(line.strip("\r\n"))
        if match is None:
            raise RanktagError(
                f"{path}: line {number} is not of the form photo.jpg#0, tab, caption; mend it, or name another --layout"
            )
        yield match[1], match[2]


def _coco(path: Path, builder: TagListBuilder) -> Iterator[Caption]:
    """Captions of COCO's JSON, an image after the other in the order of its ``images``."""
    try:
        content = read_json(path)
    except BrokenFile as error:
        raise RanktagError(f"{path}: {error}; name COCO's captions_*.json") from None
    images = _records(content, "images", {"id": (int, str), "file_name": str}, path)
    captions: dict[int | str, list[str]] = {image["id"]: [] for image in images}
    for annotation in _records(content, "annotations", {"caption": str, "image_id": (int, str)}, path):
        if annotation["image_id"] in captions:
            captions[annotation["image_id"]].append(annotation["caption"])
        else:
            builder.drop("captions of images that the file does not list")
    builder.drop("images without a caption", sum(not texts for texts in captions.values()))
    for image in images:
        # Taken out, so that an image listed twice gives its captions once.
        yield from ((image["file_name"], caption) for caption in captions.pop(image["id"], ()))


def _records(content: Any, key: str, members: Mapping[str, Any], path: Path) -> list[dict[str, Any]]:
    """The objects of a list in COCO's JSON. members: what each must hold -> its types."""
    remedy = "name COCO's captions_*.json"
    records = content.get(key) if isinstance(content, dict) else None
    if not isinstance(records, list) or not all(isinstance(record, dict) for record in records):
        raise RanktagError(f"{path}: has no list '{key}' of COCO's form; {remedy}")
    for index, record in enumerate(records):
        if not all(isinstance(record.get(member), types) for member, types in members.items()):
            missing = " or no ".join(f"'{member}'" for member in members)
            raise RanktagError(f"{path}: {key}[{index}] has no {missing}; {remedy}")
    return records
