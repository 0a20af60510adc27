"""Hugging Face's metadata.jsonl, a line an image."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from typing import TextIO

from ranktag.tags.outputs import name_of
from ranktag.tags.predictions import PredictedImage


def write(images: Iterable[PredictedImage], file: TextIO) -> None:
    """``{"file_name": ..., "tags": [...], "probabilities": [...]}``, null for an unknown probability.

    Called metadata.jsonl in the folder of the photos, ``datasets.load_dataset("imagefolder", data_dir=...)`` reads it.
    """
    for image in images:
        row = {
            "file_name": name_of(image),
            "tags": [tag for tag, _ in image.tags],
            "probabilities": [None if math.isnan(p) else round(p, 6) for _, p in image.tags],
        }
        file.write(json.dumps(row, ensure_ascii=False) + "\n")
