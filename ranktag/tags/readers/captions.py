"""Captions (CSV, Flickr8k, COCO).

SOURCE is a CSV table, Flickr8k's token file or COCO's captions JSON.

Each caption is one person's list: its nouns, in order of first mention, plural
and singular merged. The nouns are those that TextBlob's tagger finds; about nine
in ten are right, and verbs it takes for nouns are the usual mistake. With
--vocabulary only the given tags are looked for, in singular or plural, the
longest first. English only.

image_id is the image's name as the file gives it (COCO: file_name). Rows and
images that cannot be used, as two COCO images of one id, are listed and skipped.
The split is the train, val or test in the name of SOURCE (captions_val2017.json), if every
SOURCE has one, or comes from --train-images, --val-images, --test-images.
"""

from __future__ import annotations

import os.path
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ranktag.config import setting
from ranktag.errors import RanktagError
from ranktag.files.tables import read_table
from ranktag.tags.annotations.builder import TagListBuilder
from ranktag.tags.annotations.files import (
    BrokenFile,
    cell_separator,
    is_image_name,
    read_json,
    read_lines,
    split_in_name,
)
from ranktag.tags.annotations.nouns import nouns_of, read_vocabulary
from ranktag.tags.annotations.rows import Rows
from ranktag.tags.annotations.settings import ReaderConfig
from ranktag.tags.cells import BadCell, checked_image_id, is_missing_text
from ranktag.tags.readers._coco_images import image_rows, key_of

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
            split = _split_of(image, listed) if listed else in_name if None not in in_names else None
            if listed and split is None:
                builder.drop("captions of images that are in no split list")
                continue
            try:
                # What pandas writes for a caption that is missing is no caption of a nan.
                builder.add(image, [] if is_missing_text(caption) else find(caption), split)
            except BrokenFile as error:
                raise RanktagError(f"{path}: {error}; mend it there") from None
    builder.drop_rare(config.min_count)
    wanted = "noun" if config.vocabulary is None else "tag of the vocabulary"
    return builder.checked(", ".join(map(str, sources)), f"caption with a {wanted}")


def _split_of(image: str, listed: Mapping[str, str]) -> str | None:
    """The split of an image whose name stands in a list, there perhaps without folders or extension."""
    base = image.replace("\\", "/").rpartition("/")[2]
    names = (image, base, *(os.path.splitext(name)[0] for name in (image, base) if is_image_name(name)))
    return next((listed[name] for name in names if name in listed), None)


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
    return _tokens(path, builder) if layout == "tokens" else _csv(path, config, builder)


def _layout(path: Path) -> str:
    if path.suffix.lower() == ".json":
        return "coco"
    first = next((line for _, line in read_lines(path) if line.strip()), "")
    return "tokens" if _TOKEN_LINE.match(first) else "csv"


def _csv(path: Path, config: CaptionsConfig, builder: TagListBuilder) -> Iterator[Caption]:
    columns = (config.image_column, config.caption_column)
    separator = cell_separator(config.separator, "--separator")
    rows = Rows(path, builder)
    for line, (image, caption) in rows.over(read_table(path, columns, (), separator, rows.skip)):
        try:
            yield checked_image_id(image), caption
        except BadCell as error:
            rows.skip(line, error)
    rows.refuse_mostly_bad()


def _tokens(path: Path, builder: TagListBuilder) -> Iterator[Caption]:
    rows = Rows(path, builder)
    for number, (line,) in rows.over(
        (number, [line.strip("\r\n")]) for number, line in read_lines(path) if line.strip()
    ):
        match = _TOKEN_LINE.match(line)
        if match is None:
            rows.skip(number, "is not of the form photo.jpg#0, tab, caption")
        else:
            yield match[1], match[2]
    rows.refuse_mostly_bad()


def _coco(path: Path, builder: TagListBuilder) -> Iterator[Caption]:
    """Captions of COCO's JSON, an image after the other in the order of its ``images``."""
    remedy = "name COCO's captions_*.json"
    try:
        content = read_json(path)
    except BrokenFile as error:
        raise RanktagError(f"{path}: {error}; {remedy}") from None
    for kind in ("images", "annotations"):
        if not isinstance(content, dict) or not isinstance(content.get(kind), list):
            raise RanktagError(f"{path}: has no list '{kind}' of COCO's form; {remedy}")
    rows = image_rows(path, content, builder)
    names = Counter(row.image_id for row in rows)
    for row in rows:
        if names[row.image_id] > 1:
            builder.skip(row.where, f"is called '{row.image_id}', as another; they may be different photos")
    captions: dict[str, list[str]] = {row.key: [] for row in rows if names[row.image_id] == 1}
    bad = 0
    for index, annotation in enumerate(content["annotations"]):
        caption = annotation.get("caption") if isinstance(annotation, dict) else None
        key = key_of(annotation.get("image_id")) if isinstance(annotation, dict) else None
        if not isinstance(caption, str) or key is None:
            bad += 1
            builder.skip(f"{path.name}: annotations[{index}]", "has no 'caption' or no 'image_id'")
        elif key in captions:
            captions[key].append(caption)
        else:
            builder.drop("captions of images that the file does not list, or that were skipped")
    for what, lost in (("images", len(content["images"]) - len(rows)), ("annotations", bad)):
        listed = next((entry for entry in builder.broken if entry[0].startswith(f"{path.name}: {what}[")), None)
        if listed is not None and 2 * lost >= len(content[what]):
            where, reason = listed[0].partition(": ")[2], listed[1]
            raise RanktagError(f"{path}: {where} {reason} ({lost} of {len(content[what])} {what}); {remedy}")
    builder.drop("images without a caption", sum(not texts for texts in captions.values()))
    for row in rows:
        yield from ((row.image_id, caption) for caption in captions.get(row.key, ()))
