"""Tars and Parquet files of photos, made for the tests."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any


def make_tar(path: Path, members: Iterable[tuple[str, bytes]], **options: Any) -> Path:
    """A tar of (name, content)."""
    with tarfile.open(path, options.pop("mode", "w"), **options) as tar:
        for name, content in members:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return path


def make_parquet(path: Path, columns: dict[str, Any], **options: Any) -> Path:
    """A Parquet file of columns; one of dicts becomes a struct, as Hugging Face's datasets writes images."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    image = pa.struct({"bytes": pa.binary(), "path": pa.string()})
    arrays = {
        name: pa.array(values, image if any(isinstance(value, dict) for value in values) else None)
        for name, values in columns.items()
    }
    pq.write_table(pa.table(arrays), path, **options)
    return path
