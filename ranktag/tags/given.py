"""Lists that are begun, as people keep them: a tag-list file with one list an image."""

from __future__ import annotations

from pathlib import Path

from ranktag.errors import RanktagError
from ranktag.tags.lists import SEPARATOR, TagList, read_tag_lists, unique_tags


def read_given(path: str | Path) -> dict[str, TagList]:
    """Image id -> the tags that are given, from a tag-list file.

    Raises RanktagError as ``read_tag_lists`` does, and for an image with two lists that are not alike.
    """
    given: dict[str, TagList] = {}
    for image_id, people in read_tag_lists(path).lists.items():
        different = list(dict.fromkeys(people))
        if len(different) > 1:
            raise RanktagError(
                f"{path}: '{image_id}' has {len(different)} lists, and one is gone on with; "
                "keep one (or compare people's lists: --given-first)"
            )
        given[image_id] = different[0]
    return given


def parse_given(text: str) -> TagList:
    """'beach,dog' -> the tags; where a tag holds a comma, they are joined by ``|``."""
    tags = unique_tags(text.split(SEPARATOR if SEPARATOR in text else ","))
    if not tags:
        raise RanktagError(f"--given '{text}': names no tag; write them as beach,dog, the most important first")
    return tags
