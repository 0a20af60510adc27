"""Tag lists from any CSV table: one row an image, or one row a tag."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path

from ranktag.config import TableConfig
from ranktag.errors import RanktagError
from ranktag.files.tables import read_table
from ranktag.tags.annotations.builder import Prepared
from ranktag.tags.annotations.files import BrokenFile, number

SPLIT_NAMES: Mapping[str, str] = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "dev"), "val"),
    **dict.fromkeys(("test", "testing"), "test"),
}


def prepare_csv(source: Path, config: TableConfig) -> Prepared:
    """Tag lists of a UTF-8 CSV table whose columns and separators ``config`` names.

    One row an image: ``tags_column`` holds the tags, most important first; several
    rows of one image are several people's lists. One row a tag (``tag_column``):
    ordered by the smallest rank or the largest score, equal ones and tags without
    either in the rows' order; ``list_column`` tells people apart; an empty tag is a
    row for an image without tags. ``image_id`` is taken as it stands.

    Raises RanktagError: an unreadable table, a missing column, a row without an
    image, a rank or score that is no number, an unknown split, an image in two splits.
    """
    source = Path(source)
    prepared = Prepared(config.prefix or "")
    if config.tag_column is None and (config.rank_column or config.score_column or config.list_column):
        raise RanktagError(
            "--rank-column, --score-column and --list-column order one row a tag; name the tags with --tag-column"
        )
    if config.rank_column and config.score_column:
        raise RanktagError("--rank-column and --score-column are two orders; name one")
    rows = _rows_a_tag(source, config) if config.tag_column is not None else _rows_an_image(source, config)
    for line, image_id, tags, split in rows:
        try:
            prepared.add(image_id, tags, _split(split, source, line))
        except BrokenFile as error:
            raise RanktagError(f"{source}: line {line} {error}; mend it there") from None
    return prepared.checked(source, "tag")


def one_character(separator: str, option: str) -> str:
    """The separator of a CSV file. Raises RanktagError unless it is one character, or the word tab."""
    separator = "\t" if separator in ("tab", "\\t") else separator
    if len(separator) != 1 or separator in '"\r\n\0':
        raise RanktagError(
            f"{option}: '{separator}' is not one character (or the word tab) that can stand between cells; name such a one"
        )
    return separator


Row = tuple[int, str, list[str], str]
"""Line, image id, tags, split."""


def _rows_an_image(source: Path, config: TableConfig) -> list[Row]:
    between = "\t" if config.tag_separator in ("tab", "\\t") else config.tag_separator
    if not between:
        raise RanktagError("--tag-separator: is empty; name what stands between the tags")
    columns = [config.image_column, config.tags_column, *([config.split_column] if config.split_column else [])]
    return [
        # An empty cell is an image without tags, not one with an empty tag.
        (
            line,
            cells[0].strip(),
            cells[1].split(between) if cells[1].strip() else [],
            cells[2] if config.split_column else "",
        )
        for line, cells in read_table(source, columns, separator=one_character(config.separator, "--separator"))
    ]


def _rows_a_tag(source: Path, config: TableConfig) -> list[Row]:
    order = config.rank_column or config.score_column
    extra = [column for column in (order, config.list_column, config.split_column) if column]
    lists: dict[tuple[str, str], list[tuple[float, str]]] = {}
    first: dict[tuple[str, str], tuple[int, str]] = {}
    assert config.tag_column is not None
    columns = [config.image_column, config.tag_column, *extra]
    for line, cells in read_table(source, columns, separator=one_character(config.separator, "--separator")):
        cell = dict(zip(extra, cells[2:], strict=True))
        key = (cells[0].strip(), cell.get(config.list_column or "", "").strip())
        split = cell.get(config.split_column or "", "")
        tags = lists.setdefault(key, [])
        _, known = first.setdefault(key, (line, split))
        if split != known:
            raise RanktagError(
                f"{source}: line {line} puts '{key[0]}' in split '{split}', line {first[key][0]} in '{known}'; an image belongs to one split"
            )
        if cells[1].strip():
            tags.append((_place(cell.get(order or "", ""), config, source, line), cells[1]))
    return [
        (first[key][0], key[0], [tag for _, tag in sorted(tags, key=lambda pair: pair[0])], first[key][1])
        for key, tags in lists.items()
    ]


def _place(text: str, config: TableConfig, source: Path, line: int) -> float:
    """What to sort by: the rank, the score with its sign turned, or infinity where the cell is empty."""
    if not text.strip():
        return math.inf
    value = number(text)
    if value is None:
        raise RanktagError(
            f"{source}: line {line}: '{text[:40]}' in column '{config.rank_column or config.score_column}' is no number; mend it or leave it empty"
        )
    return -value if config.score_column else value


def _split(text: str, source: Path, line: int) -> str | None:
    if not text.strip():
        return None
    split = SPLIT_NAMES.get(text.strip().lower())
    if split is None:
        raise RanktagError(
            f"{source}: line {line}: split '{text.strip()[:40]}' is not one of train, val, test; mend it there"
        )
    return split
