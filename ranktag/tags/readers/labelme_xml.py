"""LabelMe, the web tool (XML).

SOURCE is an Annotations folder, searched recursively, or one file. Folders
named annotationCache (templates and drafts) are not entered.

image_id is folder/filename as the annotation gives them, the image's path below
LabelMe's Images; where that folder lies beside Annotations, what the photo is
called there. Files for the same image are several people's lists if they lie in
different folders; in one folder the one that has the image's name is read. Deleted
objects are dropped. Names are put in lower case, in Unicode normal form C, with
single spaces; tags in one list only are reported as rare: mend them with
--aliases, or leave them out with --min-count. An object's size is the area of its
polygon, mask (in Masks, beside Annotations) or box, in pixels; objects without
one come last.
"""

from __future__ import annotations

import posixpath
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from ranktag.tags.annotations.builder import TagListBuilder
from ranktag.tags.annotations.files import (
    BrokenFile,
    files_below,
    is_image_name,
    number,
    read_bytes,
    refuse_copy,
)
from ranktag.tags.annotations.image_names import Photos
from ranktag.tags.annotations.names import normal_name, read_aliases
from ranktag.tags.annotations.objects import AnnotatedObject, add_objects, box_area, mask_area, polygon_area
from ranktag.tags.annotations.xml import read_xml, text_of
from ranktag.tags.readers._labelme import LabelmeConfig, refuse_missing_size, tag_of

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element


# Folder of the web tool's templates and drafts; no annotation is only there.
CACHE = "annotationCache"


def read(source: Path, config: LabelmeConfig) -> TagListBuilder:
    """Tag lists of a LabelMe ``Annotations`` folder (searched recursively) or of one file.

    ``image_id`` is ``folder/filename`` as the annotation gives them, which is the
    image's path below LabelMe's ``Images``; with ``image_id='name'`` it is
    ``filename``. Files of different folders that name the same image are several people's
    lists for it. Where LabelMe's ``Images`` lies beside ``Annotations``, the id is that of
    a photo in it.

    An object's size is the area of its polygon, of its mask where the web tool's
    ``Masks`` folder lies beside ``Annotations``, else of its box. All are in pixels,
    so a file that gives no image size is used with ``missing_size='keep'``. A file
    without objects is an image without tags.

    Raises RanktagError: no XML file, no usable object in any.
    """
    aliases = read_aliases(config.aliases)
    folder, files, cached = files_below(Path(source), ".xml", without=(CACHE,))
    known: dict[Path, Photos] = {}
    builder = TagListBuilder(config.prefix)
    builder.drop(f"files in {CACHE}, the web tool's templates and drafts", cached)
    for path in files:
        name = path.relative_to(folder).as_posix()
        try:
            root, guessed = read_xml(path)
            if root.tag != "annotation":
                raise BrokenFile(f"is no LabelMe annotation (its root element is <{root.tag[:40]}>)")
            image_id = _image_id(root, path, known, config, builder)
            refuse_missing_size(
                text_of(root, "imagesize/ncols"), text_of(root, "imagesize/nrows"), config, builder, name
            )
            objects = _objects(root, path, aliases, builder)
            add_objects(builder, image_id, objects, config.order, file=name, scope=str(path.parent))
        except BrokenFile as error:
            builder.skip(name, error)
            continue
        if guessed:
            builder.note("files that are not UTF-8, read as Windows-1252", name)
    builder.drop_rare(config.min_count)
    return builder.checked(source, "object of the LabelMe web tool's form")


def _image_id(
    root: Element, path: Path, known: dict[Path, Photos], config: LabelmeConfig, builder: TagListBuilder
) -> str:
    """The image of an annotation. known: folder -> its photos, of the folders that were looked at."""
    name = text_of(root, "filename").replace("\\", "/")
    refuse_copy(path, name)
    place = posixpath.normpath(posixpath.join(text_of(root, "folder").replace("\\", "/"), name))
    photos, folder = _photos(path, known)
    if photos.paths:
        own = posixpath.join(folder, path.name[: -len(path.suffix)])
        found = photos.find(place.lstrip("/"), posixpath.join(folder, posixpath.basename(name)), own)
        if found is not None:
            return posixpath.basename(found) if config.image_id == "name" else found
    if not is_image_name(name):
        raise BrokenFile(f"names no image file (its <filename> is '{name[:60]}')")
    if place.startswith("../"):
        raise BrokenFile(f"names an image outside of the image folder ('{place[:60]}')")
    if photos.paths:
        builder.note("images whose photo is not in Images", place)
    return posixpath.basename(name) if config.image_id == "name" else place.lstrip("/")


def _photos(path: Path, known: dict[Path, Photos]) -> tuple[Photos, str]:
    """The photos of LabelMe's ``Images`` for an annotation ``.../Annotations/FOLDER/x.xml``, and FOLDER."""
    beside = _beside(path, "Images")
    if beside is None:
        return Photos(()), ""
    images, folder = beside
    if images not in known:
        known[images] = Photos.below(images)
    return known[images], folder


def _objects(root: Element, path: Path, aliases: Mapping[str, str], builder: TagListBuilder) -> list[AnnotatedObject]:
    objects = []
    for thing in root.findall("object"):
        if text_of(thing, "deleted") == "1":
            builder.drop("objects marked deleted")
        elif tag := tag_of(normal_name(text_of(thing, "name")), aliases, builder):
            objects.append(AnnotatedObject(tag, _area(thing, path, builder)))
    return objects


def _area(thing: Element, path: Path, builder: TagListBuilder) -> float | None:
    points = [(number(text_of(point, "x")), number(text_of(point, "y"))) for point in thing.findall("polygon/pt")]
    if points:
        return polygon_area([(x, y) for x, y in points if x is not None and y is not None])
    mask = _mask_file(path, text_of(thing, "segm/mask"))
    if mask is not None:
        try:
            return mask_area(read_bytes(mask))
        except BrokenFile:
            builder.note("masks that are not readable, their boxes were used", mask.name)
    xmin, ymin, xmax, ymax = (
        number(text_of(thing, f"segm/box/{corner}")) for corner in ("xmin", "ymin", "xmax", "ymax")
    )
    if xmin is None or ymin is None or xmax is None or ymax is None:
        return None
    return box_area((xmin, ymin), (xmax, ymax))


def _mask_file(path: Path, name: str) -> Path | None:
    """``.../Masks/FOLDER/name`` for an annotation ``.../Annotations/FOLDER/x.xml``, if it is there."""
    beside = _beside(path, "Masks")
    if not name or "/" in name or "\\" in name or "\0" in name or beside is None:
        return None
    mask = Path(*beside, name)
    return mask if mask.is_file() else None


def _beside(path: Path, name: str) -> tuple[Path, str] | None:
    """(``.../name``, FOLDER) for an annotation ``.../Annotations/FOLDER/x.xml``; None without ``Annotations``."""
    parts = path.absolute().parent.parts
    if "Annotations" not in parts:
        return None
    place = len(parts) - 1 - parts[::-1].index("Annotations")
    return Path(*parts[:place], name), "/".join(parts[place + 1 :])
