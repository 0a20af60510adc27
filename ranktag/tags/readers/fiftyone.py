"""FiftyOne's labels.json, of classifications or detections.

SOURCE is labels.json, or the folder that holds it (and data, the photos).

The tags of an image are its labels: those with boxes by area, the largest first, others in
the order of the file, or all by confidence with --order confidence. Images whose
labels are null are unlabelled, and left out.

image_id is the path of the photo below data, by its path there without extension, as
FiftyOne writes it. Without the photos the names are taken as they stand.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ranktag.config import setting
from ranktag.errors import RanktagError
from ranktag.tags.annotations.builder import TagListBuilder
from ranktag.tags.annotations.files import BrokenFile, is_image_name, number, read_json
from ranktag.tags.annotations.image_names import Photos, image_path
from ranktag.tags.annotations.objects import AnnotatedObject, add_objects, area_inside
from ranktag.tags.annotations.settings import ReaderConfig

REMEDY = "export the data set as FiftyOneImageDetectionDataset or FiftyOneImageClassificationDataset"


@dataclass(frozen=True)
class FiftyOneConfig(ReaderConfig):
    """Settings of tag lists from FiftyOne."""

    order: str = setting(
        "largest",
        "what ranks the labels: the area of the largest box, and the order in the file where there are no boxes "
        "(largest); the order in the file (annotation); the confidence (confidence)",
        choices=("largest", "annotation", "confidence"),
    )


def read(source: Path, config: FiftyOneConfig) -> TagListBuilder:
    """Tag lists of FiftyOne's labels.json, one an image.

    Where ``data`` lies beside it, an image without a photo there is skipped.

    Raises RanktagError: no such file, another form, no label.
    """
    path = Path(source) / "labels.json" if Path(source).is_dir() else Path(source)
    try:
        content = read_json(path, keys_once=True)
        if not isinstance(content, dict) or not isinstance(content.get("labels"), dict):
            raise BrokenFile("has no 'labels' of FiftyOne's form")
    except BrokenFile as error:
        raise RanktagError(f"{path}: {error}; {REMEDY}") from None
    classes = content.get("classes")
    builder = TagListBuilder(config.prefix)
    photos = Photos.below(path.parent / "data")
    for key, target in content["labels"].items():
        try:
            name = image_path(key)
            image_id = photos.named(name) if photos.paths else name
            if target is None:
                builder.drop("images that are unlabelled (null)")
                continue
            labels = target if isinstance(target, list) else [target]
            objects = [_labelled(label, classes if isinstance(classes, list) else [], config.order) for label in labels]
            sized = any(thing.size is not None for thing in objects)
            order = config.order if config.order == "annotation" or sized else "annotation"
            add_objects(builder, image_id, objects, order, file=key)
        except BrokenFile as error:
            builder.skip(key, error)
        else:
            if not photos.paths and not is_image_name(image_id):
                builder.note("names without an extension; --images PHOTOS --match stem finds the photos", image_id)
    return builder.checked(path, "label of FiftyOne's form")


def _labelled(label: Any, classes: Sequence[Any], order: str) -> AnnotatedObject:
    """A label, with what it is sorted by: its area as a share of the image, or its confidence. Raises BrokenFile."""
    thing: Mapping[str, Any] = label if isinstance(label, dict) else {"label": label}
    name = thing.get("label")
    if isinstance(name, int) and not isinstance(name, bool):
        if not 0 <= name < len(classes):
            raise BrokenFile(f"has the label {name}, and there are {len(classes)} classes")
        name = classes[name]
    if not isinstance(name, str) or not name.strip():
        raise BrokenFile(f"has a label that is no text ({str(name)[:40]})")
    if order == "confidence":
        return AnnotatedObject(name, number(thing.get("confidence")))
    box = thing.get("bounding_box")
    values = [number(value) for value in box] if isinstance(box, list) else []
    known = [value for value in values if value is not None]
    if len(known) != 4 or len(values) != 4 or known[2] <= 0 or known[3] <= 0:
        return AnnotatedObject(name, None)
    x, y, width, height = known
    return AnnotatedObject(name, area_inside((x, y), (x + width, y + height), (1.0, 1.0)))
