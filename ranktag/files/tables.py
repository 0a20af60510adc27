"""CSV tables that people edit: read strictly, with line numbers in every error, and written whole.

Cells that a spreadsheet would run as a formula (first character one of ``= + - @``,
tab or carriage return) are written with a leading apostrophe, as OWASP advises, and
that apostrophe is taken off again when ranktag reads them: a table survives the
round trip unchanged.
"""

from __future__ import annotations

import contextlib
import csv
import fnmatch
import re
import warnings
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TextIO

from ranktag.errors import RanktagError, RanktagWarning
from ranktag.files.atomic import atomic_text
from ranktag.files.text import open_text

_FORMULA = re.compile(r"'*[=+\-@\t\r]")
_GUARDED = re.compile(r"'+[=+\-@\t\r]")
# How text that looks like a number is kept from becoming one in a spreadsheet.
_TEXT_FORMULA = re.compile(r'="([^"]*)"')
# A row within a cell: a line that begins with a file's name and a separator.
_ROW_WITHIN = r"[\r\n][^\r\n{0}]{{1,200}}\.[A-Za-z]{{3,4}}\"?{0}"

LONGEST_ROW = 1000  # lines; a longer one is a quote that is never closed


def guard_formula(cell: str) -> str:
    """``cell`` with an apostrophe before it if a spreadsheet would take it for a formula."""
    return "'" + cell if _FORMULA.match(cell) else cell


def unguard_formula(cell: str) -> str:
    """The inverse of ``guard_formula``; the formula ``="005"``, which it never leaves bare, is the text 005."""
    # Nearly every cell begins otherwise, and is told so more quickly than by a pattern.
    if not cell.startswith(("'", "=")):
        return cell
    if _GUARDED.match(cell):
        return cell[1:]
    text = _TEXT_FORMULA.fullmatch(cell)
    return text[1] if text else cell


# Told the line and what is wrong with a row, which is left out; None where a bad row refuses the table.
BadRow = Callable[[int, str], None]


def read_table(
    path: str | Path,
    required: Sequence[str],
    optional: Sequence[str] = (),
    separator: str = ",",
    bad: BadRow | None = None,
    encoding: str | None = None,
    several: str | None = None,
) -> Iterator[tuple[int, list[str]]]:
    """Rows of a CSV file, as spreadsheets and programs save it, as (line number, cells).

    ``cells`` holds the required columns, then the optional ones ('' where the file
    has no such column), then those of all columns whose names match ``several``, as
    ``Keyword*``. Other columns are ignored, and so are blank lines, rows of nothing but
    separators, and empty cells behind the header's last.

    The encoding is UTF-8, UTF-16 or Windows-1252 (see ``ranktag.files.text``), or the one
    named. Cells are separated by ``separator``; by what a first line ``sep=;`` names, as
    Excel writes it; and, where the comma is asked for and the header is one cell of
    several names between semicolons or tabs, by these. A cell ``="005"`` is 005.

    A row that cannot be used (of another length, with a quote that is never closed, with
    a NUL byte) is told to ``bad`` and left out, those behind it are read; without
    ``bad`` it is an error.

    Raises RanktagError: no such file, no text, empty, a column missing or there twice, a
    bad row.
    """
    path = Path(path)
    with contextlib.closing(_rows(path, separator, bad, encoding)) as rows:
        _, header = next(rows, (0, None))
        if header is None:
            raise RanktagError(f"{path}: is empty; expected a header line with the columns {','.join(required)}")
        columns = _columns(path, header, required, optional, several)
        for line, row in rows:
            if len(row) > len(header) and not any(cell.strip() for cell in row[len(header) :]):
                row = row[: len(header)]
            if len(row) == len(header):
                yield line, [unguard_formula(row[i]) if i is not None else "" for i in columns]
                continue
            reason = f"has {len(row)} cells, the header has {len(header)}"
            if bad is None:
                raise RanktagError(
                    f'{path}: line {line} {reason}; put cells that hold a comma or a newline in double quotes (")'
                )
            bad(line, reason)


def read_header(path: str | Path, separator: str = ",", encoding: str | None = None) -> list[str]:
    """Names of a table's columns, for a file of one of several forms; [] if it is empty. Errors as ``read_table``."""
    with contextlib.closing(_rows(Path(path), separator, None, encoding)) as rows:
        return next(rows, (0, []))[1]


def _rows(
    path: Path, separator: str, bad: BadRow | None, encoding: str | None
) -> Generator[tuple[int, list[str]], None, None]:
    """Every row that is not blank, the header (stripped) among them, with the line it starts on."""
    # The default limit of 128 KiB a cell would refuse long, valid lists.
    csv.field_size_limit(2**31 - 1)
    with open_text(path, encoding) as file:
        lines = _Lines(file)
        named = re.fullmatch(r"\"?sep=(.)\"?\s*", next(lines, ""))
        if named:
            separator, start = named[1], 2
        else:
            lines.again(len(lines.taken))
            asked, separator, start = separator, _separator_of(lines, separator), 1
            if separator != asked:
                kind = "semicolons" if separator == ";" else "tabs"
                warnings.warn(RanktagWarning(f"{path}: cells are separated by {kind}, and read so"), stacklevel=2)
        header = True
        # One for all rows: where a row cannot be read, it begins the next one afresh.
        reader = csv.reader(lines, delimiter=separator, strict=True)
        while (record := _record(lines, reader, separator)) is not None:
            row, fault, count = record
            if fault and (bad is None or header):
                raise RanktagError(f"{path}: line {start} {fault}")
            if fault and bad is not None:
                bad(start, fault)
            elif any(map(str.strip, row)):
                yield start, [name.strip() for name in row] if header else row
                header = False
            start += count


class _Lines:
    """Lines of a file; those of the row at hand can be read again."""

    def __init__(self, file: TextIO) -> None:
        self._file = iter(file)
        self._waiting: deque[str] = deque()
        self.taken: list[str] = []

    def __iter__(self) -> _Lines:
        return self

    def __next__(self) -> str:
        if len(self.taken) == LONGEST_ROW:
            raise csv.Error("a quoted cell is never closed")
        line = self._waiting.popleft() if self._waiting else next(self._file)
        self.taken.append(line)
        return line

    def again(self, count: int) -> None:
        """The last ``count`` lines come again."""
        self._waiting.extendleft(reversed(self.taken[len(self.taken) - count :]))
        self.taken.clear()


def _record(lines: _Lines, reader: Iterator[list[str]], separator: str) -> tuple[list[str], str, int] | None:
    """(cells, what is wrong, lines) of the next row; None at the end. reader: of the lines.

    Of a row that cannot be read only the first line is gone, those behind it are read as rows.
    """
    lines.taken.clear()
    row, fault = [], ""
    try:
        row = next(reader)
    except StopIteration:
        return None
    except csv.Error as error:
        fault = f"has a cell that cannot be read ({error}); check the double quotes there"
    count = len(lines.taken)
    if "\0" in "".join(lines.taken):
        fault = "holds a NUL byte; the file is damaged or not text"
    elif count > 1 and any(re.search(_ROW_WITHIN.format(re.escape(separator)), cell) for cell in row):
        return [], f"and the {count - 1} behind it are one row, by a quote; check the double quotes there", count
    if fault:
        lines.again(count - 1)
        count = 1
    return row, fault, count


def _separator_of(lines: _Lines, separator: str) -> str:
    """What stands between cells: ``separator``, or semicolons or tabs where that is a comma and the header has none."""
    header = next((line for line in lines if line.strip()), "")
    lines.again(len(lines.taken))
    if separator != "," or "," in header:
        return separator
    other = max(";\t", key=header.count)
    return other if other in header else separator


def _columns(
    path: Path, header: list[str], required: Sequence[str], optional: Sequence[str], several: str | None
) -> list[int | None]:
    """Where the columns stand; None for an optional one that is not there."""
    pattern = several is not None and bool(set(several) & set("*?"))
    asked = (*required, *optional, *([several] if several is not None and not pattern else []))
    for name in asked:
        if header.count(name) > 1:
            raise RanktagError(f"{path}: the header names the column '{name}' twice; rename or remove one")
        # So pandas calls what was the column's name a second time.
        if f"{name}.1" in header and f"{name}.1" not in asked:
            raise RanktagError(
                f"{path}: the header names '{name}' and '{name}.1', as programs do with a column that is there twice; "
                "rename or remove one"
            )
    missing = [name for name in required if name not in header]
    matching = [i for i, name in enumerate(header) if several is not None and _matches(name, several)]
    if several is not None and not matching:
        missing.append(several)
    if missing:
        raise _no_column(path, header, missing[0])
    return [header.index(name) if name in header else None for name in (*required, *optional)] + [*matching]


def _matches(name: str, pattern: str) -> bool:
    return name == pattern or fnmatch.fnmatchcase(name, pattern)


def _no_column(path: Path, header: list[str], name: str) -> RanktagError:
    there = ", ".join(f"'{name}'" for name in header[:20])
    separator = next((c for c in ";\t" if len(header) == 1 and c in header[0]), None)
    seems, option = ("semicolons", "';'") if separator == ";" else ("tabs", "tab")
    remedy = (
        f"the file seems to be separated by {seems}: convert it with ranktag prepare csv --separator {option}"
        if separator
        else "rename the columns, or convert the file with 'ranktag prepare csv' and name them there "
        "(--image-column ...)"
    )
    return RanktagError(f"{path}: no column '{name}'; the columns there are {there}; {remedy}")


def write_table(path: str | Path, header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Write a UTF-8 CSV file in one piece (see ``ranktag.files.atomic.atomic_text`` and ``write_rows``)."""
    with atomic_text(path) as file:
        write_rows(file, [header])
        write_rows(file, rows)


def write_rows(file: TextIO, rows: Iterable[Sequence[object]]) -> None:
    """Write rows of CSV to an open file; text cells are guarded, None is ''."""
    writer = csv.writer(file, lineterminator="\n")
    # The csv module leaves a lone carriage return unquoted, which would end the row when it is read.
    quoting = csv.writer(file, lineterminator="\n", quoting=csv.QUOTE_ALL)
    for row in rows:
        cells = [guard_formula(cell) if isinstance(cell, str) else cell for cell in row]
        (quoting if any(isinstance(cell, str) and "\r" in cell for cell in cells) else writer).writerow(cells)
