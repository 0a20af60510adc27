"""CVAT for images 1.1 (XML).

SOURCE is the annotations.xml of an export of a task, a job or a project.

The tags of an image are the labels of its tags and shapes. Those with an attribute
called rank are in its order (1 is the first), then come the largest boxes,
polygons, ellipses and masks, in pixels inside the image, then the rest in the order of
the file: a Tag, points and lines have no area.

image_id is the image's name. Images of one name in several tasks are skipped, for
they may be different photos: export and prepare the tasks one by one, with
--prefix. The split is the subset of a project (Train, Validation, Test), if every image
has one. It needs the extra datasets.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ranktag.config import setting
from ranktag.errors import RanktagError
from ranktag.tags.annotations.builder import TagListBuilder
from ranktag.tags.annotations.files import BrokenFile, number
from ranktag.tags.annotations.image_names import image_path
from ranktag.tags.annotations.objects import (
    AnnotatedObject,
    Point,
    add_objects,
    area_inside,
    image_size,
    polygon_area,
    tags_by_size,
)
from ranktag.tags.annotations.settings import ReaderConfig
from ranktag.tags.annotations.xml import read_xml
from ranktag.tags.cells import is_missing_text
from ranktag.tags.splits import SPLIT_NAMES

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

SHAPES = ("tag", "box", "polygon", "ellipse", "mask", "polyline", "points", "cuboid", "skeleton")
UNSET = "__undefined__"  # what CVAT writes of a choice that nobody made


@dataclass(frozen=True)
class CvatConfig(ReaderConfig):
    """Settings of tag lists from CVAT."""

    order: str = setting(
        "largest",
        "what ranks the labels without a rank: the area of the largest shape (largest), or their order in the file "
        "(annotation)",
        choices=("largest", "annotation"),
    )
    rank_attribute: str = setting("rank", "the attribute that ranks a label, the smallest number first")


def read(source: Path, config: CvatConfig) -> TagListBuilder:
    """Tag lists of CVAT's XML, one an image; an image without shapes is one without tags.

    Raises RanktagError: no such file, tracks of a video, no label.
    """
    source = Path(source)
    try:
        root, guessed = read_xml(source)
        if root.tag != "annotations":
            raise BrokenFile(f"is no CVAT annotation (its root element is <{root.tag[:40]}>)")
    except BrokenFile as error:
        raise RanktagError(f"{source}: {error}; export the task as CVAT for images 1.1") from None
    images = root.findall("image")
    if not images and root.find("track") is not None:
        raise RanktagError(f"{source}: is CVAT for video 1.1, which has no images; export as CVAT for images 1.1")
    builder = TagListBuilder(config.prefix)
    if guessed:
        builder.note("files that are not UTF-8, read as Windows-1252", source.name)
    subsets = [SPLIT_NAMES.get(image.get("subset", "").strip().lower()) for image in images]
    names: list[str | None] = []
    for index, image in enumerate(images):
        try:
            names.append(image_path(image.get("name")))
        except BrokenFile as error:
            names.append(None)
            builder.skip(f"image {image.get('id') or index}", error)
    named = Counter(names)
    for index, (image, name, subset) in enumerate(zip(images, names, subsets, strict=True)):
        if name is None:
            continue
        if named[name] > 1:
            builder.skip(
                f"image {image.get('id') or index}", f"is called '{name}', as another; they may be different photos"
            )
            continue
        try:
            _add(builder, image, name, subset if None not in subsets else None, config)
        except BrokenFile as error:
            builder.skip(name, error)
    return builder.checked(source, "label of CVAT's form")


def _add(builder: TagListBuilder, image: Element, name: str, split: str | None, config: CvatConfig) -> None:
    """Add the list of one image: first what has a rank, then the others."""
    size = image_size(image.get("width"), image.get("height"))
    ranked: list[tuple[float, str]] = []
    others: list[AnnotatedObject] = []
    for shape in image:
        label = (shape.get("label") or "").strip()
        if shape.tag not in SHAPES:
            continue
        if not label:
            builder.drop("shapes without a label")
            continue
        rank = _rank(shape, config.rank_attribute)
        if rank is None:
            others.append(AnnotatedObject(label, _area(shape, size)))
        else:
            ranked.append((rank, label))
    # What has no area anywhere in the image is not worth a note.
    order = config.order if any(thing.size is not None for thing in others) else "annotation"
    if ranked:
        rest = tags_by_size(others) if order == "largest" else [thing.name for thing in others]
        builder.add(name, [*(label for _, label in sorted(ranked, key=lambda pair: pair[0])), *rest], split)
    else:
        add_objects(builder, name, others, order, split)


def _rank(shape: Element, attribute: str) -> float | None:
    """A label's rank; None if it has none. Raises BrokenFile for one that is no number."""
    for given in shape.findall("attribute"):
        if (given.get("name") or "").strip().lower() == attribute.lower():
            text = (given.text or "").strip()
            rank = number(text)
            if rank is None and text != UNSET and not is_missing_text(text):
                raise BrokenFile(f"has the {attribute} '{text[:40]}', which is no number")
            return rank
    return None


def _area(shape: Element, size: Point | None) -> float | None:
    """Area in pixels; None for what has none."""
    if shape.tag == "box":
        left, top, right, bottom = (number(shape.get(side)) for side in ("xtl", "ytl", "xbr", "ybr"))
        if left is None or top is None or right is None or bottom is None:
            return None
        return area_inside((left, top), (right, bottom), size)
    if shape.tag == "ellipse":
        across, down = number(shape.get("rx")), number(shape.get("ry"))
        return math.pi * across * down if across and down and across > 0 and down > 0 else None
    if shape.tag == "mask":
        # Run lengths; the second, fourth and so on are the object's.
        lengths = [number(length) for length in (shape.get("rle") or "").split(",")]
        return sum(length for length in lengths[1::2] if length is not None and length > 0) or None
    if shape.tag == "polygon":
        pairs = [pair.split(",") for pair in (shape.get("points") or "").split(";")]
        corners = [(number(pair[0]), number(pair[1])) for pair in pairs if len(pair) == 2]
        return polygon_area([(x, y) for x, y in corners if x is not None and y is not None])
    return None
