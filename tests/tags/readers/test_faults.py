"""What archives, systems and people do to annotations, done to every reader: a new reader is one row more."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from labelme_files import desktop, shape, square, web, write
from outcome import Outcome
from PIL import Image
from scipy.io import savemat
from xmp_files import Here, packet

from ranktag.tags.lists import TagList, read_tag_lists

Ranktag = Callable[..., Outcome]


# Readers of a file an image.


def _voc(folder: Path, stem: str, said: str) -> Path:
    box = "<bndbox><xmin>1</xmin><ymin>1</ymin><xmax>5</xmax><ymax>5</ymax></bndbox>"
    text = f"<annotation><filename>{said}</filename><object><name>dog</name>{box}</object></annotation>"
    return write(folder / "Annotations" / f"{stem}.xml", text)


def _labelme_json(folder: Path, stem: str, said: str) -> Path:
    return write(folder / f"{stem}.json", desktop(shape("dog", "rectangle", (0, 0), (2, 2)), image=said))


def _labelme_xml(folder: Path, stem: str, said: str) -> Path:
    inside = Path("street", stem).parent.as_posix()
    return write(folder / "Annotations" / "street" / f"{stem}.xml", web(square("dog", 2), filename=said, folder=inside))


def _yolo(folder: Path, stem: str, said: str) -> Path:
    write(folder / "classes.txt", "dog\n")
    return write(folder / "labels" / f"{stem}.txt", "0 0.5 0.5 0.2 0.2\n")


def _keywords(folder: Path, stem: str, said: str) -> Path:
    return write(folder / f"{stem}.xmp", packet({"dc:subject": ["dog"]}))


@dataclass(frozen=True)
class FileReader:
    """name: of the format. annotate: writes the file ``stem`` of a dog, which says that its image is ``said``, below a
    folder. photos: where its photos lie. before: what an id has before a photo's path there. says: whether a file
    names its image at all."""

    name: str
    annotate: Callable[[Path, str, str], Path]
    photos: str
    before: str = ""
    says: bool = True

    def __str__(self) -> str:
        return self.name

    def photo(self, folder: Path, name: str) -> str:
        """Lay a photo there; its id."""
        path = write(folder / self.photos / name, b"")
        if self.name == "keywords":
            Image.new("RGB", (2, 2)).save(path)
        return self.before + name

    def read(self, ranktag: Ranktag, folder: Path) -> tuple[Outcome, dict[str, list[TagList]]]:
        output = folder.with_name("tags.csv")
        outcome = ranktag("prepare", self.name, folder, "-o", output)
        return outcome, {
            i: list(people) for i, people in read_tag_lists(output).lists.items()
        } if output.exists() else {}


FILE_READERS = [
    FileReader("voc", _voc, "JPEGImages"),
    FileReader("labelme-json", _labelme_json, ""),
    FileReader("labelme-xml", _labelme_xml, "Images/street", before="street/"),
    FileReader("yolo", _yolo, "images", says=False),
]
# Its photos are what there is; the sidecar of one may serve several.
KEYWORDS = FileReader("keywords", _keywords, "", says=False)
every_reader = pytest.mark.parametrize("reader", FILE_READERS, ids=str)
every_reader_and_keywords = pytest.mark.parametrize("reader", [*FILE_READERS, KEYWORDS], ids=str)
DOG = [("dog",)]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "archive").mkdir()
    return tmp_path / "archive"


@pytest.fixture(autouse=True)
def in_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ranktag.tags.readers.keywords.Apart", Here)


@every_reader_and_keywords
def test_hidden_copies_are_no_annotations(reader: FileReader, folder: Path, ranktag: Ranktag) -> None:
    image, file = reader.photo(folder, "a.jpg"), reader.annotate(folder, "a", "a.jpg")
    for hidden in (".ipynb_checkpoints", "__MACOSX", "@eaDir"):
        (file.parent / hidden).mkdir()
        shutil.copy(file, file.parent / hidden / f"a-checkpoint{file.suffix}")
        shutil.copy(file, file.parent / hidden)
    (file.parent / f"._a{file.suffix}").write_bytes(b"\0\5\26\7")
    shutil.copy(file, file.parent / f".a{file.suffix}")
    outcome, lists = reader.read(ranktag, folder)
    assert (outcome.code, lists) == (0, {image: DOG}), outcome


@every_reader
@pytest.mark.parametrize("name", ["a (1)", "a - Copy", "a copy"])
@pytest.mark.parametrize("photos", [True, False])
def test_a_copied_annotation_is_no_second_person(
    reader: FileReader, folder: Path, ranktag: Ranktag, name: str, photos: bool
) -> None:
    if not photos and not reader.says:
        pytest.skip("its files do not say of which image they are")
    image = reader.photo(folder, "a.jpg") if photos else f"{reader.before}a.jpg"
    reader.annotate(folder, "a", "a.jpg")
    reader.annotate(folder, name, "a.jpg")
    outcome, lists = reader.read(ranktag, folder)
    assert (outcome.code, lists) == (1, {image: DOG}), outcome
    assert outcome.err.startswith("files skipped: 1\n") and name in outcome.err


@every_reader_and_keywords
@pytest.mark.parametrize(
    ("stem", "said", "photo"),
    [
        ("a", "a.jpg", "a.png"),  # converted since
        ("a", "a.jpg", "A.JPG"),  # as a camera writes it
        ("a", "a", "a.png"),
        ("frame_12.5", "frame_12.5", "frame_12.5.jpg"),
        ("frame_12.5", "frame_12.5.jpg", "frame_12.5.png"),
        ("demo", "Hello.jpg", "demo.jpg"),  # renamed since
        ("e\u0301t\u00e9", "\u00e9te\u0301.jpg", "\u00e9t\u00e9.jpg"),  # copied from a Mac
        ("a b", "C:\\Users\\ann\\a b.jpg", "a b.jpg"),
    ],
)
def test_an_id_is_that_of_a_photo_that_is_there(
    reader: FileReader, folder: Path, ranktag: Ranktag, stem: str, said: str, photo: str
) -> None:
    image = reader.photo(folder, photo)
    reader.photo(folder, "another.jpg")
    reader.annotate(folder, stem, said)
    outcome, lists = reader.read(ranktag, folder)
    assert (outcome.code, lists) == (0, {image: DOG}), outcome


@every_reader_and_keywords
def test_files_of_one_name_in_two_folders_are_told_apart(reader: FileReader, folder: Path, ranktag: Ranktag) -> None:
    images = [reader.photo(folder, name) for name in ("x/1.jpg", "y/1.jpg")]
    for stem in ("x/1", "y/1"):
        reader.annotate(folder, stem, "1.jpg")
    outcome, lists = reader.read(ranktag, folder)
    assert (outcome.code, lists) == (0, dict.fromkeys(images, DOG)), outcome
    for image in images:
        (folder / reader.photos / image.removeprefix(reader.before)).unlink()
    folder.with_name("tags.csv").unlink()
    if reader is KEYWORDS:
        return
    # Without photos they are two images still.
    outcome, lists = reader.read(ranktag, folder)
    assert outcome.code == 0 and len(lists) == 2 and all(people == DOG for people in lists.values()), outcome


@every_reader
def test_two_photos_that_an_annotation_may_be_of(reader: FileReader, folder: Path, ranktag: Ranktag) -> None:
    for name in ("a.png", "a.tif", "b.jpg"):
        reader.photo(folder, name)
    reader.annotate(folder, "a", "a")
    reader.annotate(folder, "b", "b.jpg")
    outcome, lists = reader.read(ranktag, folder)
    assert (outcome.code, lists) == (1, {f"{reader.before}b.jpg": DOG}), outcome
    assert "a.png" in outcome.err and "a.tif" in outcome.err


def test_two_annotations_in_folders_of_one_photo_in_none(folder: Path, ranktag: Ranktag) -> None:
    reader = FILE_READERS[0]
    for stem in ("x/1", "y/1", "x/2"):
        reader.annotate(folder, stem, f"{stem[2:]}.jpg")
    images = [reader.photo(folder, name) for name in ("1.jpg", "2.jpg")]
    outcome, lists = reader.read(ranktag, folder)
    assert (outcome.code, lists) == (1, {images[1]: DOG}), outcome
    assert "Annotations/x/1.xml is of '1.jpg', and so is Annotations/y/1.xml" in outcome.err


# Readers of a table.


@dataclass(frozen=True)
class TableReader:
    """name: of the format. header: its columns, of the image and of what is in it last. before: the cells before them
    in a row."""

    name: str
    header: str
    before: str = ""

    def __str__(self) -> str:
        return self.name


TABLE_READERS = [
    TableReader("csv", "image_id,tags"),
    TableReader("captions", "image,caption"),
    TableReader("adobe-stock", "Filename,Keywords"),
    TableReader("open-images", "Confidence,ImageID,LabelName", before="1,"),
]
LINES = ["a.jpg,dog", "b.jpg,caf\u00e9", "c.jpg,cat"]
SOUND = {"a.jpg": DOG, "b.jpg": [("caf\u00e9",)], "c.jpg": [("cat",)]}


def _with(*lines: str) -> Callable[[list[str]], bytes]:
    return lambda rows: "\n".join([*rows[:2], *lines, *rows[2:]]).encode()


FINE_TABLES: dict[str, Callable[[list[str]], bytes]] = {
    "Windows-1252": lambda rows: "\r\n".join(rows).encode("cp1252"),
    "UTF-16": lambda rows: "\r\n".join(rows).encode("utf-16"),
    "UTF-16 with tabs": lambda rows: "\r\n".join(rows).replace(",", "\t").encode("utf-16"),
    "a byte order mark": lambda rows: "\n".join(rows).encode("utf-8-sig"),
    "semicolons": lambda rows: "\n".join(rows).replace(",", ";").encode(),
    "sep=;": lambda rows: ("sep=;\n" + "\n".join(rows).replace(",", ";")).encode(),
    "rows of separators": _with(",", ' ,""', "", ","),
    "empty columns": lambda rows: "".join(f"{row},,\n" for row in rows).encode(),
    "cells behind the last column": lambda rows: "\n".join([rows[0], *(f"{row},," for row in rows[1:])]).encode(),
    "an index of pandas": lambda rows: "\n".join(f"{n or ''},{row}" for n, row in enumerate(rows)).encode(),
    "numbers kept as text": lambda rows: "\n".join(rows).replace("a.jpg", '="a.jpg"').encode(),
}
# The row, and what is said of it.
BAD_ROWS = {
    "a cell too few": ("x.jpg", "cells, the header has"),
    "a cell too many": ("x.jpg,dog,cat", "cells, the header has"),
    "no image": (",dog", "names no image"),
    "pandas' missing image": ("nan,dog", "names no image"),
    "a spreadsheet's error": ("#REF!,dog", "#REF!"),
    "a number with a point": ("12.0,dog", "a number"),
    "a rounded number": ("1.23E+11,dog", "a number"),
    "a date": ("2-Jan,dog", "a date"),
    "a quote that is never closed": ('x.jpg,"dog', "double quotes"),
    "rows in a cell": ('x.jpg,"dog\ny.jpg,cat"', "double quotes"),
    "a NUL byte": ("x.jpg,d\0g", "NUL"),
}
every_table = pytest.mark.parametrize("reader", TABLE_READERS, ids=str)


def _lines(reader: TableReader) -> list[str]:
    return [reader.header, *(reader.before + line for line in LINES)]


def _read_table(ranktag: Ranktag, folder: Path, reader: TableReader, content: bytes) -> Outcome:
    source = folder / "table.csv"
    source.write_bytes(content)
    if reader.name == "open-images":
        write(folder / "class-descriptions.csv", "LabelName,DisplayName\ndog,dog\ncat,cat\ncaf\u00e9,caf\u00e9\n")
        write(folder / "._class-descriptions.csv", b"\0\5\26\7")
    return ranktag("prepare", reader.name, source, "-o", folder / "tags.csv")


@every_table
@pytest.mark.parametrize("fault", FINE_TABLES)
def test_what_programs_make_of_a_table_is_read(reader: TableReader, folder: Path, ranktag: Ranktag, fault: str) -> None:
    outcome = _read_table(ranktag, folder, reader, FINE_TABLES[fault](_lines(reader)))
    assert outcome.code == 0 and read_tag_lists(folder / "tags.csv").lists == SOUND, outcome


@every_table
@pytest.mark.parametrize("fault", BAD_ROWS)
def test_a_bad_row_is_listed_and_nothing_else_is_lost(
    reader: TableReader, folder: Path, ranktag: Ranktag, fault: str
) -> None:
    row, said = BAD_ROWS[fault]
    row = reader.before + row
    outcome = _read_table(ranktag, folder, reader, _with(row)(_lines(reader)))
    assert outcome.code == 1 and read_tag_lists(folder / "tags.csv").lists == SOUND, outcome
    assert outcome.err.startswith("rows skipped: 1\n  table.csv: line 3 ") and said in outcome.err
    # A table of such rows is of another form.
    (folder / "tags.csv").unlink()
    bad = _read_table(ranktag, folder, reader, "\n".join([*_lines(reader)[:2], row, row, row]).encode())
    assert bad.code == 2 and not (folder / "tags.csv").exists() and "Traceback" not in bad.err, bad


@pytest.mark.parametrize(
    ("cell", "tags"),
    [
        ("['cat', 'dog']", ("cat", "dog")),
        ('["cat", "dog"]', ("cat", "dog")),
        ("('cat', 'dog')", ("cat", "dog")),
        ("['cat' 'dog'\n 'rock, paper']", ("cat", "dog", "rock, paper")),  # numpy's
        (r"['l\'eau', 'a\\b']", ("l'eau", "a\\b")),
        ("[]", ()),
        ("nan", ()),
        ("None", ()),
        ("{'cat', 'dog'}", None),  # a set has no order
        ("['cat', nan]", None),
        ("[('cat', 0.9)]", None),
        ("['cat', 'dog'", None),
        ("[cat, dog]", None),
        ("['a', ..., 'z']", None),  # cut short
        ("array(['cat', 'dog'], dtype=object)", None),
        ("#NAME?", None),
        ("[sic]", ("[sic]",)),
    ],
)
@pytest.mark.parametrize("separator", ["|", ","])
def test_lists_as_python_writes_them(
    folder: Path, ranktag: Ranktag, cell: str, tags: tuple[str, ...] | None, separator: str
) -> None:
    with open(folder / "t.csv", "w", encoding="utf-8", newline="") as file:
        cells = [("a.jpg", f"sky{separator}sea"), ("b.jpg", cell), ("c.jpg", f"sky{separator}sun")]
        csv.writer(file).writerows([("image_id", "tags"), *cells])
    source = folder / "t.csv"
    done = ranktag("prepare", "csv", source, "-o", folder / "tags.csv", "--tag-separator", separator)
    lists = read_tag_lists(folder / "tags.csv").lists
    assert lists["a.jpg"] == [("sky", "sea")] and lists["c.jpg"] == [("sky", "sun")]
    if tags is None:
        assert done.code == 1 and "line 3" in done.err and "b.jpg" not in lists, done
    else:
        assert done.code == 0 and lists["b.jpg"] == [tags], done


def test_several_columns_of_keywords(folder: Path, ranktag: Ranktag) -> None:
    source = write(folder / "t.csv", "photo,Keyword,Keyword,Keyword.1,Title\na.jpg,sky,sea,,x\nb.jpg,,,cat|dog,y\n")
    call = ("prepare", "csv", source, "-o", folder / "tags.csv", "--image-column", "photo")
    assert ranktag(*call, "--tags-column", "Keyword*").code == 0
    assert read_tag_lists(folder / "tags.csv").lists == {"a.jpg": [("sky", "sea")], "b.jpg": [("cat", "dog")]}
    ranktag(*call, "--overwrite", "--tags-column", "Keyword").assert_refused("'Keyword' twice")
    ranktag(*call, "--overwrite", "--tags-column", "Word*").assert_refused("no column 'Word*'")


# Readers of one file that holds all images.


def _label_studio(images: list[tuple[str, str]]) -> str:
    def task(name: str, tag: str) -> dict[str, object]:
        result = {"from_name": "t", "to_name": "image", "type": "textarea", "value": {"text": [tag]}}
        return {"data": {"image": f"/data/local-files/?d={name}"}, "annotations": [{"result": [result]}]}

    return json.dumps([task(*image) for image in images], ensure_ascii=False)


def _cvat(images: list[tuple[str, str]]) -> str:
    return (
        "<annotations>" + "".join(f'<image name="{n}"><tag label="{t}"/></image>' for n, t in images) + "</annotations>"
    )


def _fiftyone(images: list[tuple[str, str]]) -> str:
    # By hand, as a dict holds a key once only.
    entries = (f"{json.dumps(name)}: {json.dumps({'label': tag}, ensure_ascii=False)}" for name, tag in images)
    return f'{{"classes": [], "labels": {{{", ".join(entries)}}}}}'


def _visual_genome(images: list[tuple[str, str]]) -> str:
    objects = [
        {"image_id": n, "objects": [{"x": 0, "y": 0, "w": 2, "h": 2, "names": [tag]}]}
        for n, (_, tag) in enumerate(images)
    ]
    return json.dumps(objects, ensure_ascii=False)


@dataclass(frozen=True)
class DocumentReader:
    """name: of the format. document: of images and the tag of each."""

    name: str
    document: Callable[[list[tuple[str, str]]], str]

    def __str__(self) -> str:
        return self.name

    def read(
        self, ranktag: Ranktag, folder: Path, images: list[tuple[str, str]], made: Callable[[str], bytes] = str.encode
    ) -> tuple[Outcome, dict[str, list[TagList]]]:
        source, output = folder / "all.xml", folder / "tags.csv"
        source.write_bytes(made(self.document(images)))
        if self.name == "visual-genome":
            urls = [{"image_id": n, "url": f"https://x.org/{name}"} for n, (name, _) in enumerate(images)]
            write(folder / "image_data.json", json.dumps(urls))
        outcome = ranktag("prepare", self.name, source, "-o", output)
        return outcome, {i: list(p) for i, p in read_tag_lists(output).lists.items()} if output.exists() else {}


every_document = pytest.mark.parametrize(
    "reader",
    [
        DocumentReader("label-studio", _label_studio),
        DocumentReader("cvat", _cvat),
        DocumentReader("fiftyone", _fiftyone),
        DocumentReader("visual-genome", _visual_genome),
    ],
    ids=str,
)
TWO = [("x/1.jpg", "dog"), ("y/1.jpg", "caf\u00e9")]


@every_document
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_a_document_in_any_unicode(reader: DocumentReader, folder: Path, ranktag: Ranktag, encoding: str) -> None:
    outcome, lists = reader.read(ranktag, folder, TWO, lambda text: text.replace("}", "}\r\n").encode(encoding))
    assert (outcome.code, lists) == (0, {"x/1.jpg": DOG, "y/1.jpg": [("caf\u00e9",)]}), outcome


@every_document
def test_letter_case_tells_images_apart(reader: DocumentReader, folder: Path, ranktag: Ranktag) -> None:
    outcome, lists = reader.read(ranktag, folder, [("x/A.jpg", "cat"), ("x/a.jpg", "dog")])
    assert (outcome.code, lists) == (0, {"x/A.jpg": [("cat",)], "x/a.jpg": DOG}), outcome


@every_document
def test_a_document_that_is_cut_short(reader: DocumentReader, folder: Path, ranktag: Ranktag) -> None:
    for made in (lambda text: text[:-3].encode(), lambda text: text.encode() * 2):
        outcome, lists = reader.read(ranktag, folder, TWO, made)
        assert not lists
        outcome.assert_refused("all.xml")


@every_document
@pytest.mark.parametrize("name", ["../../x.jpg", "", " "])
def test_a_name_that_is_no_photos(reader: DocumentReader, folder: Path, ranktag: Ranktag, name: str) -> None:
    if reader.name == "visual-genome":
        pytest.skip("its photos have URLs")
    outcome, lists = reader.read(ranktag, folder, [("a.jpg", "dog"), (name, "cat"), ("b.jpg", "cat")])
    assert (outcome.code, lists) == (1, {"a.jpg": DOG, "b.jpg": [("cat",)]}), outcome
    assert outcome.err.startswith("files skipped: 1\n")


@every_document
def test_an_image_that_is_there_twice(reader: DocumentReader, folder: Path, ranktag: Ranktag) -> None:
    outcome, lists = reader.read(ranktag, folder, [("x/a.jpg", "dog"), ("x/b.jpg", "cat"), ("x/b.jpg", "dog")])
    if reader.name == "label-studio":
        # Two tasks of one image are two people's, where nobody is named.
        assert (outcome.code, lists) == (0, {"x/a.jpg": DOG, "x/b.jpg": [("cat",), ("dog",)]}), outcome
    elif reader.name == "fiftyone":
        outcome.assert_refused("'x/b.jpg' twice")
    else:
        assert (outcome.code, lists) == (1, {"x/a.jpg": DOG}), outcome


def test_one_person_has_one_list_of_an_image_in_several_tasks(folder: Path, ranktag: Ranktag) -> None:
    tasks = json.loads(_label_studio([("a.jpg", "cat"), ("a.jpg", "dog"), ("a.jpg", "sky"), ("a.jpg", "sky")]))
    for task in tasks[:2]:
        task["annotations"][0]["completed_by"] = 7
    for task in tasks[2:]:
        task["annotations"][0]["id"] = 5  # the same export twice
    source = write(folder / "e.json", json.dumps(tasks))
    done = ranktag("prepare", "label-studio", source, "-o", folder / "tags.csv")
    assert done.code == 0 and "dropped: 2 annotations that the same person made anew" in done.out, done
    read = read_tag_lists(folder / "tags.csv")
    assert (read.lists, read.people) == ({"a.jpg": [("dog",), ("sky",)]}, {"a.jpg": ["7", ""]})


@pytest.mark.parametrize("order", [["A.jpg", "a.jpg"], ["a.jpg", "A.jpg"]])
def test_of_two_spellings_that_of_the_photo_counts(folder: Path, ranktag: Ranktag, order: list[str]) -> None:
    write(folder / "data" / "a.jpg", b"")
    write(folder / "labels.json", _fiftyone([(name, {"A.jpg": "cat", "a.jpg": "dog"}[name]) for name in order]))
    done = ranktag("prepare", "fiftyone", folder, "-o", folder / "tags.csv")
    assert (done.code, read_tag_lists(folder / "tags.csv").lists) == (1, {"a.jpg": DOG}), done


def test_ranks_that_are_no_numbers(folder: Path, ranktag: Ranktag) -> None:
    def image(name: str, *ranks: str) -> str:
        tags = (f'<tag label="t{n}"><attribute name="rank">{rank}</attribute></tag>' for n, rank in enumerate(ranks))
        return f'<image name="{name}">{"".join(tags)}</image>'

    images = image("a.jpg", "2nd", "1st") + image("b.jpg", "__undefined__", "2", "1")
    source = write(folder / "a.xml", f"<annotations>{images}</annotations>")
    done = ranktag("prepare", "cvat", source, "-o", folder / "tags.csv")
    assert done.code == 1 and "a.jpg has the rank '2nd', which is no number" in done.err, done
    assert read_tag_lists(folder / "tags.csv").lists == {"b.jpg": [("t2", "t1", "t0")]}


# Readers of COCO's JSON.


@pytest.mark.parametrize("name", ["captions", "coco"])
@pytest.mark.parametrize(
    ("second", "said"),
    [({"id": 1, "file_name": "b.jpg"}, "has the id 1"), ({"id": 2, "file_name": "a.jpg"}, "is called 'a.jpg'")],
)
def test_two_images_of_one_id_or_one_name(
    folder: Path, ranktag: Ranktag, name: str, second: dict[str, object], said: str
) -> None:
    images = [{"id": 1, "file_name": "a.jpg"}, second, *({"id": n, "file_name": f"{n}.jpg"} for n in range(3, 7))]
    things = [
        {"id": n, "image_id": image["id"], "caption": "a dog", "category_id": 1, "bbox": [0, 0, 2, 2], "area": 4}
        for n, image in enumerate(images)
    ]
    if name == "coco":
        for thing in things:
            del thing["caption"]
    content = {"images": images, "annotations": things, "categories": [{"id": 1, "name": "dog"}]}
    source = write(folder / "c.json", json.dumps(content))
    done = ranktag("prepare", name, source, "-o", folder / "tags.csv")
    assert done.code == 1 and said in done.err, done
    assert read_tag_lists(folder / "tags.csv").lists == {f"{n}.jpg": DOG for n in range(3, 7)}


# What one format has alone.


@pytest.mark.parametrize(
    "content",
    [
        "\ufeff1.jpg\r\na b.jpg\r\n",
        "1\na b\n",
        "1 -1\na b  1\n",
        "JPEGImages/1.jpg\n./JPEGImages/a b.jpg\n",
        "1\na b\n".encode("utf-16"),
        "\n 1 \n\na b.JPG\n",
    ],
)
def test_lists_of_splits_as_people_write_them(folder: Path, ranktag: Ranktag, content: str | bytes) -> None:
    reader = FILE_READERS[0]
    for stem in ("1", "a b", "2"):
        reader.annotate(folder, stem, f"{stem}.jpg")
    write(folder / "ImageSets" / "Main" / "train.txt", content)
    write(folder / "ImageSets" / "Main" / "val.txt", "2\n")
    outcome, _ = reader.read(ranktag, folder)
    assert outcome.code == 0, outcome
    assert read_tag_lists(folder.with_name("tags.csv")).split == {"1.jpg": "train", "a b.jpg": "train", "2.jpg": "val"}


@pytest.mark.parametrize("reader", FILE_READERS[0:3:2], ids=str)
@pytest.mark.parametrize(
    ("said", "encoding"),
    [
        ("utf8", "utf-8"),
        ("UTF-8", "utf-8-sig"),
        ("utf-16", "utf-16"),
        ("UTF-16", "utf-8"),  # .NET writes so
        ("gbk", "gbk"),
        ("Shift_JIS", "shift-jis"),
        ("euc-kr", "euc-kr"),
        ("windows-1251", "cp1251"),
        ("ISO-8859-1", "latin-1"),
    ],
)
def test_xml_in_any_encoding_that_python_knows(
    reader: FileReader, folder: Path, ranktag: Ranktag, said: str, encoding: str
) -> None:
    name = {"cp1251": "\u043f\u0451\u0441", "latin-1": "\u00e9t\u00e9", "euc-kr": "\uac1c"}.get(encoding, "\u72ac")
    file = reader.annotate(folder, "a", "a.jpg")
    text = file.read_text().replace("<name>dog", f"<name>{name}")
    file.write_bytes(f'\n<?xml version="1.0" encoding="{said}"?>\n{text}'.encode(encoding))
    outcome, lists = reader.read(ranktag, folder)
    assert (outcome.code, lists) == (0, {f"{reader.before}a.jpg": [(name,)]}), outcome


def test_flags_of_the_whole_image_are_counted_or_kept(folder: Path, ranktag: Ranktag) -> None:
    content = desktop(shape("dog", "rectangle", (0, 0), (2, 2)))
    write(folder / "a.json", content | {"flags": {"Indoor": True, "blurred": False, "__ignore__": True}})
    call = ("prepare", "labelme-json", folder, "-o", folder / "tags.csv")
    assert "dropped: 1 flags of the whole image (kept with --flags last)" in ranktag(*call).out
    assert ranktag(*call, "--flags", "last", "--overwrite").code == 0
    assert read_tag_lists(folder / "tags.csv").lists == {"a.jpg": [("dog", "indoor")]}


def test_a_source_that_is_named_twice(folder: Path, ranktag: Ranktag) -> None:
    source = write(folder / "c.csv", "image,caption\na.jpg,a dog\n")
    refused = ranktag("prepare", "captions", source, source, "-o", folder / "tags.csv")
    refused.assert_refused("c.csv: is named twice")


def test_two_entries_of_one_photo_in_hwang_and_graumans_files(folder: Path, ranktag: Ranktag) -> None:
    entries = np.zeros((1, 3), dtype=[("filename", object), ("taglist", object)])
    for place, name in enumerate(("x/1.jpg", "y/1.jpg", "frame_12.5")):
        entries[0, place] = (name, np.array([[1.0]]))
    savemat(folder / "train.mat", {"D1": entries})
    words = write(folder / "words.txt", "dog\n")
    call = ("prepare", "hwang-grauman", folder / "train.mat", "--words", words, "-o", folder / "tags.csv")
    outcome = ranktag(*call)
    assert outcome.code == 1 and "train.mat: D1(1) is of '1.jpg', and so is train.mat: D1(2)" in outcome.err, outcome
    assert read_tag_lists(folder / "tags.csv").lists == {"frame_12.5.jpg": DOG}
