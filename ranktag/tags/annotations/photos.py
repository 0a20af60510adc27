"""Images called as the photos that there are."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ranktag.errors import Mismatch, RanktagError
from ranktag.tags.annotations.account import examples
from ranktag.tags.annotations.builder import TagListBuilder
from ranktag.tags.matching import Ids, parts_of

NEAREST = 100  # names for which the nearest is looked for


def rename_to_photos(builder: TagListBuilder, photos: Iterable[str], rule: str, folder: str) -> None:
    """Call a builder's images as the photos that they match by a rule (see ``ranktag.tags.matching``).

    An image that matches none, or several, is skipped, and said with the nearest name. Images of one spelling that
    match one photo are several people's lists for it, which is noted; of others the one that is spelt as the photo is
    kept, or none, as they may be different photos. folder: where the photos are, to be named.

    Raises RanktagError if none matches, or if images of two splits match one photo.
    """
    ids, lists, split, who = Ids(photos), builder.lists, builder.split, builder.people
    builder.lists, builder.split, builder.people = {}, {}, {}
    matched: dict[str, list[str]] = {}
    for image_id in lists:
        found = ids.find(image_id, rule)
        if len(found) > 1:
            builder.skip(image_id, f"may be any of {len(found)} photos ({examples(found, 3)})")
        elif not found:
            # In a large archive each look takes its time, and nobody reads thousands.
            nearest = ids.nearest(image_id) if len(builder.broken) < NEAREST else None
            builder.skip(image_id, f"is no photo of {folder}" + (f"; the nearest is '{nearest}'" if nearest else ""))
        else:
            matched.setdefault(found[0], []).append(image_id)
    for name, image_ids in matched.items():
        for image_id in _of_one_spelling(name, image_ids, builder):
            builder.lists.setdefault(name, []).extend(lists[image_id])
            builder.people.setdefault(name, []).extend(who[image_id])
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


def _of_one_spelling(name: str, image_ids: Sequence[str], builder: TagListBuilder) -> Sequence[str]:
    """Those of the images that match a photo which are it; the others are skipped."""
    spellings = {parts_of(image_id) for image_id in image_ids}
    if len(spellings) > 1:
        kept = [image_id for image_id in image_ids if parts_of(image_id) == parts_of(name)]
        for image_id in image_ids:
            if image_id not in kept:
                other = next(other for other in (*kept, *image_ids) if parts_of(other) != parts_of(image_id))
                builder.skip(image_id, f"would be the photo '{name}', as '{other}' is; they may be different photos")
        image_ids = kept
    if len(image_ids) > 1:
        builder.note("images spelt in several ways, one photo's", name)
    return image_ids
