"""PASCAL VOC 2007 to 2012, and data sets laid out like it.

SOURCE is a folder such as VOCdevkit/VOC2007, or a devkit with one of them.

The tags of an image are the classes of its boxes, each once. image_id is the
path below JPEGImages of the photo that has the annotation's name (000005.jpg);
where no such photo is there, the name with the extension of <filename>. Two
annotations of one photo are skipped, hidden files are not looked at. The splits
are those of ImageSets/Main; images in none of its train, val and test are left
out (trainval counts as train where there is neither train nor val), and without
such lists no split is written.
"""

from __future__ import annotations

import math
import os
import re
import unicodedata
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ranktag.config import setting
from ranktag.errors import NotFound, RanktagError
from ranktag.files.text import read_text_lines
from ranktag.tags.annotations.builder import TagListBuilder
from ranktag.tags.annotations.files import BrokenFile, files_below, is_image_name, number, refuse_copy
from ranktag.tags.annotations.image_names import Photos
from ranktag.tags.annotations.objects import AnnotatedObject, add_objects, image_size
from ranktag.tags.annotations.settings import ReaderConfig
from ranktag.tags.annotations.xml import read_xml, text_of
from ranktag.tags.splits import SPLITS

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element


@dataclass(frozen=True)
class VocConfig(ReaderConfig):
    """Settings of tag lists from PASCAL VOC."""

    order: str = setting(
        "largest",
        "what ranks the classes: the area of the largest box (largest); the greatest area x (1 - r), r being the "
        "distance of the box's middle from the image's over that of a corner (central); their order in the file "
        "(annotation)",
        choices=("largest", "annotation", "central"),
    )
    difficult: str = setting("drop", "what becomes of objects marked difficult", choices=("keep", "drop"))


def read(source: Path, config: VocConfig) -> TagListBuilder:
    """Tag lists of a folder such as ``VOCdevkit/VOC2007``, or of a devkit that holds one such folder.

    ``image_id`` is the image's path below ``JPEGImages``. Where ``ImageSets/Main``
    says which images are train, val and test, the others are left out; its trainval
    counts as train where there is neither train nor val. Without such lists there
    are no splits.

    Raises RanktagError: no or several VOC folders, no annotation, an image in two splits.
    """
    folder = voc_folder(Path(source))
    annotations = folder / "Annotations"
    _, files, _ = files_below(annotations, ".xml")
    # Its place below Annotations without the extension is what an image is called in the lists of splits.
    names = {path: path.relative_to(annotations).as_posix()[: -len(path.suffix)] for path in files}
    split = read_splits(folder / "ImageSets" / "Main", names.values())
    photos = Photos.below(folder / "JPEGImages")
    builder = TagListBuilder(config.prefix)
    for path, name in names.items():
        if split and name not in split:
            builder.drop("images that are in no split of ImageSets/Main")
            continue
        where = f"Annotations/{name}.xml"
        try:
            root, _ = read_xml(path)
            if root.tag != "annotation":
                raise BrokenFile(f"is no PASCAL VOC annotation (its root element is <{root.tag[:40]}>)")
            image_id = _image_id(path, name, text_of(root, "filename"), photos, builder)
            objects = _objects(root, config, builder)
            add_objects(builder, image_id, objects, config.order, split.get(name), file=where)
        except BrokenFile as error:
            builder.skip(where, error)
    _count_missing(split, set(names.values()), builder)
    return builder.checked(annotations, "object of PASCAL VOC's form")


def _image_id(path: Path, name: str, said: str, photos: Photos, builder: TagListBuilder) -> str:
    """The photo of an annotation ``name``.xml whose <filename> is ``said``: the one of its own name goes first."""
    said = said.replace("\\", "/").rpartition("/")[2]
    refuse_copy(path, said)
    suffix = os.path.splitext(said)[1] if is_image_name(said) else ""
    own = os.path.basename(name)
    # Annotations in folders may be of photos in none.
    found = photos.find(name + suffix, name, own + suffix, own, said)
    if found is not None:
        return found
    if photos.paths:
        if said != own + suffix or not suffix:
            raise BrokenFile(f"is of no photo in JPEGImages (its <filename> is '{said[:60]}')")
        builder.note("images whose photo is not in JPEGImages", name + suffix)
    return name + (suffix or ".jpg")


def voc_folder(source: Path) -> Path:
    """The folder that holds ``Annotations``: ``source`` itself, or the only one of a devkit."""
    if (source / "Annotations").is_dir():
        return source
    if not source.is_dir():
        raise NotFound(f"{source}: no such folder; name one such as VOCdevkit/VOC2007")
    found = sorted(
        path.parent
        for pattern in ("VOC20*/Annotations", "VOCdevkit/VOC20*/Annotations")
        for path in source.glob(pattern)
    )
    if not found:
        raise NotFound(f"{source}: holds no folder Annotations; name a folder such as VOCdevkit/VOC2007")
    if len(found) > 1:
        raise RanktagError(f"{source}: holds {', '.join(path.name for path in found)}; name one of them, as {found[0]}")
    return found[0]


def read_splits(folder: Path, names: Collection[str]) -> Mapping[str, str]:
    """Image name (without extension) -> 'train', 'val' or 'test', from ``train.txt`` and so on; empty without them.

    names: those of the annotated images. A line may have the image's extension or
    folders, and names may hold spaces.
    """
    known = {unicodedata.normalize("NFC", name): name for name in names}
    lists = {part: _read_names(folder / f"{part}.txt", known) for part in (*SPLITS, "trainval")}
    if lists["train"] is None and lists["val"] is None:
        lists["train"] = lists["trainval"]
    split: dict[str, str] = {}
    for part in SPLITS:
        for name in lists[part] or ():
            if split.setdefault(name, part) != part:
                raise RanktagError(
                    f"{folder}: '{name}' is in {split[name]}.txt and in {part}.txt; an image belongs to one split"
                )
    return split


def _read_names(path: Path, known: Mapping[str, str]) -> list[str] | None:
    if not path.exists():
        return None
    lines = (unicodedata.normalize("NFC", line.strip()).replace("\\", "/") for _, line in read_text_lines(path))
    return [_name_in(line, known) for line in lines if line]


def _name_in(line: str, known: Mapping[str, str]) -> str:
    """The image that a line of a list names: one that is known, else the line without what may stand around a name."""
    # A second column, where there is one, says whether a class is in the image.
    for text in (line, re.sub(r"\s+[-+]?[01]$", "", line)):
        bare = os.path.splitext(text)[0] if is_image_name(text) else text
        for name in (text, bare):
            folders = name.split("/")
            for start in range(len(folders)):
                if (tail := "/".join(folders[start:])) in known:
                    return known[tail]
    return bare


def _count_missing(split: Mapping[str, str], annotated: set[str], builder: TagListBuilder) -> None:
    for part in SPLITS:
        names = [name for name, its_part in split.items() if its_part == part]
        missing = [name for name in names if name not in annotated]
        if len(missing) == len(names):
            # The annotations of the test images of 2008 to 2012 were never published.
            builder.drop(f"images of {part}, none of which is annotated", len(missing))
        else:
            for name in missing:
                builder.skip(f"Annotations/{name}.xml", f"is not there, though {part}.txt names it")


def _objects(root: Element, config: VocConfig, builder: TagListBuilder) -> list[AnnotatedObject]:
    """The objects of one annotation that are kept, with the sizes that ``config.order`` goes by."""
    image = _image_size(root) if config.order == "central" else None
    objects = []
    for thing in root.findall("object"):
        name = text_of(thing, "name")
        if not name:
            builder.drop("objects without a name")
        elif config.difficult == "drop" and text_of(thing, "difficult") == "1":
            builder.drop("objects marked difficult")
        else:
            objects.append(AnnotatedObject(name, _box_size(thing, image)))
    return objects


def _box_size(thing: Element, image: tuple[float, float] | None) -> float | None:
    """Area of the box in pixels, its edges included; times ``central_weight`` if the image's size is given.

    None if a corner is missing.
    """
    corners = [number(text_of(thing, f"bndbox/{corner}")) for corner in ("xmin", "ymin", "xmax", "ymax")]
    if any(corner is None for corner in corners):
        return None
    xmin, ymin, xmax, ymax = (corner for corner in corners if corner is not None)
    area = (abs(xmax - xmin) + 1) * (abs(ymax - ymin) + 1)
    # The first pixel is 1 and reaches from 0 to 1: the box reaches from xmin - 1 to xmax.
    return area if image is None else area * central_weight((xmin - 1 + xmax) / 2, (ymin - 1 + ymax) / 2, *image)


def central_weight(x: float, y: float, width: float, height: float) -> float:
    """1 - r, r the distance of (x, y) from the image's middle over that of a corner from it; 0 outside of the image.

    So a box in the middle counts with its whole area, one whose middle is half way
    to a corner with half of it.
    """
    return max(0.0, 1 - math.hypot(x - width / 2, y - height / 2) / math.hypot(width / 2, height / 2))


def _image_size(root: Element) -> tuple[float, float]:
    """Width and height in pixels. Raises BrokenFile if the annotation does not give them."""
    size = image_size(text_of(root, "size/width"), text_of(root, "size/height"))
    if size is None:
        raise BrokenFile("gives no image size, which the order 'central' needs")
    return size
