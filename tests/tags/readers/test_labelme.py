"""``ranktag prepare labelme-xml`` and ``labelme-json``: polygons, boxes, circles and masks to tag lists."""

from __future__ import annotations

import base64
import io
import json
import struct
import sys
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from outcome import Outcome
from PIL import Image
from real_data import DATA

from ranktag.config import LabelmeConfig
from ranktag.errors import RanktagError
from ranktag.tags.annotations.files import BrokenFile, count_mask
from ranktag.tags.annotations.objects import AnnotatedObject, polygon_area, tags_by_size
from ranktag.tags.lists import read_tag_lists
from ranktag.tags.readers.labelme_json import prepare_labelme_json
from ranktag.tags.readers.labelme_xml import prepare_labelme_xml

SHARED = DATA / "labelme"
Ranktag = Callable[..., Outcome]
CONFIG = LabelmeConfig()


def polygon(name: str, *points: tuple[float, float], deleted: int = 0) -> str:
    corners = "".join(f"<pt><x>{x}</x><y>{y}</y></pt>" for x, y in points)
    return f"<object><name>{name}</name><deleted>{deleted}</deleted><polygon><username>a</username>{corners}</polygon></object>"


def square(name: str, side: float, deleted: int = 0) -> str:
    return polygon(name, (0, 0), (side, 0), (side, side), (0, side), deleted=deleted)


def mask(name: str, file: str, box: tuple[float, float, float, float]) -> str:
    edges = "".join(f"<{tag}>{value}</{tag}>" for tag, value in zip(("xmin", "ymin", "xmax", "ymax"), box, strict=True))
    return f"<object><name>{name}</name><deleted>0</deleted><segm><box>{edges}</box><mask>{file}</mask></segm></object>"


def web(*objects: str, folder: str = "street", filename: str = "a.jpg", size: str = "100") -> str:
    return (
        f"<annotation><filename>{filename}</filename><folder>{folder}</folder>{''.join(objects)}"
        f"<imagesize><nrows>{size}</nrows><ncols>{size}</ncols></imagesize></annotation>"
    )


def write(path: Path, content: str | bytes | dict[str, Any]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps(content) if isinstance(content, dict) else content
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def png(pixels: list[list[int]]) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.array(pixels, dtype=np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


def shape(
    label: object, kind: str | None, *points: tuple[float, float], group: int | None = None, **more: Any
) -> dict[str, Any]:
    return {
        "label": label,
        "points": [list(p) for p in points],
        "group_id": group,
        "shape_type": kind,
        "flags": {},
        **more,
    }


def desktop(*shapes: dict[str, Any], image: str = "a.jpg") -> dict[str, Any]:
    return {
        "version": "5.0",
        "shapes": list(shapes),
        "imagePath": image,
        "imageData": None,
        "imageHeight": 9,
        "imageWidth": 9,
    }


# Areas


def test_polygon_area_by_hand() -> None:
    assert polygon_area([(0, 0), (4, 0), (4, 3)]) == 6
    assert polygon_area([(1000000, 1000000), (1000004, 1000000), (1000004, 1000003), (1000000, 1000003)]) == 12
    assert polygon_area([(0, 0), (4, 0)]) is None
    assert polygon_area([(0, 0), (1e308, 0), (1e308, 1e308)]) is None


def test_the_largest_object_of_a_name_counts_and_parts_add_up() -> None:
    things = [
        AnnotatedObject("car", 5),
        AnnotatedObject("car", 5),
        AnnotatedObject("tree", 4, part_of=0),
        AnnotatedObject("tree", 4, part_of=0),
        AnnotatedObject("bus", 6, part_of=0),
        AnnotatedObject("point", None),
        AnnotatedObject("dot", None),
    ]
    # Two cars stay two objects of 5; the two parts are one tree of 8; a bus with the tree's number is no part of it.
    assert tags_by_size(things) == ["tree", "bus", "car", "point", "dot"]


# The web tool


def test_web_tool_orders_deletions_and_names(tmp_path: Path) -> None:
    write(
        tmp_path / "a.xml",
        web(
            square("  Car\n LEFT ", 2),
            square("Sky", 9),
            square("gone", 99, deleted=1),
            square("car  left", 3),
            square(" ", 1),
        ),
    )
    prepared = prepare_labelme_xml(tmp_path, CONFIG)
    assert prepared.lists == {"street/a.jpg": [("sky", "car left")]}
    assert prepared.dropped == {
        "objects marked deleted": 1,
        "objects without a name": 1,
        "repeats of a tag in its list": 1,
    }
    assert prepare_labelme_xml(tmp_path, LabelmeConfig(order="annotation")).lists == {
        "street/a.jpg": [("car left", "sky")]
    }


def test_names_that_are_equal_in_normal_form_c_are_one(tmp_path: Path) -> None:
    write(tmp_path / "a.xml", web(square("cafe\u0301", 2), square("CAF\u00c9", 3)))
    assert prepare_labelme_xml(tmp_path, CONFIG).lists == {"street/a.jpg": [("caf\u00e9",)]}


def test_aliases(tmp_path: Path, ranktag: Ranktag) -> None:
    write(tmp_path / "a.xml", web(square("Auto", 2), square("asdf", 9), square("person walking", 3), square("car", 1)))
    aliases = write(tmp_path / "aliases.csv", "name,tag\nauto,car\nASDF,\nPerson  Walking,person\n")
    prepared = prepare_labelme_xml(tmp_path, CONFIG, aliases)
    assert prepared.lists == {"street/a.jpg": [("person", "car")]}
    assert prepared.dropped["objects left out by the aliases"] == 1
    write(aliases, "name,tag\nauto,car\nAuto,van\n")
    ranktag("prepare", "labelme-xml", tmp_path, "-o", tmp_path / "t.csv", "--aliases", aliases).assert_refused(
        "line 3", "'auto' is 'car'"
    )
    write(aliases, "from,to\nauto,car\n")
    ranktag("prepare", "labelme-xml", tmp_path, "-o", tmp_path / "t.csv", "--aliases", aliases).assert_refused(
        "no column 'name'"
    )


def test_masks_are_counted_and_boxes_stand_in_for_them(tmp_path: Path) -> None:
    # 7 pixels of the mask against a square of 6.25; the box, drawn from the wrong corner, would be 100.
    write(
        tmp_path / "Annotations" / "street" / "a.xml",
        web(square("sky", 2.5), mask("road", "a_mask_0.png", (10, 10, 0, 0))),
    )
    assert prepare_labelme_xml(tmp_path / "Annotations", CONFIG).lists == {"street/a.jpg": [("road", "sky")]}
    file = write(tmp_path / "Masks" / "street" / "a_mask_0.png", png([[0, 1, 1, 1], [1, 1, 1, 1]]))
    assert prepare_labelme_xml(tmp_path / "Annotations", CONFIG).lists == {"street/a.jpg": [("road", "sky")]}
    write(file, png([[0, 1, 1, 1], [0, 0, 255, 0]]))
    assert prepare_labelme_xml(tmp_path / "Annotations", CONFIG).lists == {"street/a.jpg": [("sky", "road")]}
    write(file, b"\x89PNG\r\n\x1a\n")
    prepared = prepare_labelme_xml(tmp_path / "Annotations", CONFIG)
    assert prepared.lists == {"street/a.jpg": [("road", "sky")]}
    assert prepared.notes["masks that are not readable, their boxes were used"] == ["a_mask_0.png"]


def test_image_ids_of_the_web_tool(tmp_path: Path) -> None:
    write(tmp_path / "1.xml", web(square("a", 1), folder="\nusers\\ann//x \n", filename="\n b.PNG"))
    write(tmp_path / "2.xml", web(square("a", 1), folder="", filename="c.jpg"))
    assert list(prepare_labelme_xml(tmp_path, CONFIG).lists) == ["users/ann/x/b.PNG", "c.jpg"]
    assert list(prepare_labelme_xml(tmp_path, LabelmeConfig(image_id="name", prefix="p/")).lists) == [
        "p/b.PNG",
        "p/c.jpg",
    ]


def test_one_image_in_several_files_is_several_peoples_lists(tmp_path: Path, ranktag: Ranktag) -> None:
    write(tmp_path / "ann" / "a.xml", web(square("sky", 1)))
    write(tmp_path / "bob" / "a.xml", web(square("tree", 1)))
    done = ranktag("prepare", "labelme-xml", tmp_path, "-o", tmp_path / "t.csv")
    assert done.code == 0
    assert "1 images, 2 lists" in done.out
    assert "images with several lists: 1" in done.out
    assert read_tag_lists(tmp_path / "t.csv").lists == {"street/a.jpg": [("sky",), ("tree",)]}


BOMB = """<?xml version="1.0"?><!DOCTYPE annotation [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;&a;&a;">
<!ENTITY c "&b;&b;&b;&b;&b;&b;&b;&b;&b;&b;">]><annotation><filename>&c;.jpg</filename></annotation>"""
EXTERNAL = """<?xml version="1.0"?><!DOCTYPE annotation [<!ENTITY x SYSTEM "file:///etc/passwd">]>
<annotation><filename>a.jpg</filename><object><name>&x;</name></object></annotation>"""
REMOTE = """<?xml version="1.0"?><!DOCTYPE annotation SYSTEM "http://127.0.0.1:9/x.dtd"><annotation><filename>a.jpg</filename></annotation>"""


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("", "is empty"),
        (" \n", "is empty"),
        (BOMB, "declares a document type or entities, which is refused"),
        (EXTERNAL, "declares a document type or entities, which is refused"),
        (REMOTE, "declares a document type or entities, which is refused"),
        (web(square("a", 1))[:-20], "is not well-formed XML"),
        ('<?xml version="1.0" encoding="no-such"?><annotation/>', "is not well-formed XML"),
        ("\0\1\2", "is not well-formed XML"),
        ("<html/>", "is no LabelMe annotation"),
        (web(square("a", 1), filename=""), "names no image file"),
        (web(square("a", 1), filename="myfile"), "names no image file"),
        (web(square("a", 1), folder="../../etc"), "outside of the image folder"),
    ],
)
def test_broken_xml_is_listed_and_skipped(tmp_path: Path, ranktag: Ranktag, content: str, reason: str) -> None:
    write(tmp_path / "bad.xml", content)
    out = tmp_path / "t.csv"
    ranktag("prepare", "labelme-xml", tmp_path, "-o", out).assert_refused("holds no object", "bad.xml", reason)
    assert not out.exists()
    write(tmp_path / "good.xml", web(square("sky", 1)))
    done = ranktag("prepare", "labelme-xml", tmp_path, "-o", out)
    assert done.code == 1
    assert done.err.startswith("files skipped: 1\n  bad.xml ")
    assert reason in done.err
    assert read_tag_lists(out).lists == {"street/a.jpg": [("sky",)]}


def test_encodings_of_the_web_tools_time(tmp_path: Path) -> None:
    write(tmp_path / "1.xml", web(square("M\u00fcll", 1), filename="1.jpg").encode("cp1252"))
    write(
        tmp_path / "2.xml",
        ('<?xml version="1.0" encoding="utf-8"?>' + web(square("M\u00fcll", 1), filename="2.jpg")).encode("cp1252"),
    )
    write(
        tmp_path / "3.xml",
        ('<?xml version="1.0" encoding="iso-8859-1"?>' + web(square("M\u00fcll", 1), filename="3.jpg")).encode(
            "latin-1"
        ),
    )
    write(tmp_path / "4.xml", web(square("M\u00fcll", 1), filename="4.jpg").encode("utf-8"))
    prepared = prepare_labelme_xml(tmp_path, CONFIG)
    assert prepared.lists == {f"street/{i}.jpg": [("m\u00fcll",)] for i in (1, 2, 3, 4)}
    assert prepared.notes["files that are not UTF-8, read as Windows-1252"] == ["1.xml", "2.xml"]


SIZES = (None, "", "0", "-3", "nan", "wide")


@pytest.mark.parametrize("size", SIZES)
def test_files_of_the_web_tool_without_an_image_size(tmp_path: Path, ranktag: Ranktag, size: str | None) -> None:
    annotation = web(square("sky", 1), square("gone", 1, deleted=1), filename="a.jpg", size=size or "")
    write(tmp_path / "a.xml", annotation if size is not None else annotation.replace("imagesize", "size"))
    write(tmp_path / "b.xml", web(square("tree", 1), filename="b.jpg"))
    assert_missing_size_is_skipped_or_kept(ranktag, "labelme-xml", tmp_path, "street/")


@pytest.mark.parametrize("size", [*SIZES, 0, -3, [7], True])
def test_files_of_the_desktop_tool_without_an_image_size(tmp_path: Path, ranktag: Ranktag, size: object) -> None:
    for missing in ("imageWidth", "imageHeight"):
        write(
            tmp_path / "a.json",
            desktop(shape("sky", "rectangle", (0, 0), (2, 2)), shape("__ignore__", "point", (0, 0))) | {missing: size},
        )
        write(tmp_path / "b.json", desktop(shape("tree", "rectangle", (0, 0), (2, 2)), image="b.jpg"))
        assert_missing_size_is_skipped_or_kept(ranktag, "labelme-json", tmp_path, "")


def assert_missing_size_is_skipped_or_kept(ranktag: Ranktag, name: str, folder: Path, prefix: str) -> None:
    """``a`` is of no size and holds a sky and something that is dropped, ``b`` is sound and holds a tree."""
    suffix, tags = name[8:], folder / "t.csv"
    skipped = ranktag("prepare", name, folder, "-o", tags, "--overwrite")
    assert (skipped.code, skipped.err) == (
        1,
        f"files skipped: 1\n  a.{suffix} gives no image size (kept with --missing-size keep)\n",
    )
    assert read_tag_lists(tags).lists == {f"{prefix}b.jpg": [("tree",)]} and "dropped" not in skipped.out
    kept = ranktag("prepare", name, folder, "-o", tags, "--overwrite", "--missing-size", "keep")
    assert (kept.code, kept.err) == (0, "")
    assert (
        f"note: files without an image size, which were kept: 1 (a.{suffix})" in kept.out
        and "dropped: 1 objects" in kept.out
    )
    assert read_tag_lists(tags).lists == {f"{prefix}a.jpg": [("sky",)], f"{prefix}b.jpg": [("tree",)]}


def test_every_file_that_is_skipped_is_listed(tmp_path: Path, ranktag: Ranktag) -> None:
    for n in range(40):
        write(tmp_path / f"{n:02}.xml", web(square("sky", 1), filename=f"{n}.jpg", size="9" if n == 7 else ""))
    done = ranktag("prepare", "labelme-xml", tmp_path, "-o", tmp_path / "t.csv")
    assert [line.split()[0] for line in done.err.splitlines()[1:]] == [f"{n:02}.xml" for n in range(40) if n != 7]


def test_no_objects_and_the_tools_cache(tmp_path: Path, ranktag: Ranktag) -> None:
    write(tmp_path / "a.xml", web(square("sky", 1)))
    write(tmp_path / "b.xml", web(filename="b.jpg"))
    write(
        tmp_path / "annotationCache" / "XMLTemplates" / "labelme.xml",
        "<annotation><filename>\nmyfile\n</filename></annotation>",
    )
    done = ranktag("prepare", "labelme-xml", tmp_path, "-o", tmp_path / "t.csv")
    assert done.code == 0
    assert "empty lists: 1" in done.out
    assert "dropped: 1 files in annotationCache" in done.out
    assert read_tag_lists(tmp_path / "t.csv").lists == {"street/a.jpg": [("sky",)], "street/b.jpg": [()]}


def test_rare_names_are_reported_and_left_out_on_demand(tmp_path: Path, ranktag: Ranktag) -> None:
    write(tmp_path / "a.xml", web(square("sky", 1), square("asdf", 2)))
    write(tmp_path / "b.xml", web(square("sky", 1), filename="b.jpg"))
    done = ranktag("prepare", "labelme-xml", tmp_path, "-o", tmp_path / "t.csv")
    assert "rare: 1 of the 2 tags stand in one list only (asdf)" in done.out
    done = ranktag("prepare", "labelme-xml", tmp_path, "-o", tmp_path / "t.csv", "--min-count", "2", "--overwrite")
    assert "dropped: 1 tags that stand in fewer than 2 lists (1 of 2 words)" in done.out
    assert read_tag_lists(tmp_path / "t.csv").lists == {"street/a.jpg": [("sky",)], "street/b.jpg": [("sky",)]}


def test_a_pipe_and_a_formula_in_a_name_survive(tmp_path: Path, ranktag: Ranktag) -> None:
    write(tmp_path / "a.xml", web(square("car|van", 2), square("=1+1", 1)))
    done = ranktag("prepare", "labelme-xml", tmp_path, "-o", tmp_path / "t.csv")
    assert "note: '|' in a tag became '/': 1 (car|van)" in done.out
    assert read_tag_lists(tmp_path / "t.csv").lists == {"street/a.jpg": [("car/van", "=1+1")]}


@pytest.mark.parametrize("name", ["labelme-xml", "labelme-json"])
def test_nothing_there(tmp_path: Path, ranktag: Ranktag, name: str) -> None:
    ranktag("prepare", name, tmp_path / "none", "-o", tmp_path / "t.csv").assert_refused(
        "none", "no such file or folder"
    )
    ranktag("prepare", name, tmp_path, "-o", tmp_path / "t.csv").assert_refused(f"holds no *.{name[8:]} file")


def test_the_extra_is_named_where_defusedxml_is_not_installed(
    tmp_path: Path, ranktag: Ranktag, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "a.xml", web(square("sky", 1)))
    monkeypatch.setitem(sys.modules, "defusedxml.ElementTree", None)
    ranktag("prepare", "labelme-xml", tmp_path, "-o", tmp_path / "t.csv").assert_refused(
        "pip install 'ranktag[datasets]'"
    )


# The desktop tool


def test_desktop_shapes_by_area(tmp_path: Path) -> None:
    content = desktop(
        shape("point", "point", (1, 1)),
        shape("line", "linestrip", (0, 0), (50, 0), (50, 50)),
        shape("mask", "mask", (0, 0), (90, 90), mask=base64.b64encode(png([[1, 0, 1], [1, 1, 1]])).decode()),  # 5
        shape("box", "rectangle", (4, 4), (1, 2)),  # 6
        shape("Circle", "circle", (9, 9), (9, 10.5)),  # pi 2.25 = 7.07
        shape("old", None, (0, 0), (4, 0), (4, 4)),  # 8
        shape("slanted", "oriented_rectangle", (0, 0), (3, 0), (3, 3), (0, 3)),  # 9
    )
    write(tmp_path / "a.json", content)
    prepared = prepare_labelme_json(tmp_path, CONFIG)
    assert prepared.lists == {"a.jpg": [("slanted", "old", "circle", "box", "mask", "point", "line")]}
    assert prepared.notes["objects without an area, placed last"] == ["point in a.jpg", "line in a.jpg"]
    in_order = prepare_labelme_json(tmp_path / "a.json", LabelmeConfig(order="annotation"))
    assert in_order.lists == {"a.jpg": [("point", "line", "mask", "box", "circle", "old", "slanted")]}


def test_groups_are_one_object_and_reserved_labels_none(tmp_path: Path) -> None:
    box = ((0, 0), (2, 2))
    sofa = [shape("sofa", "rectangle", *box, group=0), shape("sofa", "rectangle", *box, group=0)]
    write(
        tmp_path / "a.json",
        desktop(shape("__ignore__", "rectangle", (0, 0), (9, 9)), shape("chair", "rectangle", (0, 0), (2, 3)), *sofa),
    )
    prepared = prepare_labelme_json(tmp_path, CONFIG)
    assert prepared.lists == {"a.jpg": [("sofa", "chair")]}
    assert prepared.dropped["objects labelled __ignore__"] == 1


def test_an_unreadable_mask_gives_way_to_its_box(tmp_path: Path) -> None:
    masks = [
        shape(f"m{i}", "mask", (0, 0), (i, i), mask=value) for i, value in ((1, "!"), (2, 7), (3, "AAAA"), (4, None))
    ]
    write(tmp_path / "a.json", desktop(*masks))
    prepared = prepare_labelme_json(tmp_path, CONFIG)
    assert prepared.lists == {"a.jpg": [("m4", "m3", "m2", "m1")]}
    assert prepared.notes["masks that are not readable, their boxes were used"] == ["m1", "m2", "m3", "m4"]


def test_image_ids_of_the_desktop_tool(tmp_path: Path) -> None:
    box = shape("a", "rectangle", (0, 0), (2, 2))
    write(tmp_path / "labels" / "1.json", desktop(box, image="..\\photos\\x\\1.jpg"))
    write(tmp_path / "labels" / "2.json", desktop(box, image="2.json"))  # the tool was given the file itself
    write(tmp_path / "labels" / "2.JPG", b"")
    write(tmp_path / "labels" / "3.json", desktop(box, image="C:\\Users\\ann\\3.png"))  # moved since
    write(tmp_path / "labels" / "3.png", b"")
    prepared = prepare_labelme_json(tmp_path, CONFIG)
    assert list(prepared.lists) == ["photos/x/1.jpg", "labels/2.JPG", "labels/3.png"]
    inside = prepare_labelme_json(tmp_path / "labels", CONFIG, images=tmp_path / "photos")
    assert list(inside.lists) == ["x/1.jpg"]
    assert [name for name, _ in inside.broken] == ["2.json", "3.json"]
    assert "outside of" in inside.broken[0][1]
    assert list(prepare_labelme_json(tmp_path / "labels", LabelmeConfig(image_id="name")).lists) == [
        "1.jpg",
        "2.JPG",
        "3.png",
    ]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("", "is empty"),
        ("{", "is not JSON"),
        (b"\xff\xff{}", "is not JSON"),
        ("[" * 100_000, "is nested too deeply"),
        ("[]", "no list 'shapes'"),
        ('{"shapes": 3}', "no list 'shapes'"),
        ('{"images": [], "annotations": []}', "no list 'shapes'"),
        ('{"shapes": [], "imagePath": null}', "names no image file"),
        (desktop(shape("a\ud800", "point", (1, 1))), "holds a character that text files cannot hold"),
        (desktop(image="a\0.jpg"), "holds a character that text files cannot hold"),
    ],
)
def test_broken_json_is_listed_and_skipped(tmp_path: Path, ranktag: Ranktag, content: str, reason: str) -> None:
    write(tmp_path / "bad.json", content)
    write(tmp_path / "good.json", desktop(shape("sky", "rectangle", (0, 0), (2, 2)), shape(3, "point", (1, 1))))
    done = ranktag("prepare", "labelme-json", tmp_path, "-o", tmp_path / "t.csv")
    assert done.code == 1
    assert "dropped: 1 objects without a name" in done.out
    assert reason in done.err
    assert read_tag_lists(tmp_path / "t.csv").lists == {"a.jpg": [("sky",)]}


def test_masks_of_any_kind_are_counted() -> None:
    pixels = Image.fromarray(np.array([[0, 2, 2]], dtype=np.uint8))
    palette = Image.frombytes("P", (3, 1), bytes([0, 2, 2]))
    palette.putpalette([0] * 768)  # every colour is black: the numbers count
    for image in (pixels, pixels.convert("RGB"), pixels.point(lambda v: 255 * (v > 0)).convert("1"), palette):
        buffer = io.BytesIO()
        image.save(buffer, "PNG")
        assert count_mask(buffer.getvalue()) == 2


def test_a_mask_that_would_fill_the_memory_is_not_unpacked() -> None:
    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 0, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(bytes(99))), (b"IEND", b"")]
    bomb = b"".join(struct.pack(">I", len(d)) + k + d + struct.pack(">I", zlib.crc32(k + d)) for k, d in chunks)
    with pytest.raises(BrokenFile, match="DecompressionBomb"):
        count_mask(b"\x89PNG\r\n\x1a\n" + bomb)


# Real files


@pytest.mark.skipif(not SHARED.is_dir(), reason="LabelMe's real files are not beside the project")
def test_real_files() -> None:
    nameless, keep = "sarahmsachs_LabelMev2/Annotations/mydir/my.xml", LabelmeConfig(missing_size="keep")
    sized = prepare_labelme_xml(SHARED / "xml", CONFIG)
    assert len(sized.broken) == 26 and sum("gives no image size" in reason for _, reason in sized.broken) == 25
    assert (len(sized.lists), sum(map(len, sized.lists.values()))) == (3, 5)
    web_tool = prepare_labelme_xml(SHARED / "xml", keep)
    assert [name for name, _ in web_tool.broken] == [nameless]
    assert len(web_tool.notes["files without an image size, which were kept"]) == 25
    assert web_tool.lists["example_folder/img1.jpg"][1] == ("window", "license plate")
    assert web_tool.dropped["objects marked deleted"] == 4
    assert web_tool.dropped["files in annotationCache, the web tool's templates and drafts"] == 8
    assert (len(web_tool.lists), sum(map(len, web_tool.lists.values()))) == (24, 30)
    desktop_tool = prepare_labelme_json(SHARED / "json", CONFIG)
    assert desktop_tool.exit_code == 0
    assert desktop_tool.lists["tutorial/apc2016_obj3.jpg"][0][0] == "shelf"
    assert all((SHARED / "json" / image_id).is_file() for image_id in desktop_tool.lists)


# Fuzz


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_fuzzed_xml_is_read_or_listed(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    good = web(square("sky", 2), mask("road", "m.png", (1, 1, 4, 4))).encode()
    start, cut = data.draw(st.integers(0, len(good))), data.draw(st.integers(0, 9))
    folder = tmp_path_factory.mktemp("fuzz")
    write(folder / "bad.xml", good[:start] + data.draw(st.binary(max_size=9)) + good[start + cut :])
    write(folder / "good.xml", web(square("sky", 1), filename="good.jpg"))
    prepared = prepare_labelme_xml(folder, LabelmeConfig(missing_size=data.draw(st.sampled_from(["skip", "keep"]))))
    prepared.write(folder / "t.csv")
    assert read_tag_lists(folder / "t.csv").lists == prepared.lists


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=6,
)
SHAPE = st.fixed_dictionaries(
    {},
    optional={
        "label": st.text() | JSON,
        "points": st.lists(st.lists(st.floats() | st.integers() | JSON, min_size=2, max_size=2), max_size=4) | JSON,
        "shape_type": st.sampled_from(["polygon", "rectangle", "circle", "mask", "point"]) | JSON,
        "group_id": JSON,
        "mask": st.binary().map(lambda b: base64.b64encode(b).decode()) | JSON,
    },
)


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(
    content=st.fixed_dictionaries(
        {
            "shapes": st.lists(SHAPE | JSON, max_size=4) | JSON,
            "imagePath": st.just("b.jpg") | st.text() | JSON,
            "imageWidth": st.just(9) | JSON,
            "imageHeight": st.just(9) | JSON,
        }
    )
)
def test_fuzzed_json_is_read_or_listed(tmp_path_factory: pytest.TempPathFactory, content: dict[str, Any]) -> None:
    folder = tmp_path_factory.mktemp("fuzz")
    write(folder / "bad.json", content)
    write(folder / "good.json", desktop(shape("sky", "rectangle", (0, 0), (2, 2))))
    try:
        prepared = prepare_labelme_json(folder, CONFIG)
    except RanktagError:
        pytest.fail("the good file is there")
    prepared.write(folder / "t.csv")
    assert read_tag_lists(folder / "t.csv").lists == prepared.lists
