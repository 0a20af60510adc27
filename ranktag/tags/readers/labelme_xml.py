"""LabelMe, the web tool (XML): tag lists from the polygons, boxes and masks that people drew."""

from __future__ import annotations

import posixpath
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from ranktag.config import LabelmeConfig
from ranktag.tags.annotations.builder import Prepared
from ranktag.tags.annotations.files import (
    BrokenFile,
    count_mask,
    files_below,
    is_image_name,
    number,
    read_bytes,
    read_xml,
    text_of,
)
from ranktag.tags.annotations.names import normal_name, read_aliases
from ranktag.tags.annotations.objects import AnnotatedObject, add_objects, box_area, polygon_area, refuse_missing_size

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element


CACHE = "annotationCache"
"""Folder of the web tool's templates and drafts; no annotation is only there."""


def prepare_labelme_xml(source: Path, config: LabelmeConfig, aliases: Path | None = None) -> Prepared:
    """Tag lists of a LabelMe ``Annotations`` folder (searched recursively) or of one file.

    ``image_id`` is ``folder/filename`` as the annotation gives them, which is the
    image's path below LabelMe's ``Images``; with ``image_id='name'`` it is
    ``filename``. Files that name the same image are several people's lists for it.

    An object's size is the area of its polygon, of its mask where the web tool's
    ``Masks`` folder lies beside ``Annotations``, else of its box. All are in pixels,
    so a file that gives no image size is used with ``missing_size='keep'``. A file
    without objects is an image without tags.

    Raises RanktagError: no XML file, no usable object in any.
    """
    alias = read_aliases(aliases)
    folder, files, cached = files_below(Path(source), ".xml", without=(CACHE,))
    prepared = Prepared(config.prefix or "")
    prepared.drop(f"files in {CACHE}, the web tool's templates and drafts", cached)
    for path in files:
        name = path.relative_to(folder).as_posix()
        try:
            root, guessed = read_xml(path)
            if root.tag != "annotation":
                raise BrokenFile(f"is no LabelMe annotation (its root element is <{root.tag[:40]}>)")
            image_id = _image_id(root, config)
            refuse_missing_size(
                text_of(root, "imagesize/ncols"), text_of(root, "imagesize/nrows"), config, prepared, name
            )
            objects = _objects(root, path, alias, prepared)
            add_objects(prepared, image_id, objects, config.order)
        except BrokenFile as error:
            prepared.skip(name, error)
            continue
        if guessed:
            prepared.note("files that are not UTF-8, read as Windows-1252", name)
    prepared.drop_rare(config.min_count)
    return prepared.checked(source, "object of the LabelMe web tool's form")


def _image_id(root: Element, config: LabelmeConfig) -> str:
    name = text_of(root, "filename").replace("\\", "/")
    if not is_image_name(name):
        raise BrokenFile(f"names no image file (its <filename> is '{name[:60]}')")
    if config.image_id == "name":
        return posixpath.basename(name)
    path = posixpath.normpath(posixpath.join(text_of(root, "folder").replace("\\", "/"), name))
    if path.startswith("../"):
        raise BrokenFile(f"names an image outside of the image folder ('{path[:60]}')")
    return path.lstrip("/")


def _objects(root: Element, path: Path, alias: Mapping[str, str], prepared: Prepared) -> list[AnnotatedObject]:
    objects = []
    for thing in root.findall("object"):
        name = normal_name(text_of(thing, "name"))
        tag = alias.get(name, name)
        if text_of(thing, "deleted") == "1":
            prepared.drop("objects marked deleted")
        elif not name:
            prepared.drop("objects without a name")
        elif not tag:
            prepared.drop("objects left out by the aliases")
        else:
            objects.append(AnnotatedObject(tag, _area(thing, path, prepared)))
    return objects


def _area(thing: Element, path: Path, prepared: Prepared) -> float | None:
    points = [(number(text_of(point, "x")), number(text_of(point, "y"))) for point in thing.findall("polygon/pt")]
    if points:
        return polygon_area([(x, y) for x, y in points if x is not None and y is not None])
    mask = _mask_file(path, text_of(thing, "segm/mask"))
    if mask is not None:
        try:
            return count_mask(read_bytes(mask))
        except BrokenFile:
            prepared.note("masks that are not readable, their boxes were used", mask.name)
    xmin, ymin, xmax, ymax = (
        number(text_of(thing, f"segm/box/{corner}")) for corner in ("xmin", "ymin", "xmax", "ymax")
    )
    if xmin is None or ymin is None or xmax is None or ymax is None:
        return None
    return box_area((xmin, ymin), (xmax, ymax))


def _mask_file(path: Path, name: str) -> Path | None:
    """``.../Masks/FOLDER/name`` for an annotation ``.../Annotations/FOLDER/x.xml``, if it is there."""
    parts = path.absolute().parent.parts
    if not name or "/" in name or "\\" in name or "\0" in name or "Annotations" not in parts:
        return None
    place = len(parts) - 1 - parts[::-1].index("Annotations")
    mask = Path(*parts[:place], "Masks", *parts[place + 1 :], name)
    return mask if mask.is_file() else None
