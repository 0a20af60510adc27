"""FiftyOne's labels.json, multilabel classifications."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterable
from pathlib import Path

from ranktag.errors import RanktagError
from ranktag.tags.outputs import Output, name_of
from ranktag.tags.predictions import PredictedImage

PHOTOS = True


def write_file(images: Iterable[PredictedImage], path: Path, output: Output) -> None:
    """``{"labels": {KEY: [{"label": ..., "confidence": ...}]}, "classes": [...]}``, labels in order of rank.

    FiftyOne looks photos up by absolute path, which KEY is if the photos are known, or by path below its
    data_path without extension: then the second of two photos that differ in nothing else is a failure.
    """
    classes: dict[str, None] = {}
    keys: set[str] = set()
    with open(path, "w", encoding="utf-8", newline="") as file:
        before = '{"labels": {\n'
        for image in images:
            with output.image(image):
                key = _key(image, output)
                if key in keys:
                    raise RanktagError(
                        f"FiftyOne knows photos by '{key}', and so another one already; "
                        "name the folder of the photos with --photos"
                    )
                keys.add(key)
                classes.update(dict.fromkeys(tag for tag, _ in image.tags))
                labels = [{"label": tag, "confidence": None if math.isnan(p) else round(p, 6)} for tag, p in image.tags]
                file.write(f"{before}{_json(key)}: {_json(labels)}")
                before = ",\n"
        file.write(before if not keys else "\n")
        file.write('}, "classes": ' + _json(sorted(classes)) + "}\n")


def _key(image: PredictedImage, output: Output) -> str:
    """What FiftyOne knows a photo by. Raises RanktagError for a photo that is not there, or cannot be named."""
    if not output.knows_photo(image):
        return os.path.splitext(name_of(image))[0]
    path = os.path.abspath(output.photo(image))
    try:
        path.encode()
    except UnicodeEncodeError:
        raise RanktagError("its path is not UTF-8, so that no JSON can hold it; rename the photo") from None
    return path


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)
