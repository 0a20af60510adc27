"""CSV tables that people edit: read strictly, with line numbers in every error, and written whole.

Cells that a spreadsheet would run as a formula (first character one of ``= + - @``,
tab or carriage return) are written with a leading apostrophe, as OWASP advises, and
that apostrophe is taken off again when ranktag reads them: a table survives the
round trip unchanged.
"""

from __future__ import annotations

import contextlib
import csv
import re
from collections.abc import Generator, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TextIO

from ranktag.errors import NotFound, RanktagError, unreadable
from ranktag.files.atomic import atomic_text

_FORMULA = re.compile(r"'*[=+\-@\t\r]")
_GUARDED = re.compile(r"'+[=+\-@\t\r]")


def guard_formula(cell: str) -> str:
    """``cell`` with an apostrophe before it if a spreadsheet would take it for a formula."""
    return "'" + cell if _FORMULA.match(cell) else cell


def unguard_formula(cell: str) -> str:
    """The inverse of ``guard_formula``."""
    return cell[1:] if _GUARDED.match(cell) else cell


def read_table(
    path: str | Path, required: Sequence[str], optional: Sequence[str] = (), separator: str = ","
) -> Iterator[tuple[int, list[str]]]:
    """Rows of a UTF-8 CSV file (with or without a byte order mark, any line ending) as (line number, cells).

    ``cells`` holds the required columns, then the optional ones ('' where the file
    has no such column). Other columns are ignored. Blank lines are skipped.

    Raises RanktagError: no such file, not UTF-8, NUL bytes, empty, a column missing
    or there twice, a row of another length, a quote that is never closed.
    """
    path = Path(path)
    rows = _rows(path, separator)
    _, header = next(rows, (0, None))
    if header is None:
        raise RanktagError(f"{path}: is empty; expected a header line with the columns {','.join(required)}")
    columns = _columns(path, header, required, optional)
    for line, row in rows:
        if len(row) != len(header):
            raise RanktagError(
                f"{path}: line {line} has {len(row)} cells, the header has {len(header)}; "
                'put cells that hold a comma or a newline in double quotes (")'
            )
        yield line, [unguard_formula(row[i]) if i is not None else "" for i in columns]


def read_header(path: str | Path, separator: str = ",") -> list[str]:
    """Names of a table's columns, for a file of one of several forms; [] if it is empty. Errors as ``read_table``."""
    with contextlib.closing(_rows(Path(path), separator)) as rows:
        return next(rows, (0, []))[1]


def _rows(path: Path, separator: str) -> Generator[tuple[int, list[str]], None, None]:
    """Every row that is not blank, the header (stripped) among them, with the line it starts on."""
    try:
        file = open(path, encoding="utf-8-sig", newline="")  # noqa: SIM115 - closed below; errors of opening end here
    except FileNotFoundError:
        raise NotFound(f"{path}: no such file; check the path") from None
    except IsADirectoryError:
        raise RanktagError(f"{path}: is a folder, expected a CSV file; name the file") from None
    except OSError as error:
        raise unreadable(path, error, "check the path and its permissions") from None
    with file:
        # The default limit of 128 KiB a cell would refuse long, valid lists.
        csv.field_size_limit(2**31 - 1)
        reader = csv.reader(_without_nul(file, path), delimiter=separator, strict=True)
        try:
            header = True
            # A quoted cell may span lines: the line a row starts on is one past the end of the row before it.
            start = 1
            for row in reader:
                if row:
                    yield start, [name.strip() for name in row] if header else row
                    header = False
                start = reader.line_num + 1
        except UnicodeDecodeError as error:
            raise RanktagError(
                f"{path}: is not UTF-8 text (byte 0x{error.object[error.start]:02x} cannot be read); "
                "save it as CSV UTF-8"
            ) from None
        except csv.Error as error:
            raise RanktagError(f"{path}: line {reader.line_num}: {error}; check the double quotes there") from None


def _without_nul(lines: Iterable[str], path: Path) -> Iterator[str]:
    for number, line in enumerate(lines, 1):
        if "\0" in line:
            raise RanktagError(f"{path}: line {number} holds a NUL byte; the file is damaged or not text")
        yield line


def _columns(path: Path, header: list[str], required: Sequence[str], optional: Sequence[str]) -> list[int | None]:
    for name in (*required, *optional):
        if header.count(name) > 1:
            raise RanktagError(f"{path}: the header names the column '{name}' twice; rename or remove one")
    missing = [name for name in required if name not in header]
    if missing:
        there = ", ".join(f"'{name}'" for name in header[:20])
        separator = next((c for c in ";\t" if len(header) == 1 and c in header[0]), None)
        seems, option = ("semicolons", "';'") if separator == ";" else ("tabs", "tab")
        remedy = (
            f"the file seems to be separated by {seems}: convert it with ranktag prepare csv --separator {option}"
            if separator
            else "rename the columns, or convert the file with 'ranktag prepare csv' and name them there "
            "(--image-column ...)"
        )
        raise RanktagError(f"{path}: no column '{missing[0]}'; the columns there are {there}; {remedy}")
    return [header.index(name) if name in header else None for name in (*required, *optional)]


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
