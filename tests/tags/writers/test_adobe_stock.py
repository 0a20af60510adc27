"""Adobe Stock's tables: its limits are kept, and what does not fit is said of the image."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from ranktag.errors import RanktagError
from ranktag.tags.outputs import Output
from ranktag.tags.predictions import PredictedImage
from ranktag.tags.writers import adobe_stock
from ranktag.tags.writers.adobe_stock import StockConfig


def tags(*names: str) -> list[tuple[str, float]]:
    return [(name, 0.5) for name in names]


def write(folder: Path, images: list[PredictedImage], settings: StockConfig | None = None) -> Output:
    output = Output("adobe-stock", folder / "stock", settings=settings, overwrite=True)
    output.write(images)
    return output


def rows(folder: Path, number: int = 1) -> list[list[str]]:
    with open(folder / "stock" / f"adobe-stock-{number:03}.csv", encoding="utf-8", newline="") as file:
        return list(csv.reader(file))


def test_keywords_stand_in_order_of_rank_and_the_first_fifty_of_them(tmp_path: Path) -> None:
    many = [f"t{number}" for number in range(60)]
    images = [PredictedImage("2024/b.jpg", tags("dog", "green grass")), PredictedImage("a.jpg", tags(*many))]
    output = write(tmp_path, images)
    assert output.failures == []
    assert output.notes == ["of 1 image only the first 50 tags are written, as Adobe Stock takes them"]
    header, b, a = rows(tmp_path)
    assert header == ["Filename", "Title", "Keywords", "Category"]
    assert b == ["b.jpg", "dog green grass", "dog,green grass", ""]
    assert a[2].split(",") == many[:50] and len(a[1]) <= 70 and a[1].startswith("t0 t1 t2")


def test_titles_and_categories_are_a_persons_where_there_are_some(tmp_path: Path) -> None:
    titles = tmp_path / "titles.csv"
    titles.write_text("image_id,title,category\na.jpg,A dog at play,1\nb.jpg,Grass,\nd.jpg,Sky,\n")
    images = [PredictedImage(name, tags("dog")) for name in ("a.jpg", "b.jpg", "c.jpg")]
    output = write(tmp_path, images, StockConfig(titles=titles, category=11))
    assert output.notes == [f"{titles}: 1 of its 3 images are not among those tagged ('d.jpg' first)"]
    assert [row[1::2] for row in rows(tmp_path)[1:]] == [["A dog at play", "1"], ["Grass", "11"], ["dog", "11"]]


def test_what_does_not_fit_is_an_images_failure_with_a_clear_word(tmp_path: Path) -> None:
    titles = tmp_path / "titles.csv"
    titles.write_text(f'image_id,title\nlong.jpg,{"x" * 71}\ncomma.jpg,"A dog, a cat"\n')
    said = {
        "a-name-of-thirty-one-chars.jpeg": "has 31 characters, Adobe Stock takes 30; rename the photo",
        "long.jpg": "has 71 characters, Adobe Stock takes 70; shorten it",
        "comma.jpg": "holds a comma or a line end",
        "two.jpg": "its tag 'a, b' would be read as two",
        "none.jpg": "has no tags",
        "b/same.jpg": "'a/same.jpg' is called same.jpg too",
        "-dash.jpg": "begins as a spreadsheet's formula does",
    }
    lists = {"two.jpg": tags("a, b"), "none.jpg": []}
    ids = ["a/same.jpg", *said, "a-name-of-thirty-charact.jpeg1"]
    output = write(
        tmp_path, [PredictedImage(name, lists.get(name, tags("dog"))) for name in ids], StockConfig(titles=titles)
    )
    assert [image_id for image_id, _ in output.failures] == list(said)
    assert all(said[image_id] in reason for image_id, reason in output.failures)
    assert [row[0] for row in rows(tmp_path)[1:]] == ["same.jpg", "a-name-of-thirty-charact.jpeg1"]


def test_tables_are_split_at_5000_rows_and_a_megabyte(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    images = [PredictedImage(f"{number}.jpg", tags("dog")) for number in range(5001)]
    write(tmp_path, images)
    assert [len(rows(tmp_path, number)) for number in (1, 2)] == [5001, 2]
    monkeypatch.setattr(adobe_stock, "BYTES", 100)
    write(tmp_path, images[:10])
    files = sorted((tmp_path / "stock").iterdir())
    assert len(files) > 1 and all(file.stat().st_size <= 100 for file in files)
    assert [row[0] for number in range(len(files)) for row in rows(tmp_path, number + 1)[1:]] == [
        image.image_id for image in images[:10]
    ]
    # Nothing of a former, longer export stays.
    write(tmp_path, images[:1])
    assert [file.name for file in (tmp_path / "stock").iterdir()] == ["adobe-stock-001.csv"]


def test_tables_that_are_there_are_not_replaced_unasked(tmp_path: Path) -> None:
    write(tmp_path, [PredictedImage("a.jpg", tags("dog"))])
    (tmp_path / "stock" / "notes.txt").write_text("mine")
    with pytest.raises(RanktagError, match="adobe-stock-001.csv: exists already"):
        Output("adobe-stock", tmp_path / "stock")
    write(tmp_path, [PredictedImage("b.jpg", tags("cat"))])
    assert (tmp_path / "stock" / "notes.txt").read_text() == "mine" and rows(tmp_path)[1][0] == "b.jpg"


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("image_id,title,category\na.jpg,Dog,22\n", "category '22' is no number from 1 to 21"),
        ("image_id,title\na.jpg,\n", "line 2 has no title"),
        ("image_id,title\na.jpg,A\na.jpg,B\n", "line 3 is a second one of 'a.jpg'"),
    ],
)
def test_titles_that_say_nothing_or_two_things_are_refused(tmp_path: Path, text: str, word: str) -> None:
    (tmp_path / "titles.csv").write_text(text)
    with pytest.raises(RanktagError, match=word):
        write(tmp_path, [], StockConfig(titles=tmp_path / "titles.csv"))
