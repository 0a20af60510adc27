"""What the readers of LabelMe's two tools share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ranktag.config import setting
from ranktag.tags.annotations.builder import TagListBuilder
from ranktag.tags.annotations.files import BrokenFile
from ranktag.tags.annotations.objects import image_size
from ranktag.tags.annotations.settings import ReaderConfig


@dataclass(frozen=True)
class LabelmeConfig(ReaderConfig):
    """Settings of tag lists from LabelMe, the web tool's and the desktop tool's."""

    order: str = setting(
        "largest",
        "what ranks the names: the area of the largest object (largest), or their order in the file (annotation)",
        choices=("largest", "annotation"),
    )
    image_id: str = setting("path", "the image's path, or its name without folders", choices=("path", "name"))
    missing_size: str = setting(
        "skip",
        "what becomes of files that give no image size; areas, which are in pixels, do not need it",
        choices=("skip", "keep"),
    )
    min_count: int = setting(1, "names in fewer lists are left out", unit="lists", low=1)
    aliases: Path | None = setting(
        None,
        "a CSV file with the columns name,tag: names to be written as another tag, or left out where tag is empty",
        when_none="none",
    )


def refuse_missing_size(
    width: object, height: object, config: LabelmeConfig, builder: TagListBuilder, file: str
) -> None:
    """What ``config.missing_size`` says of a file that gives no image size: BrokenFile, or a note that it is kept."""
    if image_size(width, height) is not None:
        return
    if config.missing_size == "skip":
        raise BrokenFile("gives no image size (kept with --missing-size keep)")
    builder.note("files without an image size, which were kept", file)


def tag_of(name: str, aliases: Mapping[str, str], builder: TagListBuilder) -> str:
    """The tag of an object's name (in normal form); '' if it has none, which is counted."""
    if not name:
        builder.drop("objects without a name")
        return ""
    tag = aliases.get(name, name)
    if not tag:
        builder.drop("objects left out by the aliases")
    return tag
