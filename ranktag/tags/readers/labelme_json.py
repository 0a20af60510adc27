"""labelme, the desktop tool (JSON).

SOURCE is a folder, searched recursively, or one file.

image_id is the path of the annotated image (imagePath) below --images. Where
imagePath is no image, or leads out of --images, the image beside the JSON file
is taken. Names are put in lower case, in Unicode normal form C, with single
spaces; tags in one list only are reported as rare: mend them with --aliases, or
leave them out with --min-count. An object's size is the area of its polygon,
box, circle or mask, in pixels; shapes of one group_id are parts of one object;
points and lines have no area and come last. __ignore__ and _background_ are
dropped.
"""

from __future__ import annotations

import base64
import binascii
import math
import os.path
import posixpath
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ranktag.config import setting
from ranktag.tags.annotations.builder import TagListBuilder
from ranktag.tags.annotations.files import (
    BrokenFile,
    files_below,
    image_suffixes,
    is_image_name,
    number,
    read_json,
)
from ranktag.tags.annotations.names import normal_name, read_aliases
from ranktag.tags.annotations.objects import AnnotatedObject, Point, add_objects, box_area, mask_area, polygon_area
from ranktag.tags.readers._labelme import LabelmeConfig, refuse_missing_size, tag_of

# Labels that the tool itself gives a meaning: they name no object.
RESERVED = ("__ignore__", "_background_")


@dataclass(frozen=True)
class LabelmeJsonConfig(LabelmeConfig):
    """Settings of tag lists from LabelMe's desktop tool."""

    images: Path | None = setting(None, "the folder of images that image_id is relative to", when_none="SOURCE")


def read(source: Path, config: LabelmeJsonConfig) -> TagListBuilder:
    """Tag lists of a folder of labelme files (searched recursively) or of one file.

    ``image_id`` is the path of the annotated image (``imagePath``, which is relative
    to the JSON file) below ``config.images``, by default ``source`` itself; with
    ``image_id='name'`` it is the image's name. An ``imagePath`` that is no image, or
    leads out of that folder, gives way to the image beside the JSON file, if there is one.

    An object's size is the area of its polygon, box, circle or mask, in pixels;
    shapes that share a ``group_id`` are parts of one object. Points and lines have no
    area and come last. A file that gives no imageWidth and imageHeight is used with
    ``missing_size='keep'``.

    Raises RanktagError: no JSON file, no usable shape in any.
    """
    aliases = read_aliases(config.aliases)
    folder, files, _ = files_below(Path(source), ".json")
    builder = TagListBuilder(config.prefix)
    for path in files:
        name = path.relative_to(folder).as_posix()
        try:
            annotation = read_json(path)
            if not isinstance(annotation, dict) or not isinstance(annotation.get("shapes"), list):
                raise BrokenFile("is no labelme annotation (it has no list 'shapes')")
            image_id = _image_id(annotation, path, Path(config.images or folder), config)
            refuse_missing_size(annotation.get("imageWidth"), annotation.get("imageHeight"), config, builder, name)
            objects = _objects(annotation["shapes"], aliases, builder)
            add_objects(builder, image_id, objects, config.order)
        except BrokenFile as error:
            builder.skip(name, error)
    builder.drop_rare(config.min_count)
    return builder.checked(source, "object of the labelme desktop tool's form")


def _image_id(annotation: Mapping[str, Any], path: Path, images: Path, config: LabelmeJsonConfig) -> str:
    name = annotation.get("imagePath")
    name = name.replace("\\", "/") if isinstance(name, str) else ""
    if not is_image_name(name):
        beside = _image_beside(path, "")
        if beside is None:
            raise BrokenFile(f"names no image file (its imagePath is '{name[:60]}'), and there is none beside it")
        name = beside
    if config.image_id == "name":
        return posixpath.basename(name)
    inside = _relative(path.parent / name, images) if not re.match("[A-Za-z]:/", name) else None
    if inside is None:
        beside = _image_beside(path, posixpath.basename(name))
        inside = _relative(path.parent / beside, images) if beside else None
    if inside is None:
        raise BrokenFile(
            f"names an image outside of {images} ('{name[:60]}'); name the image folder, or go by image names"
        )
    return inside


def _image_beside(path: Path, name: str) -> str | None:
    """Name of the image that lies beside a JSON file: of that name, else of the JSON file's own."""
    names = [name] if name else []
    # Asked one by one: listing a folder of thousands for each of its files takes minutes.
    for suffix in image_suffixes():
        names += [path.stem + suffix, path.stem + suffix.upper()]
    return next((other for other in names if "\0" not in other and path.with_name(other).is_file()), None)


def _relative(path: Path, folder: Path) -> str | None:
    """POSIX path of ``path`` below ``folder``, '..' resolved; None if it is not below it."""
    relative = Path(os.path.relpath(os.path.abspath(path), os.path.abspath(folder))).as_posix()
    return None if relative == ".." or relative.startswith("../") else relative


def _objects(shapes: list[Any], aliases: Mapping[str, str], builder: TagListBuilder) -> list[AnnotatedObject]:
    objects = []
    for shape in shapes:
        label = shape.get("label") if isinstance(shape, dict) else None
        name = normal_name(label) if isinstance(label, str) else ""
        if name in RESERVED:
            builder.drop(f"objects labelled {name}")
        elif tag := tag_of(name, aliases, builder):
            objects.append(AnnotatedObject(tag, _area(shape, builder), shape.get("group_id")))
    return objects


def _area(shape: Mapping[str, Any], builder: TagListBuilder) -> float | None:
    """Area in pixels."""
    kind = shape.get("shape_type") or "polygon"
    points = _points(shape.get("points"))
    if kind == "mask":
        try:
            return mask_area(base64.b64decode(shape.get("mask") or "", validate=True))
        except (BrokenFile, binascii.Error, TypeError, ValueError):
            builder.note("masks that are not readable, their boxes were used", shape["label"])
            kind = "rectangle"
    if kind == "rectangle" and len(points) == 2:
        return box_area(points[0], points[1])
    if kind == "circle" and len(points) == 2:
        area = math.pi * math.dist(points[0], points[1]) * math.dist(points[0], points[1])
        return area if math.isfinite(area) else None
    # The corners of an oriented rectangle are a polygon, too.
    return None if kind in ("point", "points", "line", "linestrip") else polygon_area(points)


def _points(values: Any) -> list[Point]:
    """The pairs of finite numbers in ``values``."""
    pairs = (
        [value for value in values if isinstance(value, list) and len(value) == 2] if isinstance(values, list) else []
    )
    points = [(number(x), number(y)) for x, y in pairs]
    return [(x, y) for x, y in points if x is not None and y is not None]
