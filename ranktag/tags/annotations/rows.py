"""The rows of a table, for a reader: bad ones are listed and skipped, a table of mostly bad ones is refused."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from ranktag.errors import RanktagError
from ranktag.tags.annotations.builder import TagListBuilder


class Rows:
    """What a reader goes through::

        rows = Rows(path, builder)
        for line, cells in rows.over(read_table(path, columns, bad=rows.skip)):
            try:
                builder.add(checked_image_id(cells[0]), tags_of_cell(cells[1], ","))
            except (BadCell, BrokenFile) as error:
                rows.skip(line, error)
        rows.refuse_mostly_bad()

    ``ranktag.files.tables.read_table`` says what of a row is read, and ``ranktag.tags.cells``
    what of a cell.
    """

    def __init__(self, path: Path, builder: TagListBuilder) -> None:
        self._path, self._builder = path, builder
        builder.skipped = "rows"
        self._seen: set[int] = set()
        self._bad: dict[int, str] = {}

    def over(self, rows: Iterable[tuple[int, list[str]]]) -> Iterator[tuple[int, list[str]]]:
        """The rows of a table, counted."""
        for line, cells in rows:
            self._seen.add(line)
            yield line, cells

    def skip(self, line: int, reason: object) -> None:
        """List a row that cannot be used."""
        self._bad.setdefault(line, str(reason))
        self._builder.skip(f"{self._path.name}: line {line}", reason)

    def refuse_mostly_bad(self) -> None:
        """Raise RanktagError if at least half of the rows were bad: the table is of another form."""
        every = len(self._seen | self._bad.keys())
        if self._bad and 2 * len(self._bad) >= every:
            line, reason = next(iter(self._bad.items()))
            raise RanktagError(
                f"{self._path}: line {line} {reason} ({len(self._bad)} of {every} rows cannot be used); "
                "mend them, or say of what form the table is (see the options)"
            )
