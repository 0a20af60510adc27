"""The images of a file of COCO's form, told apart by their ids."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ranktag.tags.annotations.builder import TagListBuilder
from ranktag.tags.annotations.files import BrokenFile
from ranktag.tags.annotations.image_names import image_path
from ranktag.tags.annotations.objects import Point, image_size


@dataclass(frozen=True)
class ImageRow:
    """One entry of a file's images: where it stands, its id there, and the image that it is."""

    where: str
    key: str
    image_id: str
    size: Point | None


def key_of(value: object) -> str | None:
    """An id, which tools write as a number or as text, as text; None for anything else."""
    if isinstance(value, bool) or not isinstance(value, (int, str, float)):
        return None
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value).strip() or None


def image_rows(path: Path, content: dict[str, Any], builder: TagListBuilder) -> list[ImageRow]:
    """The images that can be told apart by their ids; the others are skipped."""
    rows: dict[tuple[str, str], ImageRow] = {}
    # Repeats of an entry are one image; other images of its id are not.
    for index, image in enumerate(content["images"]):
        where = f"{path.name}: images[{index}]"
        try:
            key = key_of(image.get("id")) if isinstance(image, dict) else None
            if key is None:
                raise BrokenFile("has no id")
            row = ImageRow(
                where, key, image_path(image.get("file_name")), image_size(image.get("width"), image.get("height"))
            )
        except BrokenFile as error:
            builder.skip(where, error)
            continue
        if rows.setdefault((key, row.image_id), row) is not row:
            builder.drop("images listed twice")
    keys = Counter(key for key, _ in rows)
    for row in rows.values():
        if keys[row.key] > 1:
            builder.skip(row.where, f"has the id {row.key}, as another; whose objects are whose cannot be told")
    return [row for row in rows.values() if keys[row.key] == 1]


def objects_of(values: object) -> list[dict[str, Any]]:
    """The objects of a list in JSON; none of anything else."""
    return [value for value in values if isinstance(value, dict)] if isinstance(values, list) else []
