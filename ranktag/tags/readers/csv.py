"""Any table (CSV, JSON Lines, Parquet): one row an image, or one row a tag.

SOURCE is a file with a header, as spreadsheets save it: UTF-8, UTF-16 or Windows-1252,
with commas, or with semicolons or tabs, which are found. Lists that Python wrote,
['cat', 'dog'], are read as such. Rows that cannot be used are listed and skipped.

\b
One row an image:  ranktag prepare csv photos.csv -o tags.csv --separator ';' --image-column photo
                     --tags-column keywords --tag-separator ,
One row a tag:     ranktag prepare csv votes.csv -o tags.csv --image-column photo
                     --tag-column keyword --score-column votes
One column a tag:  ranktag prepare csv sheet.csv -o tags.csv --image-column photo --tags-column 'Keyword*'

A SOURCE that ends in .jsonl (Hugging Face's metadata.jsonl) or .parquet is read
likewise; a column of lists is the tags in their order, objects.category is a member
of a column, and classes that Hugging Face stores as numbers have their names. Parquet
needs the extra parquet.

\b
Hugging Face:      ranktag prepare csv metadata.jsonl -o tags.csv --image-column file_name

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
from ranktag.files.records import is_records, read_records
from ranktag.files.tables import read_table
from ranktag.tags.annotations.builder import TagListBuilder
from ranktag.tags.annotations.files import BrokenFile, cell_separator, number
from ranktag.tags.annotations.rows import Rows
from ranktag.tags.annotations.settings import ReaderConfig
from ranktag.tags.cells import BadCell, checked_image_id, is_list_cell, is_missing_text, looks_like_a_date, tags_of_cell
from ranktag.tags.lists import refuse_other_separator
from ranktag.tags.splits import SPLIT_NAMES


@dataclass(frozen=True)
class TableConfig(ReaderConfig):
    """Settings of tag lists from any CSV table."""

    separator: str | None = setting(
        None, "the character between cells; tab for a tab", when_none="comma, semicolon or tab, as the file looks"
    )
    encoding: str | None = setting(
        None, "the encoding, as cp1251 or shift-jis", when_none="UTF-8, UTF-16 or Windows-1252, as the file looks"
    )
    image_column: str = setting("image_id", "the column that names the image")
    tags_column: str = setting(
        "tags", "one row an image: the column that holds its tags, or several that match: 'Keyword*', in their order"
    )
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
    """Tag lists of a CSV table whose columns and separators ``config`` names.

    One row an image: ``tags_column`` holds the tags, most important first; several
    rows of one image are several people's lists. One row a tag (``tag_column``):
    ordered by the smallest rank or the largest score, equal ones and tags without
    either in the rows' order; ``list_column`` tells people apart; an empty tag is a
    row for an image without tags. ``image_id`` is taken as it stands.

    A row without an image, with cells too many or too few, with a rank or score that is
    no number, or with an unknown split is listed and skipped.

    Raises RanktagError: an unreadable table, a missing column, mostly bad rows, an image
    in two splits.
    """
    source = Path(source)
    builder = TagListBuilder(config.prefix)
    if config.tag_column is None and (config.rank_column or config.score_column or config.list_column):
        raise Usage(
            "--rank-column, --score-column and --list-column order one row a tag; name the tags with --tag-column"
        )
    if config.rank_column and config.score_column:
        raise Usage("--rank-column and --score-column are two orders; name one")
    rows = Rows(source, builder)
    lists = (
        _rows_an_image(rows, source, config)
        if config.tag_column is None
        else _rows_a_tag(rows, source, config, config.tag_column)
    )
    for row in lists:
        try:
            builder.add(row.image_id, row.tags, row.split)
        except BrokenFile as error:
            rows.skip(row.line, error)
            continue
        for tag in row.tags:
            if tag.strip() == "nan" or looks_like_a_date(tag.strip()):
                builder.note("tags that a spreadsheet or pandas may have made of something else", tag.strip())
    rows.refuse_mostly_bad()
    return builder.checked(source, "tag")


class _List(NamedTuple):
    """One person's list, the line it begins on, and its split."""

    line: int
    image_id: str
    tags: list[str]
    split: str | None


def _table(
    rows: Rows, source: Path, config: TableConfig, columns: list[str], several: str | None = None
) -> Iterator[tuple[int, list[str]]]:
    """The rows of the table, whatever its form: (line, cells of the columns, then of those that match ``several``)."""
    if is_records(source):
        if config.separator is not None or config.encoding is not None:
            raise Usage(f"{source}: --separator and --encoding are of CSV tables, and this is none; leave them out")
        return rows.over(read_records(source, columns, several, rows.skip))
    separator = cell_separator("," if config.separator is None else config.separator, "--separator")
    return rows.over(read_table(source, columns, (), separator, rows.skip, config.encoding, several=several))


def _rows_an_image(rows: Rows, source: Path, config: TableConfig) -> Iterator[_List]:
    between = "\t" if config.tag_separator in ("tab", "\\t") else config.tag_separator
    if not between:
        raise Usage("--tag-separator: is empty; name what stands between the tags")
    columns = [config.image_column, *([config.split_column] if config.split_column else [])]
    # (line, image, tags' cells, split)
    table: list[tuple[int, str, list[str], str]] = []
    for line, cells in _table(rows, source, config, columns, config.tags_column):
        table.append((line, cells[0], cells[len(columns) :], cells[1] if config.split_column else ""))
    refuse_other_separator(source, (cell for _, _, cells, _ in table for cell in cells), between)
    for line, image, cells, split in table:
        try:
            tags = [tag for cell in cells for tag in tags_of_cell(cell, between)]
            yield _List(line, checked_image_id(image), tags, _split(split))
        except BadCell as error:
            rows.skip(line, error)


def _rows_a_tag(rows: Rows, source: Path, config: TableConfig, tag_column: str) -> Iterator[_List]:
    order = config.rank_column or config.score_column
    extra = [column for column in (order, config.list_column, config.split_column) if column]
    # (image, person) -> the list with its first line, and the tags with what they are sorted by.
    lists: dict[tuple[str, str], tuple[_List, list[tuple[float, str]]]] = {}
    columns = [config.image_column, tag_column, *extra]
    for line, cells in _table(rows, source, config, columns):
        cell = dict(zip(extra, cells[2:], strict=True))
        try:
            image_id, split = checked_image_id(cells[0]), _split(cell.get(config.split_column or "", ""))
            key = _sort_key(cell.get(order or "", ""), config)
            if is_list_cell(cells[1]):
                raise BadCell(f"holds a list, {cells[1].strip()[:40]}, where one tag is expected; see --tags-column")
        except BadCell as error:
            rows.skip(line, error)
            continue
        person = cell.get(config.list_column or "", "").strip()
        first, tags = lists.setdefault((image_id, person), (_List(line, image_id, [], split), []))
        if split != first.split:
            raise RanktagError(
                f"{source}: line {line} puts '{image_id}' in split '{split or ''}', line {first.line} in "
                f"'{first.split or ''}'; an image belongs to one split"
            )
        if not is_missing_text(cells[1]):
            tags.append((key, cells[1]))
    for first, tags in lists.values():
        yield first._replace(tags=[tag for _, tag in sorted(tags, key=lambda pair: pair[0])])


def _sort_key(text: str, config: TableConfig) -> float:
    """The rank, the score with its sign turned, or infinity where the cell is empty. Raises BadCell."""
    if not text.strip():
        return math.inf
    value = number(text)
    if value is None:
        column = config.rank_column or config.score_column
        raise BadCell(f"has '{text[:40]}' in column '{column}', which is no number")
    return -value if config.score_column else value


def _split(text: str) -> str | None:
    """The split that a cell means; None if it is empty. Raises BadCell."""
    if is_missing_text(text):
        return None
    split = SPLIT_NAMES.get(text.strip().lower())
    if split is None:
        raise BadCell(f"has the split '{text.strip()[:40]}', which is not one of train, val, test")
    return split
