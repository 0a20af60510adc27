"""A row a tag."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TextIO

from ranktag.files.tables import write_rows
from ranktag.tags.predictions import LONG, PredictedImage, probability_cell, split_cells, with_split_column


def write(images: Iterable[PredictedImage], file: TextIO) -> None:
    """CSV, ``image_id,rank,tag,probability`` and, if known, ``split``: see ``ranktag.tags.predictions``."""
    header, images = with_split_column(images, LONG)
    write_rows(file, [header])
    write_rows(file, (row for image in images for row in _rows(image)))


def _rows(image: PredictedImage) -> list[tuple[object, ...]]:
    """An image without tags has a row with empty cells."""
    split = split_cells(image)
    if not image.tags:
        return [(image.image_id, None, None, None, *split)]
    return [(image.image_id, rank, tag, probability_cell(p), *split) for rank, (tag, p) in enumerate(image.tags, 1)]
