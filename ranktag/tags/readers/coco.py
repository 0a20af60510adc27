"""COCO instances (JSON), with or without captions.

SOURCE is an instances_*.json, or a file that a tool exported in this form; several
may be named.

The tags of an image are the categories of its objects, the largest object first:
by area, else the area of its polygons or of its box inside the image. Crowds
(iscrowd) are objects like others, and are counted.

With captions_*.json among the sources, each caption is one person's list: the
categories that the caption mentions and the image has, in order of first mention.
Words that mean a category are those of --synonyms (the 80 categories of COCO have
some of their own: man, woman and child are a person). It needs the extra datasets.

image_id is file_name. The split is the train, val or test in a source's name
(instances_val2017.json), if every SOURCE of objects has one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ranktag.config import setting
from ranktag.errors import RanktagError
from ranktag.tags.annotations.builder import TagListBuilder
from ranktag.tags.annotations.files import BrokenFile, number, read_json, split_in_name
from ranktag.tags.annotations.objects import (
    AnnotatedObject,
    Point,
    add_objects,
    area_inside,
    polygon_area,
    tags_by_size,
)
from ranktag.tags.annotations.settings import ReaderConfig
from ranktag.tags.readers._coco_images import image_rows, key_of, objects_of
from ranktag.tags.readers._coco_words import mentions_of

REMEDY = "name COCO's instances_*.json"


@dataclass(frozen=True)
class CocoConfig(ReaderConfig):
    """Settings of tag lists from COCO."""

    order: str = setting(
        "largest",
        "what ranks the categories where there are no captions: the area of the largest object (largest), or their "
        "order in the file (annotation)",
        choices=("largest", "annotation"),
    )
    crowds: str = setting("keep", "what becomes of crowds, regions of many objects", choices=("keep", "drop"))
    synonyms: Path | None = setting(
        None,
        "with captions: a CSV file with the columns name,tag: words, and the category that they mean",
        when_none="those of COCO's own categories",
    )
    unmentioned: str = setting(
        "drop",
        "with captions: what becomes of the image's categories that a caption does not mention; last places them "
        "after the others, by area",
        choices=("drop", "last"),
    )


@dataclass
class _Photo:
    """One image: its size in pixels (None if the file does not say), its split, and what is in it."""

    size: Point | None
    split: str | None
    objects: list[AnnotatedObject] = field(default_factory=list)


def read(sources: Sequence[Path], config: CocoConfig) -> TagListBuilder:
    """Tag lists of COCO's files of instances; with files of captions, one list a caption.

    Images that share an id or a ``file_name`` are skipped: whose objects are whose
    cannot be told. Objects of images or categories that the file does not list are
    counted and left out. An image without objects is one without tags.

    Raises RanktagError: a file that is not of COCO's form, captions without instances, no object.
    """
    contents = {path: _content(path) for path in map(Path, sources)}
    captioned = {path: content for path, content in contents.items() if _holds_captions(content)}
    instances = {path: content for path, content in contents.items() if path not in captioned}
    if not instances:
        raise RanktagError(
            f"{next(iter(captioned))}: holds captions and no objects; {REMEDY}, too, "
            "or have the nouns that people mention: ranktag prepare captions"
        )
    builder = TagListBuilder(config.prefix)
    rows = {path: image_rows(path, content, builder) for path, content in instances.items()}
    named = Counter(row.image_id for file in rows.values() for row in file)
    splits = {path: split_in_name(path) for path in instances}
    photos: dict[str, _Photo] = {}
    for path, content in instances.items():
        images = {}
        for row in rows[path]:
            if named[row.image_id] > 1:
                builder.skip(row.where, f"is called '{row.image_id}', as another; they may be different photos")
            else:
                photos[row.image_id] = images[row.key] = _Photo(
                    row.size, None if None in splits.values() else splits[path]
                )
        _read_objects(content, path, images, config, builder)
    lists = _mentioned(captioned, photos, config, builder) if captioned else None
    for image_id, photo in photos.items():
        try:
            if lists is None:
                add_objects(builder, image_id, photo.objects, config.order, photo.split)
            for tags in lists.get(image_id, ()) if lists is not None else ():
                builder.add(image_id, tags, photo.split)
        except BrokenFile as error:
            builder.skip(image_id, error)
    return builder.checked(", ".join(map(str, contents)), "object of COCO's form")


def _content(path: Path) -> dict[str, Any]:
    try:
        content = read_json(path, _without_outlines)
    except BrokenFile as error:
        raise RanktagError(f"{path}: {error}; {REMEDY}") from None
    for key in ("images", "annotations"):
        if not isinstance(content, dict) or not isinstance(content.get(key), list):
            raise RanktagError(f"{path}: has no list '{key}' of COCO's form; {REMEDY}")
    checked: dict[str, Any] = content
    return checked


def _without_outlines(thing: dict[str, Any]) -> dict[str, Any]:
    # Outlines are nine tenths of a file, and needed only where no area is given.
    if "segmentation" in thing and _positive(thing.get("area")):
        del thing["segmentation"]
    return thing


def _holds_captions(content: dict[str, Any]) -> bool:
    return any("caption" in thing for thing in objects_of(content["annotations"][:100]))


def _read_objects(
    content: dict[str, Any], path: Path, images: Mapping[str, _Photo], config: CocoConfig, builder: TagListBuilder
) -> None:
    """Give the images of a file their objects."""
    categories: dict[str, str] = {}
    for category in objects_of(content.get("categories")):
        key, name = key_of(category.get("id")), category.get("name")
        if key is not None and isinstance(name, str) and categories.setdefault(key, name.strip()) != name.strip():
            raise RanktagError(f"{path}: the category {key} is '{categories[key]}' and '{name.strip()}'; keep one")
    for thing in objects_of(content["annotations"]):
        image = images.get(key_of(thing.get("image_id")) or "")
        name = categories.get(key_of(thing.get("category_id")) or "")
        crowd = thing.get("iscrowd") in (1, True)
        if image is None:
            builder.drop("objects of images that the file does not list, or that were skipped")
        elif not name:
            builder.drop("objects of categories that the file does not list")
        elif crowd and config.crowds == "drop":
            builder.drop("crowds")
        else:
            if crowd:
                builder.note("crowds, which are objects like others", name)
            image.objects.append(AnnotatedObject(name, _area(thing, image.size)))


def _area(thing: Mapping[str, Any], size: Point | None) -> float | None:
    """Area in pixels: as given, else of the outline, else of the box inside the image."""
    area = _positive(thing.get("area")) or _outline_area(thing.get("segmentation"))
    if area is None:
        box = thing.get("bbox")
        corners = [number(value) for value in box] if isinstance(box, list) else []
        if len(corners) != 4 or None in corners:
            return None
        x, y, width, height = (corner for corner in corners if corner is not None)
        return area_inside((x, y), (x + width, y + height), size) if width > 0 and height > 0 else None
    return area if size is None else min(area, size[0] * size[1])


def _positive(value: object) -> float | None:
    area = number(value)
    return area if area is not None and area > 0 else None


def _outline_area(segmentation: Any) -> float | None:
    """Area of polygons, or of a mask's run lengths (the second, fourth and so on are the object's)."""
    if isinstance(segmentation, dict):
        counts = segmentation.get("counts")
        lengths = [number(count) for count in counts] if isinstance(counts, list) else []
        return _positive(sum(length for length in lengths[1::2] if length is not None))
    areas = []
    for polygon in segmentation if isinstance(segmentation, list) else ():
        values = [number(value) for value in polygon] if isinstance(polygon, list) else []
        known = [value for value in values if value is not None]
        if len(known) == len(values):
            areas.append(polygon_area(list(zip(known[::2], known[1::2], strict=False))))
    return _positive(sum(area for area in areas if area is not None))


def _mentioned(
    captioned: Mapping[Path, dict[str, Any]],
    photos: Mapping[str, _Photo],
    config: CocoConfig,
    builder: TagListBuilder,
) -> dict[str, list[list[str]]]:
    """image_id -> of each caption, the categories that it mentions and the image has, in order of first mention."""
    categories = {thing.name for photo in photos.values() for thing in photo.objects}
    find = mentions_of(categories, config.synonyms)
    lists: dict[str, list[list[str]]] = {}
    for path, content in captioned.items():
        names = {row.key: row.image_id for row in image_rows(path, content, builder)}
        for thing in objects_of(content["annotations"]):
            caption = thing.get("caption")
            image_id = names.get(key_of(thing.get("image_id")) or "")
            if image_id is None or image_id not in photos or not isinstance(caption, str):
                builder.drop("captions of images whose objects no file lists")
                continue
            by_size = tags_by_size(photos[image_id].objects)
            tags = [name for name in find(caption) if name in by_size]
            if config.unmentioned == "last":
                tags += [name for name in by_size if name not in tags]
            lists.setdefault(image_id, []).append(tags)
    builder.drop("images without a caption", len(photos.keys() - lists.keys()))
    return lists
