"""Tag lists: what people said is in an image, most important first.

CSV, UTF-8, columns ``image_id,tags`` and optionally ``split`` (others are ignored).
``tags`` holds tags joined by ``|``. Several rows with one ``image_id`` are several
people's lists. Tags are stripped and put in Unicode normal form C, so that tags
that look alike are alike.
"""

from __future__ import annotations

import functools
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ranktag.errors import RanktagError
from ranktag.files.tables import read_table, write_table
from ranktag.tags.splits import SPLITS

SEPARATOR = "|"


TagList = tuple[str, ...]


@dataclass(frozen=True)
class TagLists:
    """Every person's list for every image.

    lists: image id -> its people's lists, in file order; tags within a list are unique.
    split: image id -> 'train', 'val' or 'test'; None if the file has no such column.
    """

    lists: Mapping[str, Sequence[TagList]]
    split: Mapping[str, str] | None = None


# The same few tags come again and again.
@functools.lru_cache(maxsize=2**16)
def clean_tag(tag: str) -> str:
    """``tag`` stripped and in normal form C."""
    return unicodedata.normalize("NFC", tag).strip()


def unique_tags(tags: Iterable[str]) -> TagList:
    """Tags cleaned, empty ones left out; repeated ones keep their first place."""
    return tuple(dict.fromkeys(tag for tag in map(clean_tag, tags) if tag))


def read_tag_lists(path: Path) -> TagLists:
    """Read a tag-list file.

    Raises RanktagError for an unreadable table (see ``ranktag.files.tables``), an empty
    image id, a split that is not train, val or test, or an image in two splits.
    """
    path = Path(path)
    lists: dict[str, list[TagList]] = {}
    split: dict[str, tuple[str, int]] = {}
    for line, (image_id, tags, part) in read_table(path, ("image_id", "tags"), ("split",)):
        if not image_id:
            raise RanktagError(f"{path}: line {line} has no image_id; fill it in or remove the line")
        lists.setdefault(image_id, []).append(unique_tags(tags.split(SEPARATOR)))
        part = part.strip()
        if part and part not in SPLITS:
            raise RanktagError(f"{path}: line {line}: split '{part}' is not one of {', '.join(SPLITS)}; mend it there")
        known, known_line = split.setdefault(image_id, (part, line))
        if known != part:
            raise RanktagError(
                f"{path}: '{image_id}' is in split '{known}' on line {known_line} and in '{part}' on line {line}; "
                "an image belongs to one split"
            )
    if not lists:
        raise RanktagError(f"{path}: holds no tag list; expected rows of image_id,tags below the header")
    without = [image_id for image_id, (part, _) in split.items() if not part]
    if len(without) == len(lists):
        return TagLists(lists)
    if without:
        raise RanktagError(f"{path}: line {split[without[0]][1]} has no split; give every row one, or none")
    return TagLists(lists, {image_id: part for image_id, (part, _) in split.items()})


def write_tag_lists(path: Path, tag_lists: TagLists) -> None:
    """Write a tag-list file, one row a person's list. Raises RanktagError for a tag that holds ``|``."""
    split = tag_lists.split
    write_table(
        path,
        ("image_id", "tags") if split is None else ("image_id", "split", "tags"),
        (
            (image_id, join_tags(tags)) if split is None else (image_id, split[image_id], join_tags(tags))
            for image_id, people in tag_lists.lists.items()
            for tags in people
        ),
    )


def join_tags(tags: Iterable[str]) -> str:
    """Tags joined by ``|``. Raises RanktagError for a tag that holds ``|``."""
    tags = tuple(tags)
    for tag in tags:
        if SEPARATOR in tag:
            raise RanktagError(f"tag '{tag}' holds '{SEPARATOR}', which separates tags; rename it")
    return SEPARATOR.join(tags)
