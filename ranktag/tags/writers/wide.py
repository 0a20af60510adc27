"""A row an image, tags joined by |."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TextIO

from ranktag.files.tables import write_rows
from ranktag.tags.lists import SEPARATOR, join_tags
from ranktag.tags.predictions import WIDE, PredictedImage, probability_cell


def write(images: Iterable[PredictedImage], file: TextIO) -> None:
    """CSV, ``image_id,tags,probabilities``: also a tag-list file. Raises RanktagError for a tag that holds ``|``."""
    write_rows(file, [WIDE])
    write_rows(
        file,
        (
            (image_id, join_tags(tag for tag, _ in tags), SEPARATOR.join(probability_cell(p) for _, p in tags))
            for image_id, tags in images
        ),
    )
