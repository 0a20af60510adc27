"""The fields that hold keywords."""

from __future__ import annotations

from typing import NamedTuple


class Field(NamedTuple):
    """A field of keywords.

    title: as people call it. key: as exiv2 does. separator: between the levels of a hierarchy, '' where there are none.
    ordered: whether the standard says that its order means something.
    """

    title: str
    key: str
    separator: str
    ordered: bool


# In the order in which they are looked for: the ordered one; then the one that tells leaves from the levels above them.
FIELDS = {
    "tagslist": Field("digiKam:TagsList", "Xmp.digiKam.TagsList", "/", True),
    "hierarchical": Field("lr:hierarchicalSubject", "Xmp.lr.hierarchicalSubject", "|", False),
    "subject": Field("dc:subject", "Xmp.dc.subject", "", False),
    "iptc": Field("IPTC keywords", "Iptc.Application2.Keywords", "", False),
}
# Field -> its entries, in order. A file holds no empty ones.
Lists = dict[str, list[str]]
XMP = tuple(name for name, field in FIELDS.items() if field.key.startswith("Xmp."))


def levels(field: str, entry: str) -> list[str]:
    """The names on the way to a keyword, the topmost first: ``Animals|Dog`` is Animals, Dog."""
    separator = FIELDS[field].separator
    parts = entry.split(separator) if separator else [entry]
    return [part.strip() for part in parts if part.strip()]
