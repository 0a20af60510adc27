"""Images called as the photos that there are."""

from __future__ import annotations

from collections.abc import Iterable

from ranktag.errors import Mismatch, RanktagError
from ranktag.tags.annotations.builder import TagListBuilder, examples
from ranktag.tags.matching import Ids

NEAREST = 100  # names for which the nearest is looked for


def rename_to_photos(builder: TagListBuilder, photos: Iterable[str], rule: str, folder: str) -> None:
    """Call a builder's images as the photos that they match by a rule (see ``ranktag.tags.matching``).

    An image that matches none, or several, is skipped, and said with the nearest name. Images that match one
    photo are several people's lists for it. folder: where the photos are, to be named.

    Raises RanktagError if none matches, or if images of two splits match one photo.
    """
    ids, lists, split = Ids(photos), builder.lists, builder.split
    builder.lists, builder.split = {}, {}
    for image_id, people in lists.items():
        found = ids.find(image_id, rule)
        if len(found) > 1:
            builder.skip(image_id, f"may be any of {len(found)} photos ({examples(found, 3)})")
        elif not found:
            # In a large archive each look takes its time, and nobody reads thousands.
            nearest = ids.nearest(image_id) if len(builder.broken) < NEAREST else None
            builder.skip(image_id, f"is no photo of {folder}" + (f"; the nearest is '{nearest}'" if nearest else ""))
        else:
            (name,) = found
            builder.lists.setdefault(name, []).extend(people)
            part = split.get(image_id)
            if part is not None and builder.split.setdefault(name, part) != part:
                raise RanktagError(
                    f"'{image_id}' is in '{part}' and would be called '{name}', which is in '{builder.split[name]}'; "
                    "an image belongs to one split"
                )
    if not builder.lists:
        first, reason = builder.broken[-1]
        raise Mismatch(
            f"none of the {len(lists)} images matches a photo by {rule}: '{first}' {reason}; try another --match"
        )
