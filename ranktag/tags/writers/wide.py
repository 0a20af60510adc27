"""A row an image, tags joined by |."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TextIO

from ranktag.files.tables import write_rows
from ranktag.tags.lists import SEPARATOR, join_tags
from ranktag.tags.predictions import WIDE, PredictedImage, probability_cell, split_cells, with_split_column


def write(images: Iterable[PredictedImage], file: TextIO) -> None:
    """CSV, ``image_id,tags,probabilities`` and, if known, ``split``: also a tag-list file.

    Raises RanktagError for a tag that holds ``|``.
    """
    header, images = with_split_column(images, WIDE)
    write_rows(file, [header])
    write_rows(
        file,
        (
            (
                image.image_id,
                join_tags(tag for tag, _ in image.tags),
                SEPARATOR.join(probability_cell(p) for _, p in image.tags),
                *split_cells(image),
            )
            for image in images
        ),
    )
