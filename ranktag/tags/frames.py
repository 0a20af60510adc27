"""pandas DataFrames as tables: rows with a place for error messages, and cells as text."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from ranktag.errors import RanktagError

if TYPE_CHECKING:
    import pandas as pd

# What errors call it: it has no path.
FRAME = "the DataFrame"


def frame_rows(
    frame: pd.DataFrame, required: Sequence[str], optional: Sequence[str] = ()
) -> Iterator[tuple[str, list[Any]]]:
    """(place, cells) of every row: the place is 'row ' and the index label, for errors.

    Cells are those of the required columns, then of the optional ones (None where
    there is no such column). The image id, the first, is checked to be text: pandas
    makes numbers of ids like 000005 where it is not told otherwise.

    Raises RanktagError: a column missing or there twice, an image id that is no text.
    """
    names = list(frame.columns)
    for name in (*required, *optional):
        if names.count(name) > 1:
            raise RanktagError(f"{FRAME} has the column '{name}' twice; rename or remove one")
    for name in required:
        if name not in names:
            there = ", ".join(f"'{name}'" for name in names[:20])
            raise RanktagError(f"{FRAME} has no column '{name}'; the columns there are {there}; rename them")
    columns = [frame[name].tolist() if name in names else [None] * len(frame) for name in (*required, *optional)]
    for label, cells in zip(frame.index, zip(*columns, strict=True), strict=True):
        if not isinstance(cells[0], str):
            raise RanktagError(
                f"{FRAME}: row {label}: {required[0]} {cells[0]!r} is not text; read the column with dtype=str"
            )
        yield f"row {label}", list(cells)


def is_missing(cell: Any) -> bool:
    """Whether a cell is None, nan, or pandas' own missing value."""
    return cell is None or type(cell).__name__ == "NAType" or (isinstance(cell, float) and math.isnan(cell))


def cell_text(cell: Any) -> str:
    """A cell as it would stand in a CSV file: '' for a missing one, whole numbers without a point."""
    if is_missing(cell):
        return ""
    # Where a cell is missing, pandas makes numbers with a point of a column of whole numbers.
    return str(int(cell)) if isinstance(cell, float) and cell.is_integer() else str(cell)
