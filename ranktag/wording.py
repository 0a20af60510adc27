"""Numbers of things as a sentence says them, and tables as a terminal shows them."""

from __future__ import annotations

from collections.abc import Sequence


def count(number: int, thing: str, things: str = "") -> str:
    """'1 image', '1,234 images'. things: the plural, where it is not made with an s."""
    return f"{number:,} {thing if number == 1 else things or thing + 's'}"


def aligned(table: Sequence[Sequence[str]], *, numbers: bool = True) -> str:
    """Rows of cells in columns: the first to the left, and the others, where they are numbers, to the right."""
    widths = [max(map(len, column)) for column in zip(*table)]
    return "\n".join(
        "  ".join(
            cell.rjust(width) if number and numbers else cell.ljust(width)
            for number, (cell, width) in enumerate(zip(row, widths))
        ).rstrip()
        for row in table
    )
