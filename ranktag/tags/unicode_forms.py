"""Image ids that differ in nothing but Unicode's form.

A folder copied from a Mac spells an accented letter as two characters, whoever types tags
as one. Both look alike, and are meant alike.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Collection, Iterable

from ranktag.errors import RanktagError


def other_forms(ids: Iterable[str], known: Collection[str], name: str) -> dict[str, str]:
    """Id -> the known id that it is meant to be, for those of ``ids`` that are known in another form only.

    Raises RanktagError if two ids of either side would be the same image. name: where ``ids`` are from.
    """
    ids = list(ids)
    # A text of ASCII has one form.
    wanted = {i: unicodedata.normalize("NFC", i) for i in ids if not i.isascii() and i not in known}
    if not wanted:
        return {}
    forms = set(wanted.values())
    known_as: dict[str, str] = {}
    for image_id in known:
        form = image_id if image_id.isascii() else unicodedata.normalize("NFC", image_id)
        if form in forms and known_as.setdefault(form, image_id) != image_id:
            raise _same(image_id, known_as[form], name)
    found = {i: known_as[form] for i, form in wanted.items() if form in known_as}
    there = set(ids) - found.keys()
    meant: dict[str, str] = {}
    for image_id, known_id in found.items():
        other = known_id if known_id in there else meant.setdefault(known_id, image_id)
        if other != image_id:
            raise _same(image_id, other, name)
    return found


def _same(one: str, other: str, name: str) -> RanktagError:
    return RanktagError(
        f"{name}: the image ids '{one}' ({_spelt(one)}) and '{other}' ({_spelt(other)}) look alike and differ in "
        "Unicode's form only; rename one of the photos, or spell its id as the file's name is"
    )


def _spelt(image_id: str) -> str:
    return image_id.encode("ascii", "backslashreplace").decode()


def said(found: dict[str, str]) -> str:
    """That they were taken for the same, for a note."""
    one, other = next(iter(found.items()))
    return (
        f"{len(found):,} image ids differ from the names they are meant to be in Unicode's form only and are taken for "
        f"the same: {_spelt(one)} for {_spelt(other)}{', ...' if len(found) > 1 else ''}"
    )
