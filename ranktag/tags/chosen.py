"""Which of a model's tags are written, and under which names: the same for every output format.

In this order: tags are replaced, those excluded and those of a low probability are left out, and the first of
the rest are written. Tags are compared without regard to letter case, spaces and Unicode form.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ranktag.config import ChoiceConfig
from ranktag.errors import RanktagError
from ranktag.files.tables import read_header, read_table
from ranktag.files.text import read_text_lines
from ranktag.tags.lists import SEPARATOR, clean_tag
from ranktag.tags.predictions import RankedTag
from ranktag.tags.spelling import folded


class TagChoice:
    """``ChoiceConfig``, its files read. Tags of the files are told apart as ``folded`` does."""

    def __init__(self, config: ChoiceConfig = ChoiceConfig()) -> None:
        """Raises RanktagError for files that cannot be read, that hold no tag, or that rename a tag in two ways."""
        self._config = config
        self._new = {} if config.replacements is None else _read_replacements(config.replacements)
        self._excluded = {} if config.exclude is None else read_tags(config.exclude)

    def of(self, tags: Iterable[RankedTag]) -> list[RankedTag]:
        """The tags that are written of an image's, in the same order."""
        if self._new:
            renamed: dict[str, RankedTag] = {}
            for tag, probability in tags:
                tag = self._new.get(folded(tag), ("", tag))[1]
                renamed.setdefault(folded(tag), (tag, probability))
            tags = renamed.values()
        least = self._config.min_probability
        # An unknown probability, nan, is not lower than anything.
        left = [
            (tag, p) for tag, p in tags if folded(tag) not in self._excluded and not (least is not None and p < least)
        ]
        return left[: self._config.top]

    def describe(self) -> dict[str, Any]:
        """All that decides which tags are written, ready for JSON: the files by what they say."""
        return {
            "replace": sorted([old, new] for old, new in self._new.values()),
            "exclude": sorted(self._excluded.values()),
            "min_probability": self._config.min_probability,
            "top": self._config.top,
        }

    def unknown(self, vocabulary: Sequence[str]) -> list[str]:
        """A sentence a file that names tags which the model does not know, as a misspelt one would."""
        known = {folded(tag) for tag in vocabulary}
        produced = known | {folded(new) for _, new in self._new.values()}
        return [
            *_unknown(self._config.replacements, {key: old for key, (old, _) in self._new.items()}, known),
            *_unknown(self._config.exclude, self._excluded, produced),
        ]


def _unknown(path: Path | None, tags: Mapping[str, str], known: set[str]) -> list[str]:
    strange = [tag for key, tag in tags.items() if key not in known]
    if not strange:
        return []
    return [f"{path}: {len(strange)} of its {len(tags)} tags are none of the model's ('{strange[0]}' first)"]


def _read_replacements(path: Path) -> dict[str, tuple[str, str]]:
    """What an old tag's spellings have in common -> that tag and its new name."""
    found: dict[str, tuple[str, str]] = {}
    for line, cells in read_table(path, ("old", "new")):
        old, new = map(clean_tag, cells)
        if not old or not new:
            raise RanktagError(
                f"{path}: line {line} has no {'old' if not old else 'new'} tag; fill it in (tags that are never "
                "to be written go into the file of --exclude)"
            )
        if SEPARATOR in new:
            raise RanktagError(
                f"{path}: line {line}: '{new}' holds '{SEPARATOR}', which tag lists put between two tags"
            )
        if found.setdefault(folded(old), (old, new))[1] != new:
            raise RanktagError(
                f"{path}: line {line}: '{old}' becomes '{new}' there and '{found[folded(old)][1]}' before; keep one"
            )
    return found


def read_tags(path: Path) -> dict[str, str]:
    """The tags of a file, a tag a line or in a column ``tag``: what a tag's spellings have in common -> the tag.

    Raises RanktagError for a file that cannot be read, and one without tags.
    """
    if "tag" in read_header(path):
        tags = [tag for _, (tag,) in read_table(path, ("tag",))]
    else:
        tags = [line for _, line in read_text_lines(path)]
    found = {folded(tag): tag for tag in map(clean_tag, tags) if tag}
    if not found:
        raise RanktagError(f"{path}: holds no tag; write one a line, or a CSV with the column tag")
    return found
