"""Any CSV table: one row an image, or one row a tag.

SOURCE is a UTF-8 file with a header.

\b
One row an image:  ranktag prepare csv photos.csv -o tags.csv --separator ';' --image-column photo
                     --tags-column keywords --tag-separator ,
One row a tag:     ranktag prepare csv votes.csv -o tags.csv --image-column photo
                     --tag-column keyword --score-column votes

image_id is taken as it stands: it must be the image's path below the folder that
extract-features gets. A | in a tag becomes /. Splits may be called training,
validation, valid, dev, testing, too.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from ranktag.config import setting
from ranktag.errors import RanktagError, Usage
from ranktag.files.tables import read_table
from ranktag.tags.annotations.builder import TagListBuilder
from ranktag.tags.annotations.files import BrokenFile, cell_separator, number
from ranktag.tags.annotations.settings import ReaderConfig
from ranktag.tags.lists import SEPARATOR, refuse_other_separator
from ranktag.tags.splits import SPLIT_NAMES


@dataclass(frozen=True)
class TableConfig(ReaderConfig):
    """Settings of tag lists from any CSV table."""

    separator: str = setting(",", "the character between cells; tab for a tab")
    image_column: str = setting("image_id", "the column that names the image")
    tags_column: str = setting("tags", "one row an image: the column that holds its tags")
    tag_separator: str = setting("|", "one row an image: what stands between its tags; tab for a tab")
    tag_column: str | None = setting(None, "one row a tag: the column that holds the tag", when_none="one row an image")
    rank_column: str | None = setting(
        None, "one row a tag: the column to order by, smallest first", when_none="the rows' order"
    )
    score_column: str | None = setting(
        None, "one row a tag: the column to order by, largest first", when_none="the rows' order"
    )
    list_column: str | None = setting(
        None,
        "one row a tag: the column that tells several people's lists for an image apart",
        when_none="one list an image",
    )
    split_column: str | None = setting(None, "the column that says train, val or test", when_none="no split")


def read(source: Path, config: TableConfig) -> TagListBuilder:
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
    builder = TagListBuilder(config.prefix)
    if config.tag_column is None and (config.rank_column or config.score_column or config.list_column):
        raise Usage(
            "--rank-column, --score-column and --list-column order one row a tag; name the tags with --tag-column"
        )
    if config.rank_column and config.score_column:
        raise Usage("--rank-column and --score-column are two orders; name one")
    rows = (
        _rows_an_image(source, config) if config.tag_column is None else _rows_a_tag(source, config, config.tag_column)
    )
    for row in rows:
        try:
            builder.add(row.image_id, row.tags, _split(row.split, source, row.line))
        except BrokenFile as error:
            raise RanktagError(f"{source}: line {row.line} {error}; mend it there") from None
    return builder.checked(source, "tag")


class _List(NamedTuple):
    """One person's list, the line it begins on, and the text in the column of splits ('' if there is none)."""

    line: int
    image_id: str
    tags: list[str]
    split: str


def _rows_an_image(source: Path, config: TableConfig) -> Iterator[_List]:
    between = "\t" if config.tag_separator in ("tab", "\\t") else config.tag_separator
    if not between:
        raise Usage("--tag-separator: is empty; name what stands between the tags")
    columns = [config.image_column, config.tags_column, *([config.split_column] if config.split_column else [])]
    table = list(read_table(source, columns, separator=cell_separator(config.separator, "--separator")))
    if between == SEPARATOR:
        refuse_other_separator(source, (cells[1] for _, cells in table))
    for line, cells in table:
        # An empty cell is an image without tags, not one with an empty tag.
        tags = cells[1].split(between) if cells[1].strip() else []
        yield _List(line, cells[0].strip(), tags, cells[2] if config.split_column else "")


def _rows_a_tag(source: Path, config: TableConfig, tag_column: str) -> Iterator[_List]:
    order = config.rank_column or config.score_column
    extra = [column for column in (order, config.list_column, config.split_column) if column]
    # (image, person) -> the list with its first line, and the tags with what they are sorted by.
    lists: dict[tuple[str, str], tuple[_List, list[tuple[float, str]]]] = {}
    columns = [config.image_column, tag_column, *extra]
    for line, cells in read_table(source, columns, separator=cell_separator(config.separator, "--separator")):
        cell = dict(zip(extra, cells[2:], strict=True))
        image_id, split = cells[0].strip(), cell.get(config.split_column or "", "")
        key = (image_id, cell.get(config.list_column or "", "").strip())
        first, tags = lists.setdefault(key, (_List(line, image_id, [], split), []))
        if split != first.split:
            raise RanktagError(
                f"{source}: line {line} puts '{image_id}' in split '{split}', line {first.line} in '{first.split}'; "
                "an image belongs to one split"
            )
        if cells[1].strip():
            tags.append((_sort_key(cell.get(order or "", ""), config, source, line), cells[1]))
    for first, tags in lists.values():
        yield first._replace(tags=[tag for _, tag in sorted(tags, key=lambda pair: pair[0])])


def _sort_key(text: str, config: TableConfig, source: Path, line: int) -> float:
    """The rank, the score with its sign turned, or infinity where the cell is empty."""
    if not text.strip():
        return math.inf
    value = number(text)
    if value is None:
        raise RanktagError(
            f"{source}: line {line}: '{text[:40]}' in column '{config.rank_column or config.score_column}' "
            "is no number; mend it or leave it empty"
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
