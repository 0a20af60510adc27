"""``ranktag prepare labelme-json``: the desktop tool's polygons, boxes, circles and masks to tag lists."""

from __future__ import annotations

import base64
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from labelme_files import SIZES, assert_missing_size_is_skipped_or_kept, desktop, png, shape, write
from outcome import Outcome
from real_data import DATA

from ranktag.errors import RanktagError
from ranktag.tags.lists import read_tag_lists
from ranktag.tags.readers.labelme_json import LabelmeJsonConfig, read

SHARED = DATA / "labelme"
Ranktag = Callable[..., Outcome]
CONFIG = LabelmeJsonConfig()


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
    builder = read(tmp_path, CONFIG)
    assert builder.lists == {"a.jpg": [("slanted", "old", "circle", "box", "mask", "point", "line")]}
    assert builder.notes["objects without an area, placed last"] == ["point in a.jpg", "line in a.jpg"]
    in_order = read(tmp_path / "a.json", LabelmeJsonConfig(order="annotation"))
    assert in_order.lists == {"a.jpg": [("point", "line", "mask", "box", "circle", "old", "slanted")]}


def test_groups_are_one_object_and_reserved_labels_none(tmp_path: Path) -> None:
    box = ((0, 0), (2, 2))
    sofa = [shape("sofa", "rectangle", *box, group=0), shape("sofa", "rectangle", *box, group=0)]
    write(
        tmp_path / "a.json",
        desktop(shape("__ignore__", "rectangle", (0, 0), (9, 9)), shape("chair", "rectangle", (0, 0), (2, 3)), *sofa),
    )
    builder = read(tmp_path, CONFIG)
    assert builder.lists == {"a.jpg": [("sofa", "chair")]}
    assert builder.dropped["objects labelled __ignore__"] == 1


def test_an_unreadable_mask_gives_way_to_its_box(tmp_path: Path) -> None:
    masks = [
        shape(f"m{i}", "mask", (0, 0), (i, i), mask=value) for i, value in ((1, "!"), (2, 7), (3, "AAAA"), (4, None))
    ]
    write(tmp_path / "a.json", desktop(*masks))
    builder = read(tmp_path, CONFIG)
    assert builder.lists == {"a.jpg": [("m4", "m3", "m2", "m1")]}
    assert builder.notes["masks that are not readable, their boxes were used"] == ["m1", "m2", "m3", "m4"]


def test_image_ids_of_the_desktop_tool(tmp_path: Path) -> None:
    box = shape("a", "rectangle", (0, 0), (2, 2))
    write(tmp_path / "labels" / "1.json", desktop(box, image="..\\photos\\x\\1.jpg"))
    write(tmp_path / "labels" / "2.json", desktop(box, image="2.json"))  # the tool was given the file itself
    write(tmp_path / "labels" / "2.JPG", b"")
    write(tmp_path / "labels" / "3.json", desktop(box, image="C:\\Users\\ann\\3.png"))  # moved since
    write(tmp_path / "labels" / "3.png", b"")
    write(tmp_path / "photos" / "x" / "1.jpg", b"")
    builder = read(tmp_path, CONFIG)
    assert list(builder.lists) == ["photos/x/1.jpg", "labels/2.JPG", "labels/3.png"]
    inside = read(tmp_path / "labels", CONFIG.replace(images=tmp_path / "photos"))
    assert list(inside.lists) == ["x/1.jpg"]
    assert [name for name, _ in inside.broken] == ["2.json", "3.json"]
    assert "names no photo that is below" in inside.broken[0][1]
    assert list(read(tmp_path / "labels", LabelmeJsonConfig(image_id="name")).lists) == [
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


@pytest.mark.parametrize("size", [*SIZES, 0, -3, [7], True])
def test_files_of_the_desktop_tool_without_an_image_size(tmp_path: Path, ranktag: Ranktag, size: object) -> None:
    for missing in ("imageWidth", "imageHeight"):
        write(
            tmp_path / "a.json",
            desktop(shape("sky", "rectangle", (0, 0), (2, 2)), shape("__ignore__", "point", (0, 0))) | {missing: size},
        )
        write(tmp_path / "b.json", desktop(shape("tree", "rectangle", (0, 0), (2, 2)), image="b.jpg"))
        assert_missing_size_is_skipped_or_kept(ranktag, "labelme-json", tmp_path, "")


def test_nothing_there(tmp_path: Path, ranktag: Ranktag) -> None:
    ranktag("prepare", "labelme-json", tmp_path / "none", "-o", tmp_path / "t.csv").assert_refused(
        "none", "no such file or folder"
    )
    ranktag("prepare", "labelme-json", tmp_path, "-o", tmp_path / "t.csv").assert_refused("holds no *.json file")


@pytest.mark.skipif(not SHARED.is_dir(), reason="LabelMe's real files are not beside the project")
def test_real_files() -> None:
    builder = read(SHARED / "json", CONFIG)
    assert builder.exit_code == 0
    assert builder.lists["tutorial/apc2016_obj3.jpg"][0][0] == "shelf"
    assert all((SHARED / "json" / image_id).is_file() for image_id in builder.lists)


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
        builder = read(folder, CONFIG)
    except RanktagError:
        pytest.fail("the good file is there")
    builder.write(folder / "t.csv")
    assert read_tag_lists(folder / "t.csv").lists == builder.lists
