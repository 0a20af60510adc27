"""``ranktag prepare adobe-stock``: the table of the contributor portal."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from outcome import Outcome

from ranktag.tags.lists import read_tag_lists
from ranktag.tags.readers.adobe_stock import AdobeStockConfig, read

Ranktag = Callable[..., Outcome]
# As Adobe's own sample has it: keywords in quotes, in order of importance.
TABLE = (
    "Filename,Title,Keywords,Category,Releases\r\n"
    'a.jpg,"A dog on a beach","dog, beach,sea , dog,golden hour",1,\r\n'
    "b.jpg,Fog,fog,7,\r\n"
    "c.jpg,Nothing yet,,,\r\n"
)


def save(folder: Path, text: str | bytes) -> Path:
    (folder / "stock.csv").write_bytes(text.encode() if isinstance(text, str) else text)
    return folder / "stock.csv"


LISTS = {"a.jpg": [("dog", "beach", "sea", "golden hour")], "b.jpg": [("fog",)], "c.jpg": [()]}


@pytest.mark.parametrize(
    "text",
    [
        TABLE,
        b"\xef\xbb\xbf" + TABLE.encode(),
        TABLE.encode("utf-16"),
        TABLE.replace("Filename", "File Name").replace("Keywords", "keywords"),
        TABLE + ",,,,\r\n,,,,\r\n",
        TABLE.replace('"dog, beach,sea , dog,golden hour"', "x")
        .replace(",", ";")
        .replace(";x;", ";dog,beach,sea,golden hour;"),
    ],
    ids=["plain", "BOM", "UTF-16", "other names", "rows of nothing", "semicolons"],
)
def test_keywords_are_in_order(tmp_path: Path, text: str | bytes) -> None:
    builder = read(save(tmp_path, text), AdobeStockConfig())
    assert builder.lists == LISTS and builder.exit_code == 0


def test_bad_rows_are_listed_and_the_others_read(tmp_path: Path, ranktag: Ranktag) -> None:
    rows = (
        ",No name,dog,1,\r\n"
        "d.jpg,One cell too few,dog\r\n"
        'e.jpg,One,"dog,cat",1,\r\n'
        'e.jpg,Another,"cat,dog",1,\r\n'
        "b.jpg,Fog again,fog,7,\r\n"
        "../f.jpg,Outside,fog,7,\r\n"
        'g.jpg,Pipe,"car|van,road",7,\r\n'
        "#NAME?,Broken,fog,7,\r\n" + "".join(f"{n}.jpg,Fine,fog,7,\r\n" for n in range(9))
    )
    done = ranktag("prepare", "adobe-stock", save(tmp_path, TABLE + rows), "-o", tmp_path / "t.csv")
    assert done.code == 1
    assert done.err.splitlines()[0] == "rows skipped: 6"
    for line in (
        "line 5 names no image",
        "line 6 has 3 cells",
        "line 7 is of 'e.jpg'",
        "line 8 is of 'e.jpg'",
        "line 10",
        "line 12",
    ):
        assert f"stock.csv: {line}" in done.err
    assert "dropped: 1 rows that are there twice" in done.out and "'|' in a tag became '/'" in done.out
    lists = read_tag_lists(tmp_path / "t.csv").lists
    assert {name: lists[name] for name in LISTS} == LISTS
    assert lists["g.jpg"] == [("car/van", "road")] and "e.jpg" not in lists


def test_names_find_photos_in_folders(tmp_path: Path, ranktag: Ranktag) -> None:
    (tmp_path / "photos/2024").mkdir(parents=True)
    (tmp_path / "photos/2024/A.JPG").write_bytes(b"")
    source = save(tmp_path, TABLE)
    done = ranktag(
        "prepare", "adobe-stock", source, "-o", tmp_path / "t.csv", "--images", tmp_path / "photos", "--match", "name"
    )
    assert done.code == 1 and "images skipped: 2" in done.err
    assert read_tag_lists(tmp_path / "t.csv").lists == {"2024/A.JPG": LISTS["a.jpg"]}


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "has no column Filename"),
        ("Filename,Title\r\na.jpg,x\r\n", "has no column Keywords"),
        ("Filename,Keywords\r\na.jpg,\r\n", "holds no keyword"),
        ("Filename,Keywords\r\na.jpg,dog;cat\r\nb.jpg,cat;fog\r\n", "hold ';'"),
        ("Filename,Keywords\r\n,dog\r\n", "1 of 1 rows cannot be used"),
    ],
)
def test_refusals(tmp_path: Path, ranktag: Ranktag, text: str, reason: str) -> None:
    ranktag("prepare", "adobe-stock", save(tmp_path, text), "-o", tmp_path / "t.csv").assert_refused(
        "stock.csv", reason
    )
