"""A list of images."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from typing import TextIO

from ranktag.tags.predictions import PredictedImage


def write(images: Iterable[PredictedImage], file: TextIO) -> None:
    """JSON: ``[{"image": ..., "tags": [{"tag": ..., "probability": ...}]}]``, null for an unknown probability."""
    before = "[\n"
    for image_id, tags in images:
        ranked = [{"tag": tag, "probability": None if math.isnan(p) else round(p, 6)} for tag, p in tags]
        text = json.dumps({"image": image_id, "tags": ranked}, ensure_ascii=False, indent=2)
        # Written image by image, so each is moved in by hand; a line end within a text is escaped.
        file.write(before + "  " + text.replace("\n", "\n  "))
        before = ",\n"
    file.write("[]\n" if before == "[\n" else "\n]\n")
