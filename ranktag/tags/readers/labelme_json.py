"""labelme, the desktop tool (JSON): tag lists from the polygons, boxes, circles and masks that people drew."""

from __future__ import annotations

import base64
import binascii
import json
import math
import os.path
import posixpath
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ranktag.config import LabelmeConfig
from ranktag.tags.annotations.builder import Prepared
from ranktag.tags.annotations.files import (
    BrokenFile,
    count_mask,
    files_below,
    image_suffixes,
    is_image_name,
    number,
    read_bytes,
)
from ranktag.tags.annotations.names import normal_name, read_aliases
from ranktag.tags.annotations.objects import (
    AnnotatedObject,
    Point,
    add_objects,
    box_area,
    polygon_area,
    refuse_missing_size,
)

RESERVED = ("__ignore__", "_background_")
"""Labels that the tool itself gives a meaning: they name no object."""


def prepare_labelme_json(
    source: Path, config: LabelmeConfig, aliases: Path | None = None, images: Path | None = None
) -> Prepared:
    """Tag lists of a folder of labelme files (searched recursively) or of one file.

    ``image_id`` is the path of the annotated image (``imagePath``, which is relative
    to the JSON file) below ``images``, by default ``source`` itself; with
    ``image_id='name'`` it is the image's name. An ``imagePath`` that is no image, or
    leads out of ``images``, gives way to the image beside the JSON file, if there is one.

    An object's size is the area of its polygon, box, circle or mask, in pixels;
    shapes that share a ``group_id`` are parts of one object. Points and lines have no
    area and come last. A file that gives no imageWidth and imageHeight is used with
    ``missing_size='keep'``.

    Raises RanktagError: no JSON file, no usable shape in any.
    """
    alias = read_aliases(aliases)
    folder, files, _ = files_below(Path(source), ".json")
    prepared = Prepared(config.prefix or "")
    for path in files:
        name = path.relative_to(folder).as_posix()
        try:
            annotation = read_json(path)
            if not isinstance(annotation, dict) or not isinstance(annotation.get("shapes"), list):
                raise BrokenFile("is no labelme annotation (it has no list 'shapes')")
            image_id = _image_id(annotation, path, Path(images or folder), config)
            refuse_missing_size(annotation.get("imageWidth"), annotation.get("imageHeight"), config, prepared, name)
            objects = _objects(annotation["shapes"], alias, prepared)
            add_objects(prepared, image_id, objects, config.order)
        except BrokenFile as error:
            prepared.skip(name, error)
    prepared.drop_rare(config.min_count)
    return prepared.checked(source, "object of the labelme desktop tool's form")


def read_json(path: Path) -> Any:
    """A JSON file's value. Raises BrokenFile."""
    try:
        return json.loads(read_bytes(path))
    except RecursionError:
        raise BrokenFile("is nested too deeply") from None
    except ValueError as error:
        raise BrokenFile(f"is not JSON ({error})") from None


def _image_id(annotation: Mapping[str, Any], path: Path, images: Path, config: LabelmeConfig) -> str:
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


def _objects(shapes: list[Any], alias: Mapping[str, str], prepared: Prepared) -> list[AnnotatedObject]:
    objects = []
    for shape in shapes:
        label = shape.get("label") if isinstance(shape, dict) else None
        name = normal_name(label) if isinstance(label, str) else ""
        tag = alias.get(name, name)
        if name in RESERVED:
            prepared.drop(f"objects labelled {name}")
        elif not name:
            prepared.drop("objects without a name")
        elif not tag:
            prepared.drop("objects left out by the aliases")
        else:
            objects.append(AnnotatedObject(tag, _area(shape, prepared), shape.get("group_id")))
    return objects


def _area(shape: Mapping[str, Any], prepared: Prepared) -> float | None:
    """Area in pixels."""
    kind = shape.get("shape_type") or "polygon"
    points = _points(shape.get("points"))
    if kind == "mask":
        try:
            return count_mask(base64.b64decode(shape.get("mask") or "", validate=True))
        except (BrokenFile, binascii.Error, TypeError, ValueError):
            prepared.note("masks that are not readable, their boxes were used", shape["label"])
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
