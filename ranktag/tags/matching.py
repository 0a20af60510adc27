"""Image ids that are nearly alike: ids of a table against those of the photos, or of a cache.

=====  ==================================================================================================
path   the same path without regard to letter case, ``\\`` for ``/``, and leading folders that one lacks
name   the same file name, whatever the folders
stem   the same file name without its extension
=====  ==================================================================================================

A rule finds an id only if it is the only one: what is ambiguous is no match.
"""

from __future__ import annotations

import difflib
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence

RULES = ("path", "name", "stem")
# How the ids of the first rule differ, the least first.
CASE, SLASHES, FOLDER, FORM = "letter case", "'\\' for '/'", "a leading folder", "case, slashes and folders"


class Ids:
    """Known image ids, to be looked up by ids that are nearly alike."""

    def __init__(self, ids: Iterable[str]) -> None:
        self._ids = set(ids)
        self._by_name: dict[str, list[str]] = defaultdict(list)
        self._by_stem: dict[str, list[str]] = defaultdict(list)
        for image_id in self._ids:
            name = parts_of(image_id)[-1]
            self._by_name[name].append(image_id)
            self._by_stem[_stem(name)].append(image_id)

    def find(self, image_id: str, rule: str) -> list[str]:
        """The known ids that are like ``image_id`` by a rule, in alphabetical order: one is the match."""
        if image_id in self._ids:
            return [image_id]
        parts = parts_of(image_id)
        name = parts[-1]
        if rule == "stem":
            # What follows the last point need not be an extension.
            found = {*self._by_stem.get(name, ()), *self._by_stem.get(_stem(name), ())}
        else:
            found = set(self._by_name.get(name, ()))
        # The same path but for its form goes before the same path without some folders, and that before a name.
        alike = [i for i in found if parts_of(i) == parts]
        nested = alike or [i for i in found if _ends_alike(parts_of(i), parts)]
        return sorted(nested if len(nested) == 1 or rule == "path" else found)

    def nearest(self, image_id: str) -> str | None:
        """The known id whose file name is spelt most alike; None if none is. Another number is another photo."""
        name = parts_of(image_id)[-1]
        digits = _digits(name)
        names = [known for known in self._by_name if abs(len(known) - len(name)) <= 3 and _digits(known) == digits]
        close = difflib.get_close_matches(name, names, n=1, cutoff=0.7)
        return min(self._by_name[close[0]]) if close else None


def parts_of(image_id: str) -> tuple[str, ...]:
    """The names of a path, folders first, without regard to letter case, slashes and Unicode's form."""
    text = unicodedata.normalize("NFC", image_id).casefold().replace("\\", "/")
    return tuple(part for part in text.split("/") if part not in ("", ".")) or ("",)


def _stem(name: str) -> str:
    stem, point, _ = name.rpartition(".")
    return stem if point and stem else name


def _digits(name: str) -> str:
    return "".join(c for c in name if c.isdigit())


def _ends_alike(one: Sequence[str], other: Sequence[str]) -> bool:
    shorter = min(len(one), len(other))
    return one[-shorter:] == other[-shorter:]


def what_would_join(lost: Sequence[str], known: Iterable[str], tags: str) -> str:
    """Half a sentence on which rule would find how many of the ids that are not known; '' if none finds any.

    The weakest rule that finds most is named, how the first of its ids differs, and the command. tags: the tag file.
    """
    ids = Ids(known)
    found = {rule: [(i, there[0]) for i in lost if len(there := ids.find(i, rule)) == 1] for rule in RULES}
    most = max(map(len, found.values()), default=0)
    if not most:
        return ""
    rule = next(rule for rule in RULES if len(found[rule]) == most)
    how = dict(Counter(_difference(*pair) for pair in found[rule]).most_common())
    here, alike = found[rule][0]
    return (
        f"{most} of them differ only in {' or '.join(how)} ('{here}' here, '{alike}' there): "
        f"'ranktag prepare csv {tags} --images PHOTOS --match {rule} -o ...' writes the ids of the photos"
    )


def _difference(one: str, other: str) -> str:
    if one.casefold() == other.casefold():
        return CASE
    if one.replace("\\", "/") == other.replace("\\", "/"):
        return SLASHES
    if _ends_alike(one.split("/"), other.split("/")):
        return FOLDER
    mine, theirs = parts_of(one), parts_of(other)
    if _ends_alike(mine, theirs):
        return FORM
    return "the folders" if mine[-1] == theirs[-1] else "the extension"
