"""Photos in Parquet files, as Hugging Face's ``datasets`` writes them.

The column is a struct of ``bytes`` and ``path``, usually called ``image``, or one of plain bytes. An ``image_id``
column, as in the other tables, names the photos.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from ranktag.errors import NotInstalled, RanktagError
from ranktag.files.remote import NotAnswered, answers, open_remote, patiently
from ranktag.urls import is_url, without_secrets

# Of several columns that could be the photos, the one of the first of these names.
NAMES = ("image", "img", "jpg", "photo", "bytes")

# Rows decoded at once: a row group may hold thousands of photos.
ROWS = 16


class NoBytes(Exception):
    """A row without a photo's bytes; one line."""


def listed_rows(file: str) -> list[tuple[str, str]]:
    """(image_id, name) of every row of a Parquet file; '' where the file says nothing. No photo is read.

    Raises RanktagError: no Parquet, no column of photos, or several.
    """

    def ask() -> list[tuple[str, str]]:
        with _opened(file) as parquet:
            column, is_struct = _column_of(file, parquet.schema_arrow)
            count = parquet.metadata.num_rows
            names = [""] * count
            if is_struct and "path" in [field.name for field in parquet.schema_arrow.field(column).type]:
                rows = parquet.read(columns=[f"{column}.path"], use_threads=False).column(column)
                names = [(row or {}).get("path") or "" for row in rows.to_pylist()]
            ids = [""] * count
            if "image_id" in parquet.schema_arrow.names:
                found = parquet.read(columns=["image_id"], use_threads=False).column("image_id").to_pylist()
                ids = ["" if one is None else str(one) for one in found]
            return list(zip(ids, names))

    return patiently(file, ask)


def bytes_of_row(file: str, row: int) -> bytes:
    """The photo in a row. Rows are read one behind the other, so that the next one costs no more than itself.

    Raises NoBytes, FileNotFoundError, and NotAnswered.
    """
    with _lock:
        return _reader_at(file, row).take(row)


# Of this process: the file that was read last.
_lock = threading.Lock()
_readers: dict[str, _Reader] = {}


def _reader_at(file: str, row: int) -> _Reader:
    reader = _readers.get(file)
    if reader is None or not reader.first <= row:
        _readers.clear()
        reader = _readers[file] = _Reader(file, row)
    return reader


class _Reader:
    """Rows of a file, in order. first: the first that can still be had."""

    def __init__(self, file: str, row: int) -> None:
        self._file, self.first = file, row
        self._batches = self._read(row)
        self._batch: list[bytes | None] = []

    def take(self, row: int) -> bytes:
        """The photo of a row that is not before ``first``."""
        try:
            while row >= self.first + len(self._batch):
                self.first, self._batch = next(self._batches)
        except BaseException as error:
            _readers.clear()
            if isinstance(error, StopIteration):
                raise NotAnswered(f"{self._file} has no row {row:,} any more") from None
            raise
        found = self._batch[row - self.first]
        if not found:
            raise NoBytes("its row holds no bytes of a photo")
        return found

    def _read(self, row: int) -> Iterator[tuple[int, list[bytes | None]]]:
        """(number of the first, rows), from the row group on that holds ``row``."""
        with _opened(self._file) as parquet:
            column, is_struct = _column_of(self._file, parquet.schema_arrow)
            start = group = 0
            while group < parquet.num_row_groups and start + parquet.metadata.row_group(group).num_rows <= row:
                start += parquet.metadata.row_group(group).num_rows
                group += 1
            columns = [f"{column}.bytes" if is_struct else column]
            groups = list(range(group, parquet.num_row_groups))
            for batch in parquet.iter_batches(ROWS, groups, columns, use_threads=False):
                rows = batch.column(0).to_pylist()
                yield start, [(one or {}).get("bytes") for one in rows] if is_struct else rows
                start += len(rows)


@contextmanager
def _opened(file: str) -> Iterator[Any]:
    """A file of pyarrow's. What it raises within is that the file as a whole is not given."""
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        raise NotInstalled(
            f"{without_secrets(file)}: photos in Parquet files need the package pyarrow; pip install 'ranktag[parquet]'"
        ) from None
    with answers(file):
        source = open_remote(file) if is_url(file) else file
        try:
            with pyarrow.parquet.ParquetFile(source, memory_map=not is_url(file)) as parquet:
                yield parquet
        except pyarrow.ArrowException as error:
            raise NotAnswered(f"cannot be read as Parquet ({error})") from None


def _column_of(file: str, schema: Any) -> tuple[str, bool]:
    """The column of photos, and whether it is a struct. Raises RanktagError if there is none, or several."""
    import pyarrow.types

    def holds_bytes(kind: Any) -> bool:
        # By name: not every pyarrow has all of them.
        return str(kind) in ("binary", "large_binary", "binary_view")

    found = {}
    for field in schema:
        struct = pyarrow.types.is_struct(field.type)
        inner = {one.name: one.type for one in field.type} if struct else {}
        if (struct and holds_bytes(inner.get("bytes", pyarrow.null()))) or holds_bytes(field.type):
            found[field.name] = struct
    chosen = next((name for name in NAMES if name in found), next(iter(found), ""))
    if not found or (len(found) > 1 and chosen not in NAMES):
        raise RanktagError(
            f"{without_secrets(file)}: has {'several columns' if found else 'no column'} of photos "
            f"({', '.join(found or schema.names)}); expected one called image that holds bytes and path"
        )
    return chosen, found[chosen]
