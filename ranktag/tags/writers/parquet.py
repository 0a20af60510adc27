"""Apache Parquet, a row an image."""

from __future__ import annotations

import importlib.util
import itertools
import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ranktag.errors import RanktagError
from ranktag.tags.outputs import Output
from ranktag.tags.predictions import SPLIT, PredictedImage, SeenImage, with_split_column

ROWS = 10_000  # images in a row group


def check() -> None:
    """Raise RanktagError if pyarrow is not installed."""
    if importlib.util.find_spec("pyarrow") is None:
        raise RanktagError("--format parquet needs the package pyarrow; pip install 'ranktag[parquet]'")


def write_file(images: Iterable[PredictedImage], path: Path, output: Output) -> None:
    """image_id (text), tags (list of text), probabilities (list of float64, null if unknown), split if known."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    header, images = with_split_column(images, ("image_id", "tags", "probabilities"))
    types = {
        "image_id": pa.string(),
        "tags": pa.list_(pa.string()),
        "probabilities": pa.list_(pa.float64()),
        SPLIT: pa.string(),
    }
    schema = pa.schema([(name, types[name]) for name in header])
    with pq.ParquetWriter(path, schema) as writer:
        while rows := [_row(image) for image in itertools.islice(images, ROWS)]:
            writer.write_table(pa.Table.from_pylist(rows, schema))


def _row(image: PredictedImage) -> dict[str, Any]:
    return {
        "image_id": image.image_id,
        "tags": [tag for tag, _ in image.tags],
        "probabilities": [None if math.isnan(p) else p for _, p in image.tags],
        SPLIT: image.split if isinstance(image, SeenImage) else None,
    }
