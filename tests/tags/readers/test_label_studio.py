"""``ranktag prepare label-studio``: the JSON export, as its documents show it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from outcome import Outcome

from ranktag.files.tables import read_table
from ranktag.tags.annotations.files import BrokenFile
from ranktag.tags.lists import read_tag_lists
from ranktag.tags.readers._brush import painted_share
from ranktag.tags.readers.label_studio import LabelStudioConfig, image_id_of, read

Ranktag = Callable[..., Outcome]


def result(kind: str, value: Any, name: str = "rank") -> dict[str, Any]:
    return {"id": "x1", "from_name": name, "to_name": "image", "type": kind, "value": value}


def annotation(*results: Any, by: Any = 1, **more: Any) -> dict[str, Any]:
    return {"id": 1, "completed_by": by, "was_cancelled": False, "result": list(results), **more}


def task(image: Any, *annotations: Any, **data: Any) -> dict[str, Any]:
    return {"id": 7, "data": {"image": image, **data}, "annotations": list(annotations), "predictions": []}


def save(folder: Path, *tasks: Any) -> Path:
    (folder / "export.json").write_text(json.dumps(tasks), encoding="utf-8")
    return folder / "export.json"


def people(path: Path) -> list[list[str]]:
    return [cells for _, cells in read_table(path, ("image_id", "person", "tags"))]


ITEMS = [{"id": "i-dog", "title": "dog"}, {"id": "i-cat", "title": "cat"}, {"id": "tree"}]


@pytest.mark.parametrize(
    ("content", "tags"),
    [
        ({"ranked": ["i-cat", "i-dog"], "_": ["tree"]}, ("cat", "dog")),
        ({"_": ["tree"], "ranked": ["tree", "i-dog"]}, ("tree", "dog")),
        ({"_": ["i-dog", "i-cat", "tree"]}, ()),  # nobody ranked anything
        ({"rank": ["tree", "i-cat", "i-dog"]}, ("tree", "cat", "dog")),
        (["i-cat", "tree"], ("cat", "tree")),
    ],
)
def test_rankers_in_all_their_shapes(tmp_path: Path, content: Any, tags: tuple[str, ...]) -> None:
    other = task("/data/upload/1/0123abcd-b.jpg", annotation(result("ranker", {"ranker": ["i-dog"]})), items=ITEMS)
    ranked = task("/data/upload/1/89abcdef-a.jpg", annotation(result("ranker", {"ranker": content})), items=ITEMS)
    builder = read(save(tmp_path, ranked, other), LabelStudioConfig())
    assert builder.lists == {"a.jpg": [tags], "b.jpg": [("dog",)]}
    assert builder.exit_code == 0 and not builder.notes


def test_several_buckets_must_be_named_and_untouched_orders_are_noted(tmp_path: Path, ranktag: Ranktag) -> None:
    buckets = {"first": ["tree"], "second": ["i-dog"], "_": ["i-cat"]}
    source = save(tmp_path, task("a.jpg", annotation(result("ranker", {"ranker": buckets})), items=ITEMS))
    ranktag("prepare", "label-studio", source, "-o", tmp_path / "t.csv").assert_refused(
        "has the buckets first, second", "--bucket"
    )
    assert read(source, LabelStudioConfig(bucket="second")).lists == {"a.jpg": [("dog",)]}
    shown = [item["id"] for item in ITEMS]
    source = save(tmp_path, task("a.jpg", annotation(result("ranker", {"ranker": shown})), items=ITEMS))
    builder = read(source, LabelStudioConfig())
    assert builder.lists == {"a.jpg": [("dog", "cat", "tree")]}
    assert builder.notes["rankings in the order in which the tags were shown; was none moved?"] == [
        "task 7: annotations[0]"
    ]


def test_an_annotation_is_one_persons_list(tmp_path: Path, ranktag: Ranktag) -> None:
    def said(*tags: str, **more: Any) -> dict[str, Any]:
        return annotation(result("textarea", {"text": list(tags)}, "words"), **more)

    source = save(
        tmp_path,
        task(
            "https://example.com/photos/a%20b.jpg?token=x",
            said("dog", "grass, sun", by={"id": 3, "email": "ann@example.com"}),
            said("cat", by=4, was_cancelled=True),
            said("old", by=5, updated_at="2024-01-02T00:00:00Z"),
            said("new", by=5, updated_at="2024-01-03T00:00:00Z"),
            said("older", by=5, updated_at="2023-01-03T00:00:00Z"),
            annotation(by=6),
        )
        | {"predictions": [{"result": []}, {"result": []}]},
        task("c.jpg"),
        task("d.jpg", {"id": 1}, annotation(result("textarea", {"text": "one text"}, "words"))),
    )
    done = ranktag("prepare", "label-studio", source, "-o", tmp_path / "t.csv")
    assert done.code == 1
    assert done.err == "files skipped: 1\n  task 7: annotations[0] has no list 'result'\n"
    for line in (
        "dropped: 1 annotations that were cancelled",
        "dropped: 2 annotations that the same person made anew",
        "dropped: 2 predictions, which nobody made",
        "dropped: 1 tasks without an annotation",
        "note: entries of several tags, split at commas and line ends: 1",
        "empty lists: 1",
    ):
        assert line in done.out
    assert read_tag_lists(tmp_path / "t.csv").lists == {
        "photos/a b.jpg": [("dog", "grass", "sun"), ("new",), ()],
        "d.jpg": [("one text",)],
    }
    # Who made them stays with them, whatever the photos are called.
    assert [row[:2] for row in people(tmp_path / "t.csv")] == [
        ["photos/a b.jpg", "ann@example.com"],
        ["photos/a b.jpg", "5"],
        ["photos/a b.jpg", "6"],
        ["d.jpg", "1"],
    ]
    (tmp_path / "all/x").mkdir(parents=True)
    for name in ("all/x/A B.JPG", "all/d.jpg"):
        (tmp_path / name).write_bytes(b"")
    images = ("--images", tmp_path / "all", "--match", "name", "--overwrite")
    assert ranktag("prepare", "label-studio", source, "-o", tmp_path / "t.csv", *images).code == 1
    assert [row for row in people(tmp_path / "t.csv") if row[1] in ("1", "5")] == [
        ["x/A B.JPG", "5", "new"],
        ["d.jpg", "1", "one text"],
    ]


def test_choices_and_taxonomies_have_no_order_to_learn(tmp_path: Path) -> None:
    chosen = annotation(result("choices", {"choices": ["cat", "dog"]}))
    builder = read(save(tmp_path, task("a.jpg", chosen)), LabelStudioConfig())
    assert builder.lists == {"a.jpg": [("cat", "dog")]}
    assert any("that of the clicks is lost" in note for note in builder.notes)
    paths = [["animal", "dog"], ["plant"], ["animal", "cat"]]
    source = save(tmp_path, task("a.jpg", annotation(result("taxonomy", {"taxonomy": paths}))))
    assert read(source, LabelStudioConfig()).lists == {"a.jpg": [("dog", "plant", "cat")]}


# Rows of a 4 x 4 image; the lower half is painted.
HALF = [0, 0, 0, 0, 0, 0, 0, 0, 9, 9, 9, 9, 9, 9, 9, 9]


def packed(opacities: list[int]) -> list[int]:
    """A mask as rle-pack writes it: runs of one value where there are any, else the values themselves."""
    values = np.repeat(np.array(opacities), 4).tolist()
    bits = f"{len(values):032b}{8 - 1:05b}" + "".join(f"{size - 1:04b}" for size in (3, 4, 8, 16))
    start = 0
    while start < len(values):
        end = start
        while end < len(values) and values[end] == values[start] and end - start < 16:
            end += 1
        if start == 0:  # the first four one by one, as differing values are written
            end = 4
            bits += "0" + "00" + f"{end - start - 1:03b}" + "".join(f"{value:08b}" for value in values[:4])
        else:
            bits += "1" + "01" + f"{end - start - 1:04b}" + f"{values[start]:08b}"
        start = end
    bits += "0" * (-len(bits) % 8)
    return [int(bits[i : i + 8], 2) for i in range(0, len(bits), 8)]


def test_brush_masks() -> None:
    assert painted_share(packed(HALF)) == 0.5
    assert painted_share(packed([1] + [0] * 15)) == 1 / 16
    assert painted_share(packed([0] * 16)) is None
    # A mask of 2^32 values that ends at once, bytes that are none, and nothing.
    for damaged in ([255] * 12, packed(HALF)[:-3], [300], ["a"], [], "abc", None):
        assert painted_share(damaged) is None


def test_regions_by_area(tmp_path: Path) -> None:
    def region(kind: str, label: str, **value: Any) -> dict[str, Any]:
        return result(kind, {kind: [label], **value}, kind)

    source = save(
        tmp_path,
        task(
            "a.jpg",
            annotation(
                region("keypointlabels", "point", x=1, y=1, width=0.5),
                region("rectanglelabels", "box", x=80, y=80, width=50, height=60),  # 20 x 20 of it inside: 400
                region("polygonlabels", "triangle", points=[[0, 0], [50, 0], [0, 40]]),  # 1000
                region("ellipselabels", "ellipse", x=50, y=50, radiusX=10, radiusY=20),  # 628
                region("brushlabels", "brush", format="rle", rle=packed(HALF)),  # 5000
                region("rectanglelabels", "turned", x=0, y=0, width=50, height=16, rotation=90),  # 800
                region("rectanglelabels", "negative", x=9, y=9, width=-5, height=5),
                result("rectanglelabels", {"x": 1, "y": 1, "width": 5, "height": 5}, "rectanglelabels"),
            ),
        ),
    )
    builder = read(source, LabelStudioConfig())
    assert builder.lists == {
        "a.jpg": [("brush", "triangle", "turned", "ellipse", "box", "point", "negative")],
    }
    assert builder.dropped["regions without a label"] == 1
    assert len(builder.notes["objects without an area, placed last"]) == 2


def test_several_controls(tmp_path: Path, ranktag: Ranktag) -> None:
    words, note = result("textarea", {"text": ["dog"]}, "words"), result("textarea", {"text": ["blurred"]}, "note")
    source = save(tmp_path, task("a.jpg", annotation(words, note), annotation(note, by=2)))
    call = ("prepare", "label-studio", source, "-o", tmp_path / "t.csv")
    ranktag(*call).assert_refused("words (textarea), note (textarea)", "--control")
    ranktag(*call, "--control", "mood").assert_refused("no result of a control 'mood'")
    done = ranktag(*call, "--control", "words")
    assert done.code == 0 and "dropped: 1 annotations without a result of words" in done.out
    assert read_tag_lists(tmp_path / "t.csv").lists == {"a.jpg": [("dog",)]}
    # A ranker is what was made for it.
    both = annotation(words, result("ranker", {"ranker": {"ranked": ["cat"], "_": []}}))
    assert read(save(tmp_path, task("a.jpg", both)), LabelStudioConfig()).lists == {"a.jpg": [("cat",)]}


@pytest.mark.parametrize(
    ("name", "image_id"),
    [
        ("/data/local-files/?d=trip/2019/a%20b.jpg", "trip/2019/a b.jpg"),
        ("http://localhost:8080/data/local-files/?d=trip%2Fa.jpg", "trip/a.jpg"),
        ("/data/local-files/?d=trip\\a.jpg", "trip/a.jpg"),
        ("/data/upload/3/0a1b2c3d-IMG_1.JPG", "IMG_1.JPG"),
        ("/data/upload/0a1b2c3d-a-b.jpg", "a-b.jpg"),
        ("https://ls.example.com/data/upload/3/0a1b2c3d-a.jpg", "a.jpg"),
        ("https://example.com/x/a.jpg?size=big#top", "x/a.jpg"),
        ("s3://bucket/x/a.jpg", "x/a.jpg"),
        ("/tasks/4/resolve/?fileuri=czM6Ly9idWNrZXQveC9hLmpwZw==", "x/a.jpg"),
        ("photos/a.jpg", "photos/a.jpg"),
    ],
)
def test_image_names(name: str, image_id: str) -> None:
    assert image_id_of(name) == image_id


@pytest.mark.parametrize(
    "name", ["", " ", "/data/local-files/?d=../a.jpg", "/data/local-files/", "http://[x/a.jpg", ".."]
)
def test_names_of_nothing(name: str) -> None:
    with pytest.raises(BrokenFile):
        image_id_of(name)


def test_images_of_one_name_are_skipped_and_the_key_is_found(tmp_path: Path) -> None:
    said = annotation(result("textarea", {"text": ["dog"]}))
    tasks = [task(f"/data/upload/3/{digest}-a.jpg", said) for digest in ("00000000", "11111111")]
    tasks += [
        {"id": 8, "data": {"photo": "/x/b.jpg", "text": "hello"}, "annotations": [said]},
        {"id": 9, "data": {"one": "c.jpg", "two": "d.jpg"}, "annotations": [said]},
        {"id": 10, "data": {"image": ["e.jpg"]}, "annotations": [said]},
        {"annotations": []},
    ]
    builder = read(save(tmp_path, *tasks), LabelStudioConfig())
    assert list(builder.lists) == ["x/b.jpg"]
    reasons = dict.fromkeys(where for where, _ in builder.broken)
    assert list(reasons) == ["task 9", "task 10", "task [5]", "task 7"]
    assert read(save(tmp_path, tasks[3]), LabelStudioConfig(image_key="two")).lists == {"d.jpg": [("dog",)]}


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "is empty"),
        ("{", "is not JSON"),
        ('[{"image": "a.jpg", "id": 1, "tags": ["x"]}]', "has no task with 'data'"),
        ("[]", "has no task"),
        ('[{"data": {"image": "a.jpg"}, "annotations": []}]', "holds no result"),
    ],
)
def test_refusals(tmp_path: Path, ranktag: Ranktag, text: str, reason: str) -> None:
    (tmp_path / "x.json").write_text(text, encoding="utf-8")
    ranktag("prepare", "label-studio", tmp_path / "x.json", "-o", tmp_path / "t.csv").assert_refused(reason)
