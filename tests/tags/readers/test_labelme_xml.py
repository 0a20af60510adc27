"""``ranktag prepare labelme-xml``: LabelMe's polygons, boxes and masks to tag lists."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from labelme_files import SIZES, assert_missing_size_is_skipped_or_kept, mask, png, square, web, write
from outcome import Outcome
from real_data import DATA

from ranktag.tags.lists import read_tag_lists
from ranktag.tags.readers._labelme import LabelmeConfig
from ranktag.tags.readers.labelme_xml import read

SHARED = DATA / "labelme"
Ranktag = Callable[..., Outcome]
CONFIG = LabelmeConfig()


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
    builder = read(tmp_path, CONFIG)
    assert builder.lists == {"street/a.jpg": [("sky", "car left")]}
    assert builder.dropped == {
        "objects marked deleted": 1,
        "objects without a name": 1,
        "repeats of a tag in its list": 1,
    }
    assert read(tmp_path, LabelmeConfig(order="annotation")).lists == {"street/a.jpg": [("car left", "sky")]}


def test_names_that_are_equal_in_normal_form_c_are_one(tmp_path: Path) -> None:
    write(tmp_path / "a.xml", web(square("cafe\u0301", 2), square("CAF\u00c9", 3)))
    assert read(tmp_path, CONFIG).lists == {"street/a.jpg": [("caf\u00e9",)]}


def test_aliases(tmp_path: Path, ranktag: Ranktag) -> None:
    write(tmp_path / "a.xml", web(square("Auto", 2), square("asdf", 9), square("person walking", 3), square("car", 1)))
    aliases = write(tmp_path / "aliases.csv", "name,tag\nauto,car\nASDF,\nPerson  Walking,person\n")
    builder = read(tmp_path, CONFIG.replace(aliases=aliases))
    assert builder.lists == {"street/a.jpg": [("person", "car")]}
    assert builder.dropped["objects left out by the aliases"] == 1
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
    assert read(tmp_path / "Annotations", CONFIG).lists == {"street/a.jpg": [("road", "sky")]}
    file = write(tmp_path / "Masks" / "street" / "a_mask_0.png", png([[0, 1, 1, 1], [1, 1, 1, 1]]))
    assert read(tmp_path / "Annotations", CONFIG).lists == {"street/a.jpg": [("road", "sky")]}
    write(file, png([[0, 1, 1, 1], [0, 0, 255, 0]]))
    assert read(tmp_path / "Annotations", CONFIG).lists == {"street/a.jpg": [("sky", "road")]}
    write(file, b"\x89PNG\r\n\x1a\n")
    builder = read(tmp_path / "Annotations", CONFIG)
    assert builder.lists == {"street/a.jpg": [("road", "sky")]}
    assert builder.notes["masks that are not readable, their boxes were used"] == ["a_mask_0.png"]


def test_image_ids_of_the_web_tool(tmp_path: Path) -> None:
    write(tmp_path / "1.xml", web(square("a", 1), folder="\nusers\\ann//x \n", filename="\n b.PNG"))
    write(tmp_path / "2.xml", web(square("a", 1), folder="", filename="c.jpg"))
    assert list(read(tmp_path, CONFIG).lists) == ["users/ann/x/b.PNG", "c.jpg"]
    assert list(read(tmp_path, LabelmeConfig(image_id="name", prefix="p/")).lists) == [
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


BOMB = """<?xml version="1.0"?><!DOCTYPE annotation [<!ENTITY a "aaaaaaaaaa">
<!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;&a;&a;">
<!ENTITY c "&b;&b;&b;&b;&b;&b;&b;&b;&b;&b;">]><annotation><filename>&c;.jpg</filename></annotation>"""
EXTERNAL = """<?xml version="1.0"?><!DOCTYPE annotation [<!ENTITY x SYSTEM "file:///etc/passwd">]>
<annotation><filename>a.jpg</filename><object><name>&x;</name></object></annotation>"""
REMOTE = """<?xml version="1.0"?><!DOCTYPE annotation SYSTEM "http://127.0.0.1:9/x.dtd">
<annotation><filename>a.jpg</filename></annotation>"""


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("", "is empty"),
        (" \n", "is empty"),
        (BOMB, "declares a document type or entities, which is refused"),
        (EXTERNAL, "declares a document type or entities, which is refused"),
        (REMOTE, "declares a document type or entities, which is refused"),
        (web(square("a", 1))[:-20], "is not well-formed XML"),
        ('<?xml version="1.0" encoding="no-such"?><annotation/>', "an encoding that Python does not know"),
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
    builder = read(tmp_path, CONFIG)
    assert builder.lists == {f"street/{i}.jpg": [("m\u00fcll",)] for i in (1, 2, 3, 4)}
    assert builder.notes["files that are not UTF-8, read as Windows-1252"] == ["1.xml", "2.xml"]


@pytest.mark.parametrize("size", SIZES)
def test_files_of_the_web_tool_without_an_image_size(tmp_path: Path, ranktag: Ranktag, size: str | None) -> None:
    annotation = web(square("sky", 1), square("gone", 1, deleted=1), filename="a.jpg", size=size or "")
    write(tmp_path / "a.xml", annotation if size is not None else annotation.replace("imagesize", "size"))
    write(tmp_path / "b.xml", web(square("tree", 1), filename="b.jpg"))
    assert_missing_size_is_skipped_or_kept(ranktag, "labelme-xml", tmp_path, "street/")


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


def test_nothing_there(tmp_path: Path, ranktag: Ranktag) -> None:
    ranktag("prepare", "labelme-xml", tmp_path / "none", "-o", tmp_path / "t.csv").assert_refused(
        "none", "no such file or folder"
    )
    ranktag("prepare", "labelme-xml", tmp_path, "-o", tmp_path / "t.csv").assert_refused("holds no *.xml file")


def test_the_extra_is_named_where_defusedxml_is_not_installed(
    tmp_path: Path, ranktag: Ranktag, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "a.xml", web(square("sky", 1)))
    monkeypatch.setitem(sys.modules, "defusedxml.ElementTree", None)
    ranktag("prepare", "labelme-xml", tmp_path, "-o", tmp_path / "t.csv").assert_refused(
        "pip install 'ranktag[datasets]'"
    )


@pytest.mark.skipif(not SHARED.is_dir(), reason="LabelMe's real files are not beside the project")
def test_real_files() -> None:
    nameless, keep = "sarahmsachs_LabelMev2/Annotations/mydir/my.xml", LabelmeConfig(missing_size="keep")
    sized = read(SHARED / "xml", CONFIG)
    assert len(sized.broken) == 26 and sum("gives no image size" in reason for _, reason in sized.broken) == 25
    assert (len(sized.lists), sum(map(len, sized.lists.values()))) == (3, 5)
    kept = read(SHARED / "xml", keep)
    assert [name for name, _ in kept.broken] == [nameless]
    assert len(kept.notes["files without an image size, which were kept"]) == 25
    assert kept.lists["example_folder/img1.jpg"][1] == ("window", "license plate")
    assert kept.dropped["objects marked deleted"] == 4
    assert kept.dropped["files in annotationCache, the web tool's templates and drafts"] == 8
    assert (len(kept.lists), sum(map(len, kept.lists.values()))) == (24, 30)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_fuzzed_xml_is_read_or_listed(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    good = web(square("sky", 2), mask("road", "m.png", (1, 1, 4, 4))).encode()
    start, cut = data.draw(st.integers(0, len(good))), data.draw(st.integers(0, 9))
    folder = tmp_path_factory.mktemp("fuzz")
    write(folder / "bad.xml", good[:start] + data.draw(st.binary(max_size=9)) + good[start + cut :])
    write(folder / "good.xml", web(square("sky", 1), filename="good.jpg"))
    builder = read(folder, LabelmeConfig(missing_size=data.draw(st.sampled_from(["skip", "keep"]))))
    builder.write(folder / "t.csv")
    assert read_tag_lists(folder / "t.csv").lists == builder.lists
