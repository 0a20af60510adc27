"""Path, tab, tags joined by |."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TextIO

from ranktag.errors import one_line
from ranktag.tags.lists import SEPARATOR
from ranktag.tags.predictions import PredictedImage


def write(images: Iterable[PredictedImage], file: TextIO) -> None:
    """A line an image."""
    for image_id, tags in images:
        file.write(f"{one_line(image_id)}\t{SEPARATOR.join(one_line(tag) for tag, _ in tags)}\n")
