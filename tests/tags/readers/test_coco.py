"""``ranktag prepare coco``: instances, with and without captions."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from outcome import Outcome

from ranktag.tags.lists import read_tag_lists
from ranktag.tags.readers.coco import CocoConfig, read

Ranktag = Callable[..., Outcome]
CATEGORIES = [{"id": 1, "name": "person"}, {"id": 18, "name": "dog"}, {"id": 37, "name": "sports ball"}]
PERSON, DOG, BALL = 1, 18, 37


def image(key: Any, name: str, **more: Any) -> dict[str, Any]:
    return {"id": key, "file_name": name, "width": 100, "height": 100, **more}


def thing(image_id: Any, category: Any, **more: Any) -> dict[str, Any]:
    return {"image_id": image_id, "category_id": category, "iscrowd": 0, **more}


def save(folder: Path, name: str, images: Sequence[Any], annotations: Sequence[Any], **more: Any) -> Path:
    content = {"images": images, "annotations": annotations, "categories": CATEGORIES} | more
    (folder / name).write_text(json.dumps(content), encoding="utf-8")
    return folder / name


def test_the_largest_object_of_a_category_counts_and_the_splits_are_in_the_names(
    tmp_path: Path, ranktag: Ranktag
) -> None:
    train = save(
        tmp_path,
        "instances_train2017.json",
        [image(1, "a.jpg"), image(2, "b.jpg")],
        # Two persons of 300 are not larger than one dog of 500.
        [thing(1, PERSON, area=300), thing(1, DOG, area=500), thing(1, PERSON, area=300), thing(1, BALL, area=2.5)],
    )
    val = save(tmp_path, "instances_validation.json", [image(1, "c.jpg")], [thing(1, BALL, area=1)])
    done = ranktag("prepare", "coco", train, val, "-o", tmp_path / "tags.csv")
    assert done.code == 0, done
    assert (
        "3 images, 3 lists" in done.out and "dropped: 1 repeats of a tag" in done.out and "empty lists: 1" in done.out
    )
    written = read_tag_lists(tmp_path / "tags.csv")
    assert written.lists == {"a.jpg": [("dog", "person", "sports ball")], "b.jpg": [()], "c.jpg": [("sports ball",)]}
    assert written.split == {"a.jpg": "train", "b.jpg": "train", "c.jpg": "val"}
    assert read([train], CocoConfig(order="annotation")).lists["a.jpg"] == [("person", "dog", "sports ball")]
    other = save(tmp_path, "mine.json", [image(1, "d.jpg")], [thing(1, DOG, area=1)])
    assert read([train, other], CocoConfig()).split == {}


@pytest.mark.parametrize(
    ("given", "area"),
    [
        ({"area": 7}, 7),
        ({"area": "7.5", "bbox": [0, 0, 50, 50]}, 7.5),
        # No area of which one could speak: the outline's, a triangle of 10 x 10 / 2 and a square of 5 x 5.
        ({"area": 0, "segmentation": [[0, 0, 10, 0, 0, 10], [20, 20, 25, 20, 25, 25, 20, 25]]}, 75),
        ({"area": float("nan"), "segmentation": {"size": [10, 10], "counts": [3, 4, 50, 6, 37]}}, 10),
        # The box's, and only what lies inside of the image of 100 x 100.
        ({"area": -5, "segmentation": [], "bbox": [10, 10, 20, 30]}, 600),
        ({"area": float("inf"), "bbox": [-10, 90, 30, 30]}, 200),
        ({"segmentation": {"counts": "PPYo1", "size": [10, 10]}, "bbox": [90, 90, 1e300, 1e300]}, 100),
        ({"area": 1e9}, 10_000),
        ({"bbox": [200, 200, 10, 10]}, None),
        ({"bbox": [0, 0, -10, 10]}, None),
        ({"bbox": [0, 0, "x", 10], "segmentation": [["a"], [1, 2]], "area": None}, None),
        ({}, None),
    ],
)
def test_areas(tmp_path: Path, given: dict[str, Any], area: float | None) -> None:
    # Beside an object that is a little smaller, and one a little larger.
    others = [] if area is None else [thing(1, PERSON, area=area - 0.1), thing(1, BALL, area=min(area + 0.1, 10_000))]
    builder = read([save(tmp_path, "x.json", [image(1, "a.jpg")], [thing(1, DOG, **given), *others])], CocoConfig())
    if area is None:
        assert builder.notes["objects without an area, placed last"] == ["dog in a.jpg"]
    elif area == 10_000:
        assert builder.lists == {"a.jpg": [("dog", "sports ball", "person")]}
    else:
        assert builder.lists == {"a.jpg": [("sports ball", "dog", "person")]}


def test_crowds_are_counted(tmp_path: Path) -> None:
    crowd = thing(1, PERSON, area=900) | {"iscrowd": 1}
    path = save(tmp_path, "x.json", [image(1, "a.jpg")], [thing(1, DOG, area=10), crowd])
    kept = read([path], CocoConfig())
    assert kept.lists == {"a.jpg": [("person", "dog")]}
    assert kept.notes["crowds, which are objects like others"] == ["person"]
    dropped = read([path], CocoConfig(crowds="drop"))
    assert dropped.lists == {"a.jpg": [("dog",)]} and dropped.dropped["crowds"] == 1


def test_what_cannot_be_told_apart_is_skipped_and_listed(tmp_path: Path, ranktag: Ranktag) -> None:
    images = [
        image(1, "a.jpg"),
        image(2, "two.jpg"),
        image(2, "three.jpg"),
        image(4, "same.jpg"),
        image(5, "./same.jpg"),
        image(6, "twice.jpg"),
        image(6, "twice.jpg"),
        image(7, "../up.jpg"),
        {"id": 8},
        "nothing",
        image(None, "x.jpg"),
    ]
    things = [thing(i, DOG, area=5) for i in (1, 2, 4, 5, 6, 7, 99)]
    done = ranktag("prepare", "coco", save(tmp_path, "x.json", images, things), "-o", tmp_path / "tags.csv")
    assert done.code == 1
    assert done.err.splitlines() == [
        "files skipped: 8",
        "  x.json: images[7] names an image outside of the image folder, or a folder ('../up.jpg')",
        "  x.json: images[8] names no image",
        "  x.json: images[9] has no id",
        "  x.json: images[10] has no id",
        "  x.json: images[1] has the id 2, as another; whose objects are whose cannot be told",
        "  x.json: images[2] has the id 2, as another; whose objects are whose cannot be told",
        "  x.json: images[3] is called 'same.jpg', as another; they may be different photos",
        "  x.json: images[4] is called 'same.jpg', as another; they may be different photos",
    ]
    assert "dropped: 1 images listed twice" in done.out
    assert "dropped: 5 objects of images that the file does not list, or that were skipped" in done.out
    assert read_tag_lists(tmp_path / "tags.csv").lists == {"a.jpg": [("dog",)], "twice.jpg": [("dog",)]}


def test_ids_are_numbers_or_text_and_names_paths_or_urls(tmp_path: Path) -> None:
    images = [image("1", "sub\\a b.jpg"), image(2.0, "http://images.cocodataset.org/val2017/b%20c.jpg?x=1")]
    things = [thing(1, "18", area=1), thing("2", DOG, area=1), thing(2, 99, area=5), thing([2], {}, area=5), "x"]
    builder = read([save(tmp_path, "x.json", images, things)], CocoConfig())
    assert builder.lists == {"sub/a b.jpg": [("dog",)], "val2017/b c.jpg": [("dog",)]}
    assert builder.dropped["objects of categories that the file does not list"] == 1


CAPTIONS = [
    {"image_id": 9, "caption": "A puppy jumps over two men."},
    {"image_id": 9, "caption": "A man throws a ball, a dog and a cat watch the man."},
    {"image_id": 9, "caption": "A sunny day"},
    {"image_id": 8, "caption": "A dog"},
    {"image_id": 7, "caption": None},
]


def test_captions_rank_the_detected_categories(tmp_path: Path, ranktag: Ranktag) -> None:
    things = [thing(1, PERSON, area=9), thing(1, DOG, area=5), thing(2, DOG, area=5)]
    instances = save(tmp_path, "instances_val.json", [image(1, "a.jpg"), image(2, "b.jpg")], things)
    # Ids are each file's own: photos are joined by their names.
    captions = save(tmp_path, "captions_val.json", [image(9, "a.jpg"), image(8, "else.jpg")], CAPTIONS)
    done = ranktag("prepare", "coco", captions, instances, "-o", tmp_path / "tags.csv")
    assert done.code == 0, done
    assert "captions of images whose objects no file lists" in done.out
    assert "dropped: 1 images without a caption" in done.out
    written = read_tag_lists(tmp_path / "tags.csv")
    # A ball is mentioned, and none was detected.
    assert written.lists == {"a.jpg": [("dog", "person"), ("person", "dog"), ()]}
    assert written.split == {"a.jpg": "val"}
    last = read([instances, captions], CocoConfig(unmentioned="last"))
    assert last.lists["a.jpg"] == [("dog", "person"), ("person", "dog"), ("person", "dog")]
    (tmp_path / "words.csv").write_text("name,tag\nsunny day,Dog\nman,nothing\n", encoding="utf-8")
    mine = read([instances, captions], CocoConfig(synonyms=tmp_path / "words.csv"))
    assert mine.lists["a.jpg"] == [(), ("dog",), ("dog",)]
    ranktag("prepare", "coco", captions, "-o", tmp_path / "t.csv").assert_refused("holds captions and no objects")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "is empty"),
        ("[1", "is not JSON"),
        ("[" * 100_000, "is nested too deeply"),
        ("[]", "has no list 'images'"),
        ('{"images": [], "annotations": 3}', "has no list 'annotations'"),
        ('{"images": [], "annotations": []}', "holds no object of COCO's form"),
        (
            '{"images": [], "annotations": [], "categories": [{"id": 1, "name": "a"}, {"id": 1, "name": "b"}]}',
            "the category 1 is 'a' and 'b'",
        ),
    ],
)
def test_refusals(tmp_path: Path, ranktag: Ranktag, text: str, reason: str) -> None:
    (tmp_path / "x.json").write_text(text, encoding="utf-8")
    ranktag("prepare", "coco", tmp_path / "x.json", "-o", tmp_path / "t.csv").assert_refused("x.json", reason)


def test_a_byte_order_mark_and_tags_with_a_pipe(tmp_path: Path) -> None:
    path = save(tmp_path, "x.json", [image(1, "a.jpg")], [thing(1, 5)], categories=[{"id": 5, "name": "car|van"}])
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert read([path], CocoConfig()).lists == {"a.jpg": [("car/van",)]}


def test_labelformat_reads_the_same_boxes(tmp_path: Path) -> None:
    coco = pytest.importorskip("labelformat.formats.coco", reason="labelformat, the reference, is not installed")
    boxes = {DOG: [5, 5, 30, 20], PERSON: [0, 0, 10, 10], BALL: [40, 40, 25, 25]}
    things = [thing(1, category, bbox=box) for category, box in boxes.items()]
    path = save(tmp_path, "x.json", [image(1, "a.jpg")], things)
    (labels,) = coco.COCOObjectDetectionInput(input_file=path).get_labels()
    areas = {o.category.name: (o.box.xmax - o.box.xmin) * (o.box.ymax - o.box.ymin) for o in labels.objects}
    assert read([path], CocoConfig()).lists == {labels.image.filename: [tuple(sorted(areas, key=lambda n: -areas[n]))]}
