"""JSON Lines and Parquet, read as tables are."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from ranktag.errors import RanktagError
from ranktag.files.records import read_records


def rows(path: Path, columns: tuple[str, ...], several: str | None = None) -> tuple[list[Any], list[tuple[int, str]]]:
    """The rows of a file, and those that are bad."""
    bad: list[tuple[int, str]] = []
    return list(read_records(path, columns, several, lambda line, reason: bad.append((line, reason)))), bad


def lines(folder: Path, *values: Any) -> Path:
    text = "".join(
        (value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)) + "\n" for value in values
    )
    (folder / "a.jsonl").write_text(text, encoding="utf-8")
    return folder / "a.jsonl"


def test_json_lines(tmp_path: Path) -> None:
    path = lines(
        tmp_path,
        {"file_name": "a.jpg", "tags": ["dog", 'it\'s "x", y', "é"], "n": 3, "objects": {"category": ["cat"]}},
        "",
        {"n": 2.5, "tags": None, "file_name": "b.jpg"},
        {"file_name": "c.jpg", "tags": [], "objects": [{"category": "x"}, {"category": "y"}]},
        {"file_name": {"bytes": None, "path": "d.jpg"}, "tags": "dog|cat", "n": True},
    )
    found, bad = rows(path, ("file_name", "n", "objects.category"), "tags")
    assert not bad
    assert found == [
        (1, ["a.jpg", "3", '["cat"]', '["dog", "it\'s \\"x\\", y", "é"]']),
        (3, ["b.jpg", "2.5", "", ""]),
        (4, ["c.jpg", "", '["x", "y"]', "[]"]),
        (5, ["d.jpg", "True", "", "dog|cat"]),
    ]
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert rows(path, ("file_name", "n", "objects.category"), "tags")[0] == found


def test_columns_that_match_and_bad_rows(tmp_path: Path) -> None:
    path = lines(
        tmp_path, {"i": "a", "k1": "x", "k2": "y"}, "{", "[1]", '"x"', {"i": "b", "k1": [3]}, {"i": "c", "k1": {"z": 1}}
    )
    found, bad = rows(path, ("i",), "k*")
    assert found == [(1, ["a", "x", "y"])]
    assert [line for line, _ in bad] == [2, 3, 4, 5, 6]
    assert "is not JSON" in bad[0][1] and "is no JSON object" in bad[1][1] and "holds more than texts" in bad[3][1]
    with pytest.raises(RanktagError, match="no column 'j'; the columns there are 'i', 'k1', 'k2'"):
        rows(path, ("j",))
    with pytest.raises(RanktagError, match="no such file"):
        rows(tmp_path / "none.jsonl", ("j",))


def test_parquet(tmp_path: Path) -> None:
    pa = pytest.importorskip("pyarrow", reason="pyarrow, which reads Parquet, is not installed (extra parquet)")
    import pyarrow.parquet as pq

    features = {
        "label": {"names": ["cat", "dog"], "_type": "ClassLabel"},
        "labels": {"feature": {"names": ["cat", "dog"], "_type": "ClassLabel"}, "_type": "Sequence"},
        "image": {"_type": "Image"},
    }
    table = pa.table(
        {
            "image": [{"bytes": b"\xff\xd8", "path": f"{number}.jpg"} for number in range(3)],
            "tags": [["dog", "cat"], [], None],
            "label": [1, 0, 7],
            "labels": [[1, 0], [], [0]],
            "box": [{"area": 1.5, "what": "x"}] * 3,
            "kind": pa.array(["a", "b", "a"]).dictionary_encode(),
        }
    ).replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    path = tmp_path / "a.parquet"
    pq.write_table(table, path)
    found, bad = rows(path, ("image", "label", "box.area", "kind", "labels"), "tags")
    assert not bad
    assert found == [
        (1, ["0.jpg", "dog", "1.5", "a", '["dog", "cat"]', '["dog", "cat"]']),
        (2, ["1.jpg", "cat", "1.5", "b", "[]", "[]"]),
        (3, ["2.jpg", "", "1.5", "a", '["cat"]', ""]),
    ]
    for columns in (("nothing",), ("image", "nothing")):
        with pytest.raises(RanktagError, match="no column 'nothing'"):
            rows(path, columns)
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(RanktagError, match="cannot be read as Parquet"):
        rows(path, ("image",))
    with pytest.raises(RanktagError, match="no such file"):
        rows(tmp_path / "none.parquet", ("image",))
