"""Open Images' boxes and image labels (CSV).

SOURCE is one or more of the tables of boxes (train-annotations-bbox.csv) and of image
labels (train-annotations-human-imagelabels.csv). What the labels are called is in
class-descriptions*.csv, which is found beside them.

The tags of an image are the classes of its boxes, the largest first, by their share
of the image; then its other labels, the surest first. Labels of confidence 0,
which people found to be wrong, are left out. Boxes of groups (IsGroupOf) are
objects like others, and are counted.

image_id is ImageID and .jpg. The split is the train, validation or test in a SOURCE's
name, if every one has one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ranktag.config import setting
from ranktag.errors import RanktagError
from ranktag.files.photos import is_hidden
from ranktag.files.tables import read_header, read_table
from ranktag.tags.annotations.builder import TagListBuilder
from ranktag.tags.annotations.files import BrokenFile, is_image_name, number, split_in_name
from ranktag.tags.annotations.objects import area_inside
from ranktag.tags.annotations.rows import Rows
from ranktag.tags.annotations.settings import ReaderConfig
from ranktag.tags.cells import BadCell, checked_image_id

BOX = ("XMin", "XMax", "YMin", "YMax")


@dataclass(frozen=True)
class OpenImagesConfig(ReaderConfig):
    """Settings of tag lists from Open Images."""

    classes: Path | None = setting(
        None, "the table of what the labels are called", when_none="all *class-descriptions*.csv beside SOURCE"
    )
    groups: str = setting("keep", "what becomes of boxes of groups (IsGroupOf)", choices=("keep", "drop"))


# Tag -> its largest box as a share of the image, or its greatest confidence.
_Sizes = dict[str, float]


def read(sources: Sequence[Path], config: OpenImagesConfig) -> TagListBuilder:
    """Tag lists of Open Images' tables, one an image.

    Raises RanktagError: an unreadable table, or of another form, no class descriptions,
    mostly bad rows, an image in two splits, no label.
    """
    paths = [Path(source) for source in sources]
    names = _class_names(paths[0], config.classes)
    splits = [split_in_name(path) for path in paths]
    builder = TagListBuilder(config.prefix)
    boxes: dict[str, _Sizes] = {}
    labels: dict[str, _Sizes] = {}
    split: dict[str, str] = {}
    for path, part in zip(paths, splits, strict=True):
        header = read_header(path)
        is_boxes = all(side in header for side in BOX)
        read_rows = _read_boxes if is_boxes else _read_labels
        for image_id in read_rows(path, names, config, builder, boxes if is_boxes else labels):
            if part is not None and None not in splits and split.setdefault(image_id, part) != part:
                raise RanktagError(
                    f"{path}: '{image_id}' is in '{split[image_id]}' and in '{part}'; an image belongs to one split"
                )
    for image_id in dict.fromkeys((*boxes, *labels)):
        tags = [*_largest_first(boxes.get(image_id, {})), *_largest_first(labels.get(image_id, {}))]
        try:
            builder.add(image_id, dict.fromkeys(tags), split.get(image_id))
        except BrokenFile as error:
            builder.skip(image_id, error)
    return builder.checked(", ".join(map(str, paths)), "label of Open Images' form")


def _largest_first(sizes: _Sizes) -> list[str]:
    return sorted(sizes, key=lambda tag: -sizes[tag])


def _class_names(source: Path, classes: Path | None) -> Mapping[str, str]:
    """Label -> what it is called. Raises RanktagError without any."""
    files = (
        [classes]
        if classes is not None
        else [path for path in sorted(source.parent.glob("*class-descriptions*.csv")) if not is_hidden(path.name)]
    )
    names: dict[str, str] = {}
    for path in files:
        header = read_header(path)
        if len(header) < 2:
            raise RanktagError(f"{path}: is no table of labels and their names; name class-descriptions.csv")
        # Older tables have no header: what is taken for it is the first label.
        if header[0] != "LabelName":
            names[header[0]] = header[1]
        for _, (label, name) in read_table(path, header[:2]):
            names[label.strip()] = name.strip()
    if not names:
        raise RanktagError(
            f"{source.parent}: holds no class-descriptions.csv, which says what a label such as /m/0bt9lr is called; "
            "name it with --classes"
        )
    return names


def _read_boxes(
    path: Path, names: Mapping[str, str], config: OpenImagesConfig, builder: TagListBuilder, found: dict[str, _Sizes]
) -> Sequence[str]:
    """Note in ``found`` the largest box of each class; returns the images."""
    rows, images = Rows(path, builder), set[str]()
    table = read_table(path, ("ImageID", "LabelName", *BOX), ("IsGroupOf",), bad=rows.skip)
    for line, (image, label, *sides, group) in rows.over(table):
        try:
            image_id = _image_id(image)
            left, right, top, bottom = (number(side) for side in sides)
            if left is None or right is None or top is None or bottom is None:
                raise BadCell(f"has no box ({', '.join(sides)})")
            area = area_inside((left, top), (right, bottom), (1.0, 1.0))
            if area is None:
                raise BadCell("has a box outside of the image, whose sides are 0 and 1, or of no area")
        except BadCell as error:
            rows.skip(line, error)
            continue
        images.add(image_id)
        tag = _named(label, names, builder)
        is_group = group.strip() in ("1", "1.0", "True", "true")
        if is_group and config.groups == "drop":
            builder.drop("boxes of groups")
            continue
        if is_group:
            builder.note("boxes of groups, which are objects like others", tag or label)
        sizes = found.setdefault(image_id, {})
        if tag:
            sizes[tag] = max(area, sizes.get(tag, 0.0))
    rows.refuse_mostly_bad()
    return sorted(images)


def _read_labels(
    path: Path, names: Mapping[str, str], config: OpenImagesConfig, builder: TagListBuilder, found: dict[str, _Sizes]
) -> Sequence[str]:
    """Note in ``found`` the greatest confidence of each label; returns the images."""
    rows, images = Rows(path, builder), set[str]()
    for line, (image, label, sure) in rows.over(
        read_table(path, ("ImageID", "LabelName", "Confidence"), bad=rows.skip)
    ):
        confidence = number(sure)
        try:
            image_id = _image_id(image)
            if confidence is None or confidence < 0:
                raise BadCell(f"has the confidence '{sure[:40]}', which is none")
        except BadCell as error:
            rows.skip(line, error)
            continue
        images.add(image_id)
        sizes = found.setdefault(image_id, {})
        if confidence == 0:
            builder.drop("labels of confidence 0, which people found to be wrong")
        elif tag := _named(label, names, builder):
            sizes[tag] = max(confidence, sizes.get(tag, 0.0))
    rows.refuse_mostly_bad()
    return sorted(images)


def _image_id(cell: str) -> str:
    """The image_id of a cell that names an image, with or without its extension. Raises BadCell."""
    name = checked_image_id(cell)
    return name if is_image_name(name) else f"{name}.jpg"


def _named(label: str, names: Mapping[str, str], builder: TagListBuilder) -> str:
    """What a label is called; '', counted, if no table says."""
    name = names.get(label.strip(), "")
    if not name:
        builder.drop("labels that the class descriptions do not name")
    return name
