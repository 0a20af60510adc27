"""Annotations with one value changed to nonsense: an image never gets another's tags, whatever the format."""

from __future__ import annotations

import copy
import json
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ranktag import registry
from ranktag.errors import RanktagError
from ranktag.pipelines.prepare import READERS
from ranktag.tags.annotations.builder import TagListBuilder

# Two images in each, whose tags begin with the images' names.
COCO = {
    "images": [{"id": i, "file_name": f"{n}.jpg", "width": 9, "height": 9} for i, n in ((1, "a"), (2, "b"))],
    "annotations": [
        {"image_id": 1, "category_id": 1, "area": 5, "bbox": [1, 1, 5, 1], "iscrowd": 0},
        {"image_id": 1, "category_id": 2, "bbox": [1, 1, 3, 3], "segmentation": [[0, 0, 5, 0, 5, 5]]},
        {"image_id": 2, "category_id": 3, "area": 5},
    ],
    "categories": [{"id": i, "name": n} for i, n in ((1, "a-dog"), (2, "a-cat"), (3, "b-dog"))],
}
FIFTYONE = {
    "classes": ["a-dog", "a-cat", "b-dog"],
    "labels": {
        "a.jpg": [{"label": 0, "bounding_box": [0, 0, 0.5, 0.5]}, {"label": "a-cat", "confidence": 0.5}],
        "b.jpg": [{"label": 2}],
    },
}
VISUAL_GENOME = [
    {"image_id": i, "objects": [{"x": 1, "y": 1, "w": 5, "h": 5, "names": [t], "synsets": ["x"]} for t in tags]}
    for i, tags in ((1, ["1-dog", "1-cat"]), (2, ["2-dog"]))
]
LABEL_STUDIO = [
    {
        "id": 5,
        "data": {"image": f"/data/upload/1/0123abcd-{name}.jpg", "items": [{"id": "x", "title": f"{name}-dog"}]},
        "annotations": [
            {
                "completed_by": 1,
                "was_cancelled": False,
                "result": [{"from_name": "r", "type": "ranker", "value": {"ranker": {"ranked": ["x"], "_": []}}}],
            }
        ],
    }
    for name in "ab"
]
FILES = {
    "coco": ("x.json", COCO),
    "fiftyone": ("labels.json", FIFTYONE),
    "visual-genome": ("objects.json", VISUAL_GENOME),
    "label-studio": ("x.json", LABEL_STUDIO),
}
NONSENSE = [
    None,
    [],
    {},
    "",
    " ",
    "nonsense",
    -1,
    1e400,
    float("nan"),
    True,
    [[]],
    [None],
    {"a": 1},
    "../x",
    "\0",
    "\ud800",
]
# What may come of nonsense where a tag is expected.
HARMLESS = ("nonsense", "../x", "True", "-1", "a", "x")


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The ways to every value within a value."""
    if path:
        yield path
    pairs = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inside in pairs:
        yield from places(inside, (*path, key))


def changed(value: Any, path: tuple[Any, ...], new: Any) -> Any:
    value = copy.deepcopy(value)
    inside = value
    for key in path[:-1]:
        inside = inside[key]
    inside[path[-1]] = new
    return value


def lists_of(name: str, source: Path | list[Path]) -> TagListBuilder | None:
    """What a format's reader makes of a source; None if it is refused."""
    reader = registry.load(READERS, name)
    config = typing.get_type_hints(reader.read)["config"]()
    try:
        builder: TagListBuilder = reader.read(source, config)
    except RanktagError:
        return None
    return builder


@pytest.mark.parametrize("name", FILES)
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_one_value_of_json(name: str, data: st.DataObject, tmp_path: Path) -> None:
    file, sound = FILES[name]
    value = changed(
        sound, data.draw(st.sampled_from(sorted(places(sound), key=repr))), data.draw(st.sampled_from(NONSENSE))
    )
    (tmp_path / file).write_text(json.dumps(value), encoding="utf-8")
    source = tmp_path / file
    builder = lists_of(name, [source] if name == "coco" else source)
    for image_id, people in (builder.lists if builder else {}).items():
        # An image that is called otherwise now is no photo that there is.
        for tags in people if image_id in ("a.jpg", "b.jpg", "1.jpg", "2.jpg") else ():
            assert all(tag[0] == image_id[0] or tag in HARMLESS for tag in tags), (image_id, tags)


XML = (
    '<annotations><version>1.1</version><image id="0" name="a.jpg" width="9" height="9"><tag label="a-sun"/>'
    '<box label="a-dog" xtl="1" ytl="1" xbr="5" ybr="5"><attribute name="rank">1</attribute></box></image>'
    '<image id="1" name="b.jpg" width="9" height="9"><polygon label="b-dog" points="1,1;5,1;5,5"/>'
    '<mask label="b-cat" rle="1, 2, 3" left="0" top="0" width="3" height="2"/></image></annotations>'
)


def damaged(text: str, start: int, end: int, new: str) -> str:
    return text[: min(start, end)] + new + text[max(start, end) :]


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.integers(0, len(XML)), st.integers(0, 6), st.sampled_from(["", "x", "nan", "-", ";", ",", "<a/>", "&b;", "é"])
)
def test_text_of_xml(tmp_path: Path, start: int, length: int, new: str) -> None:
    (tmp_path / "x.xml").write_text(damaged(XML, start, start + length, new), encoding="utf-8")
    builder = lists_of("cvat", tmp_path / "x.xml")
    for image_id, people in (builder.lists if builder else {}).items():
        there = image_id.strip("xé;,-<>").lower()
        for tags in people:
            assert "a.jpg" not in there or not any(tag.startswith("b-") for tag in tags), (image_id, tags)
            assert "b.jpg" not in there or not any(tag.startswith("a-") for tag in tags), (image_id, tags)


BOXES = "0 0.5 0.5 0.25 0.5\n1 0.25 0.5 0.125 0.5 0.9\n0 0.1 0.1 0.2 0.1 0.2 0.2\n"


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.integers(0, len(BOXES)),
    st.integers(0, 6),
    st.sampled_from(["", "x", "nan", "-", "9", "1e999", ".", " ", "\n", "\0", "\x85", "é"]),
)
def test_text_of_boxes(tmp_path: Path, start: int, length: int, new: str) -> None:
    for name, text in {
        "classes.txt": "dog\ncat\n",
        "labels/a.txt": damaged(BOXES, start, start + length, new),
        "labels/b.txt": BOXES,
        "images/a.jpg": "",
        "images/b.jpg": "",
    }.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text, encoding="utf-8")
    builder = lists_of("yolo", tmp_path)
    assert builder is not None and builder.lists["b.jpg"] == [("dog", "cat")]
    assert ("a.jpg" in builder.lists) != bool(builder.broken)
