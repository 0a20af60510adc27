"""``ranktag prepare cvat``: CVAT for images 1.1."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from outcome import Outcome

from ranktag.tags.lists import read_tag_lists
from ranktag.tags.readers.cvat import CvatConfig, read

Ranktag = Callable[..., Outcome]
HEAD = '<?xml version="1.0" encoding="utf-8"?>\n<annotations><version>1.1</version><meta><task><id>1</id></task></meta>'


def image(name: str, *shapes: str, number: int = 0, more: str = "") -> str:
    return f'<image id="{number}" name="{name}" width="100" height="100" {more}>{"".join(shapes)}</image>'


def box(label: str, left: float, top: float, right: float, bottom: float, rank: str | None = None) -> str:
    attribute = "" if rank is None else f'<attribute name="Rank">{rank}</attribute><attribute name="x">0</attribute>'
    return (
        f'<box label="{label}" source="manual" occluded="0" xtl="{left}" ytl="{top}" xbr="{right}" ybr="{bottom}" '
        f'z_order="0">{attribute}</box>'
    )


def save(folder: Path, *images: str, head: str = HEAD) -> Path:
    (folder / "annotations.xml").write_text(head + "".join(images) + "</annotations>", encoding="utf-8")
    return folder / "annotations.xml"


def test_shapes_by_area(tmp_path: Path) -> None:
    source = save(
        tmp_path,
        image(
            "trip/a.jpg",
            '<tag label="sunny" source="manual"></tag>',
            '<points label="star" points="1,1;2,2"/><polyline label="line" points="0,0;99,99"/>',
            box("box", 0, 0, 20, 20),  # 400
            '<polygon label="triangle" points="0.00,0.00;50.00,0.00;0.00,40.00"/>',  # 1000
            '<ellipse label="ellipse" cx="50" cy="50" rx="10" ry="20"/>',  # 628
            '<mask label="mask" rle="3, 4, 10, 6" left="0" top="0" width="10" height="10"/>',  # 10
            box("outside", 90, 90, 400, 400),  # 10 x 10 of it inside: 100
            box("box", 0, 0, 99, 1),
            box("nan", "nan", 0, 10, 10),  # type: ignore[arg-type]
            box("", 0, 0, 99, 99),
            '<wire label="what"/>',
        ),
        image("b.jpg"),
        image("c.jpg", '<tag label="dusk"/>', '<tag label="sea"/>'),
    )
    builder = read(source, CvatConfig())
    assert builder.lists == {
        "trip/a.jpg": [("triangle", "ellipse", "box", "outside", "mask", "sunny", "star", "line", "nan")],
        "b.jpg": [()],
        "c.jpg": [("dusk", "sea")],
    }
    assert builder.dropped["shapes without a label"] == 1
    assert len(builder.notes["objects without an area, placed last"]) == 4
    assert read(source, CvatConfig(order="annotation")).lists["trip/a.jpg"][0][:3] == ("sunny", "star", "line")


def test_a_rank_goes_before_all_else(tmp_path: Path) -> None:
    shapes = (
        box("large", 0, 0, 90, 90),
        box("second", 0, 0, 5, 5, "2"),
        '<tag label="first"><attribute name="rank">1</attribute></tag>',
        box("tenth", 0, 0, 80, 80, "10"),
        box("second", 0, 0, 99, 99),
        box("none", 0, 0, 10, 10, "N/A"),
    )
    source = save(tmp_path, image("a.jpg", *shapes))
    assert read(source, CvatConfig()).lists == {"a.jpg": [("first", "second", "tenth", "large", "none")]}
    other = read(source, CvatConfig(rank_attribute="importance"))
    assert other.lists == {"a.jpg": [("second", "large", "tenth", "none", "first")]}


def test_subsets_of_a_project_are_splits_if_every_image_has_one(tmp_path: Path, ranktag: Ranktag) -> None:
    dog = box("dog", 0, 0, 5, 5)
    images = [image("a.jpg", dog, more='subset="Train"'), image("b.jpg", dog, more='subset="Validation"')]
    done = ranktag("prepare", "cvat", save(tmp_path, *images), "-o", tmp_path / "t.csv")
    assert done.code == 0, done
    assert read_tag_lists(tmp_path / "t.csv").split == {"a.jpg": "train", "b.jpg": "val"}
    assert read(save(tmp_path, *images, image("c.jpg", dog, more='subset="default"')), CvatConfig()).split == {}


def test_images_of_one_name_are_skipped(tmp_path: Path, ranktag: Ranktag) -> None:
    dog = box("dog", 0, 0, 5, 5)
    images = [image(name, dog, number=i) for i, name in enumerate(("a.jpg", "b.jpg", "./b.jpg", "../c.jpg", ""))]
    done = ranktag("prepare", "cvat", save(tmp_path, *images), "-o", tmp_path / "t.csv")
    assert done.code == 1
    assert done.err.splitlines() == [
        "files skipped: 4",
        "  image 3 names an image outside of the image folder, or a folder ('../c.jpg')",
        "  image 4 names no image",
        "  image 1 is called 'b.jpg', as another; they may be different photos",
        "  image 2 is called 'b.jpg', as another; they may be different photos",
    ]
    assert read_tag_lists(tmp_path / "t.csv").lists == {"a.jpg": [("dog",)]}


BOMB = '<!DOCTYPE x [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;&a;">]>'


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "is empty"),
        (HEAD, "is not well-formed XML"),
        ("<svg/>", "is no CVAT annotation"),
        ('<?xml version="1.0"?>' + BOMB + "<annotations>&b;</annotations>", "declares a document type or entities"),
        (HEAD + '<track id="0" label="dog"/></annotations>', "is CVAT for video 1.1"),
        (HEAD + "</annotations>", "holds no label"),
    ],
)
def test_refusals(tmp_path: Path, ranktag: Ranktag, text: str, reason: str) -> None:
    (tmp_path / "x.xml").write_text(text, encoding="utf-8")
    ranktag("prepare", "cvat", tmp_path / "x.xml", "-o", tmp_path / "t.csv").assert_refused("x.xml", reason)


def test_labelformat_reads_the_same_boxes(tmp_path: Path) -> None:
    cvat = pytest.importorskip("labelformat.formats.cvat", reason="labelformat, the reference, is not installed")
    names = "".join(f"<label><name>{name}</name></label>" for name in ("dog", "cat", "hen"))
    head = HEAD.replace("<id>1</id>", f"<labels>{names}</labels>")
    boxes = (box("dog", 1, 1, 9.5, 9), box("cat", 0, 0, 40, 30), box("hen", 20, 20, 30, 45))
    source = save(tmp_path, image("a.jpg", *boxes), head=head)
    (labels,) = cvat.CVATObjectDetectionInput(input_file=source).get_labels()
    areas = {o.category.name: (o.box.xmax - o.box.xmin) * (o.box.ymax - o.box.ymin) for o in labels.objects}
    assert read(source, CvatConfig()).lists == {labels.image.filename: [tuple(sorted(areas, key=lambda n: -areas[n]))]}
