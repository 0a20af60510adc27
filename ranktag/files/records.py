"""Tables that are not CSV, read as ``read_table`` reads CSV: JSON Lines (Hugging Face's metadata.jsonl) and Parquet.

A column may be within another: ``objects.category`` is the member ``category`` of the
column ``objects``, or of each of the objects in it. A column of pictures as Hugging
Face stores them ({"bytes", "path"}) is their paths.
"""

from __future__ import annotations

import fnmatch
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ranktag.errors import RanktagError
from ranktag.files.tables import BadRow
from ranktag.files.text import open_text

JSON_LINES = (".jsonl", ".ndjson")
PARQUET = (".parquet", ".pq")
BATCH = 1024  # rows of Parquet that are in memory at once

# A row: its number, and the value of each column.
Record = tuple[int, Mapping[str, Any]]


def is_records(path: Path) -> bool:
    """Whether a file is, by its name, JSON Lines or Parquet."""
    return path.suffix.lower() in (*JSON_LINES, *PARQUET)


def read_records(
    path: Path, required: Sequence[str], several: str | None, bad: BadRow
) -> Iterator[tuple[int, list[str]]]:
    """Rows as (number, cells): the required columns, then those that match ``several``, as ``read_table`` gives them.

    A list is written as JSON has it, ``["cat", "dog"]``; what is missing or null is ''.
    A row that cannot be read goes to ``bad``.

    Raises RanktagError: no such file, another form, a column that no row has, pyarrow not installed.
    """
    wanted = (*required, *([several] if several is not None else []))
    seen: dict[str, bool] = dict.fromkeys(wanted, False)
    columns: dict[str, None] = {}
    rows = _parquet(path, wanted) if path.suffix.lower() in PARQUET else _json_lines(path, bad)
    for number, record in rows:
        columns |= dict.fromkeys(record)
        cells = []
        try:
            for name in wanted:
                keys = [key for key in record if name == several and fnmatch.fnmatchcase(key, name)]
                values = [record[key] for key in keys] or [_member(record, name)]
                seen[name] = seen[name] or bool(keys) or name in record or values != [None]
                cells += [_cell(value, name) for value in values]
        except ValueError as error:
            bad(number, str(error))
            continue
        yield number, cells
    missing = [name for name, there in seen.items() if not there]
    if missing and columns:
        raise _no_column(path, missing[0], list(columns))


def _no_column(path: Path, name: str, columns: Sequence[str]) -> RanktagError:
    there = ", ".join(f"'{column}'" for column in columns[:20])
    return RanktagError(
        f"{path}: no column '{name}'; the columns there are {there}; name those of the images and the tags "
        "(--image-column, --tags-column)"
    )


def _json_lines(path: Path, bad: BadRow) -> Iterator[Record]:
    with open_text(path) as file:
        for number, line in enumerate(file, 1):
            if not line.strip():
                continue
            try:
                record = json.loads(line)
            except (ValueError, RecursionError) as error:
                bad(number, f"is not JSON ({str(error)[:80]})")
                continue
            if isinstance(record, dict):
                yield number, record
            else:
                bad(number, "is no JSON object")


def _parquet(path: Path, wanted: Sequence[str]) -> Iterator[Record]:
    """The rows of a Parquet file, of which only the wanted columns are read."""
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError:
        raise RanktagError(f"{path}: Parquet needs the package pyarrow; pip install 'ranktag[parquet]'") from None
    try:
        with pq.ParquetFile(path) as file:
            schema = file.schema_arrow
            names = _class_names(schema.metadata)
            columns = [column for name in wanted for column in _columns_of(schema, name)]
            if not columns:
                raise _no_column(path, wanted[0], schema.names)
            number = 0
            for batch in file.iter_batches(BATCH, columns=list(dict.fromkeys(columns))):
                for record in batch.to_pylist():
                    number += 1
                    yield number, {key: _named(value, names.get(key)) for key, value in record.items()}
    except FileNotFoundError:
        raise RanktagError(f"{path}: no such file; check the path") from None
    except (OSError, pa.ArrowException) as error:
        raise RanktagError(f"{path}: cannot be read as Parquet ({str(error)[:120]}); is it whole?") from None


def _columns_of(schema: Any, name: str) -> list[str]:
    """What pyarrow calls a wanted column, or those that match it; of pictures only their paths are read."""
    found = []
    for field in schema:
        children = [field.type.field(i).name for i in range(field.type.num_fields)]
        if field.name == name or fnmatch.fnmatchcase(field.name, name):
            found.append(f"{field.name}.path" if "bytes" in children and "path" in children else field.name)
        elif name.startswith(field.name + "."):
            found.append(name if name[len(field.name) + 1 :] in children else field.name)
    return found


def _class_names(metadata: Mapping[bytes, bytes] | None) -> dict[str, list[str]]:
    """Column -> names of its classes, which Hugging Face stores as numbers."""
    try:
        features = json.loads((metadata or {})[b"huggingface"])["info"]["features"]
        found = {key: feature.get("feature", feature) for key, feature in features.items()}
        return {key: value["names"] for key, value in found.items() if value.get("_type") == "ClassLabel"}
    except (KeyError, ValueError, TypeError, AttributeError):
        return {}


def _named(value: Any, names: Sequence[str] | None) -> Any:
    """A value whose numbers of classes are their names."""
    if names is None:
        return value
    if isinstance(value, list):
        return [_named(item, names) for item in value]
    return names[value] if isinstance(value, int) and 0 <= value < len(names) else None


def _member(record: Mapping[str, Any], name: str) -> Any:
    """The value of a column; of ``a.b`` the member b of a, or of each of those in the list a. None if there is none."""
    if name in record:
        return record[name]
    first, _, rest = name.partition(".")
    value = record.get(first) if rest else None
    if isinstance(value, Mapping):
        return _member(value, rest)
    if isinstance(value, list):
        return [_member(item, rest) if isinstance(item, Mapping) else None for item in value]
    return None


def _cell(value: Any, name: str) -> str:
    """A value as text. Raises ValueError for one that is neither text, a number nor a list of texts."""
    if isinstance(value, Mapping) and "path" in value:
        value = value["path"]
    if value is None or (isinstance(value, float) and value != value):
        return ""
    if isinstance(value, list):
        if not all(isinstance(item, str) for item in value):
            raise ValueError(
                f"has a list in '{name}' that holds more than texts ({json.dumps(value, default=str)[:40]})"
            )
        return json.dumps(value, ensure_ascii=False)
    if isinstance(value, (str, int, float)):
        return str(value)
    raise ValueError(f"has neither text nor a list in '{name}', but {str(value)[:40]}")
