"""To read."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import TextIO

from ranktag.errors import one_line
from ranktag.tags.predictions import PredictedImage


def write(images: Iterable[PredictedImage], file: TextIO) -> None:
    """A line with the image, then a line a tag: rank, tag, probability in percent."""
    for image_id, tags in images:
        file.write(one_line(image_id) + "\n")
        for rank, (tag, probability) in enumerate(tags, 1):
            percent = "" if math.isnan(probability) else f"{probability:6.1%}"
            file.write(f"{rank:4}  {one_line(tag):24} {percent}".rstrip(" ") + "\n")
