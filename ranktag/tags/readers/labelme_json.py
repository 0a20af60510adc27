"""labelme, the desktop tool (JSON).

SOURCE is a folder, searched recursively, or one file.

image_id is the path of the annotated image (imagePath) below --images. Where
photos are there, it is one of them: the one that imagePath names, else the one
beside the JSON file that has its name; files that may be of two photos, of none,
or of one that another file beside them is of, are skipped. Names are put in lower
case, in Unicode normal form C, with single spaces; tags in one list only are
reported as rare: mend them with --aliases, or leave them out with --min-count.
An object's size is the area of its polygon, box, circle or mask, in pixels;
shapes of one group_id are parts of one object; points and lines have no area and
come last. __ignore__ and _background_ are dropped. Flags that are set for the
whole image become tags with --flags last.
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
from ranktag.tags.annotations.files import BrokenFile, files_below, is_image_name, number, read_json, refuse_copy
from ranktag.tags.annotations.image_names import Photos
from ranktag.tags.annotations.names import normal_name, read_aliases
from ranktag.tags.annotations.objects import AnnotatedObject, Point, add_objects, box_area, mask_area, polygon_area
from ranktag.tags.readers._labelme import LabelmeConfig, refuse_missing_size, tag_of

# Labels that the tool itself gives a meaning: they name no object.
RESERVED = ("__ignore__", "_background_")


@dataclass(frozen=True)
class LabelmeJsonConfig(LabelmeConfig):
    """Settings of tag lists from LabelMe's desktop tool."""

    images: Path | None = setting(None, "the folder of images that image_id is relative to", when_none="SOURCE")
    flags: str = setting(
        "drop",
        "what becomes of flags that are set for the whole image: left out, or tags after the objects (last)",
        choices=("drop", "last"),
    )


def read(source: Path, config: LabelmeJsonConfig) -> TagListBuilder:
    """Tag lists of a folder of labelme files (searched recursively) or of one file.

    ``image_id`` is the path of the annotated image (``imagePath``, which is relative
    to the JSON file) below ``config.images``, by default ``source`` itself; with
    ``image_id='name'`` it is the image's name. Where there are photos below that
    folder it is one of them, the one of the JSON file's own name where ``imagePath``
    is stale. One folder's files are one person's, of whom an image has one file.

    An object's size is the area of its polygon, box, circle or mask, in pixels;
    shapes that share a ``group_id`` are parts of one object. Points and lines have no
    area and come last. A file that gives no imageWidth and imageHeight is used with
    ``missing_size='keep'``.

    Raises RanktagError: no JSON file, no usable shape in any.
    """
    aliases = read_aliases(config.aliases)
    folder, files, _ = files_below(Path(source), ".json")
    images = Path(config.images or folder)
    photos = Photos.below(images)
    builder = TagListBuilder(config.prefix)
    for path in files:
        name = path.relative_to(folder).as_posix()
        try:
            annotation = read_json(path)
            if not isinstance(annotation, dict) or not isinstance(annotation.get("shapes"), list):
                raise BrokenFile("is no labelme annotation (it has no list 'shapes')")
            image_id = _image_id(annotation, path, images, photos, config.image_id == "name")
            refuse_missing_size(annotation.get("imageWidth"), annotation.get("imageHeight"), config, builder, name)
            objects = [*_objects(annotation["shapes"], aliases, builder), *_flags(annotation, config, builder)]
            add_objects(builder, image_id, objects, config.order, file=name, scope=str(path.parent))
        except BrokenFile as error:
            builder.skip(name, error)
    builder.drop_rare(config.min_count)
    return builder.checked(source, "object of the labelme desktop tool's form")


def _image_id(annotation: Mapping[str, Any], path: Path, images: Path, photos: Photos, name_only: bool) -> str:
    """The photo of a file below ``images``: the one that it names, or the one beside it."""
    said = annotation.get("imagePath")
    said = said.replace("\\", "/") if isinstance(said, str) else ""
    refuse_copy(path, said)
    base = posixpath.basename(said)
    named = None if re.match("[A-Za-z]:/", said) else _relative(path.parent, said, images)
    beside = _relative(path.parent, base, images)
    own = _relative(path.parent, path.name[: -len(path.suffix)], images)
    is_image = is_image_name(said)
    if photos.paths:
        by_name = photos.find(*(p for p in (named, beside) if p is not None and is_image))
        by_own = photos.find(own) if own is not None else None
        if by_name is not None and by_own is not None and by_name != by_own:
            raise BrokenFile(f"says it is of '{said[:60]}', and {posixpath.basename(by_own)} lies beside it; mend one")
        found = by_name or by_own
        if found is None and name_only and is_image and (path.parent / said).is_file():
            return base
        if found is None:
            raise BrokenFile(f"names no photo that is below {images} ('{said[:60]}'), and there is none of its name")
        return posixpath.basename(found) if name_only else found
    if not is_image:
        raise BrokenFile(f"names no image file (its imagePath is '{said[:60]}'), and there is none beside it")
    if name_only:
        return base
    if named is None:
        raise BrokenFile(
            f"names an image outside of {images} ('{said[:60]}'); name the image folder, or go by image names"
        )
    return named


def _relative(folder: Path, name: str, images: Path) -> str | None:
    """POSIX path of ``name`` in ``folder`` below ``images``, '..' resolved; None if it is not below it."""
    relative = Path(os.path.relpath(os.path.abspath(folder / name), os.path.abspath(images))).as_posix()
    return None if relative == ".." or relative.startswith("../") else relative


def _flags(annotation: Mapping[str, Any], config: LabelmeJsonConfig, builder: TagListBuilder) -> list[AnnotatedObject]:
    """The flags that are set for the whole image, as objects without an area, or none."""
    flags = annotation.get("flags")
    names = [normal_name(name) for name, is_set in flags.items() if is_set is True] if isinstance(flags, dict) else []
    names = [name for name in names if name and name not in RESERVED]
    if config.flags == "last":
        return [AnnotatedObject(name, None) for name in names]
    builder.drop("flags of the whole image (kept with --flags last)", len(names))
    return []


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
