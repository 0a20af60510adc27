"""Names that annotators typed, made into tags."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping
from pathlib import Path

from ranktag.errors import RanktagError
from ranktag.files.tables import read_table


def normal_name(name: str) -> str:
    """``name`` in lower case and Unicode normal form C, runs of spaces (and control characters) made one space."""
    printable = "".join(" " if unicodedata.category(c) == "Cc" else c for c in name)
    return unicodedata.normalize("NFC", " ".join(printable.lower().split()))


def read_aliases(path: Path | None) -> Mapping[str, str]:
    """Name -> tag, both normal, from a CSV file with the columns ``name,tag``; an empty tag leaves the name out.

    Aliases are not followed further: a tag is written as the file has it. None is
    no alias.

    Raises RanktagError for an unreadable table, an empty name, or one name with two tags.
    """
    if path is None:
        return {}
    aliases: dict[str, str] = {}
    for line, (name, tag) in read_table(path, ("name", "tag")):
        name, tag = normal_name(name), normal_name(tag)
        if not name:
            raise RanktagError(f"{path}: line {line} has no name; write name,tag")
        if aliases.setdefault(name, tag) != tag:
            raise RanktagError(
                f"{path}: line {line}: '{name}' is '{aliases[name]}' further up and '{tag}' here; keep one"
            )
    return aliases
