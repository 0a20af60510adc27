"""``ranktag prepare open-images``: boxes and image labels."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from outcome import Outcome

from ranktag.tags.lists import read_tag_lists
from ranktag.tags.readers.open_images import OpenImagesConfig, read

Ranktag = Callable[..., Outcome]
HEADER = (
    "ImageID,Source,LabelName,Confidence,XMin,XMax,YMin,YMax,IsOccluded,IsTruncated,IsGroupOf,IsDepiction,IsInside\n"
)
BOXES = HEADER + (
    "000a,xclick,/m/dog,1,0.1,0.3,0.1,0.3,0,0,0,0,0\n"  # 0.04
    "000a,xclick,/m/cat,1,0.5,0.9,0.5,1.0,0,0,0,0,0\n"  # 0.2
    "000a,xclick,/m/dog,1,0.0,0.3,0.0,0.3,0,0,0,0,0\n"  # 0.09
    "000b,activemil,/m/tree,1,-0.5,0.5,0.5,1.5,0,0,1,0,0\n"  # a quarter of it inside: 0.25
    "000b,xclick,/m/dog,1,0.0,0.6,0.0,0.5,0,0,0,0,0\n"  # 0.3
    "000b,xclick,/m/what,1,0.0,0.6,0.0,0.6,0,0,0,0,0\n"
)
LABELS = (
    "ImageID,Source,LabelName,Confidence\n"
    "000a,verification,/m/sky,0.7\n000a,verification,/m/sea,0.9\n000a,verification,/m/dog,1\n"
    "000a,verification,/m/car,0\n000c,verification,/m/sea,1\n000d,verification,/m/car,0\n"
)
CLASSES = 'LabelName,DisplayName\n/m/dog,Dog\n/m/cat,Cat\n/m/tree,"Tree, large"\n/m/sky,Sky\n/m/sea,Sea\n/m/car,Car\n'


def save(folder: Path, **texts: str) -> Path:
    for name, text in texts.items():
        (folder / f"{name.replace('_', '-')}.csv").write_text(text, encoding="utf-8")
    return folder


def test_boxes_by_area_then_labels_by_confidence(tmp_path: Path, ranktag: Ranktag) -> None:
    save(tmp_path, train_annotations_bbox=BOXES, train_imagelabels=LABELS, oidv7_class_descriptions=CLASSES)
    sources = (tmp_path / "train-annotations-bbox.csv", tmp_path / "train-imagelabels.csv")
    done = ranktag("prepare", "open-images", *sources, "-o", tmp_path / "t.csv")
    assert done.code == 0, done
    assert "dropped: 1 labels that the class descriptions do not name" in done.out
    assert "dropped: 2 labels of confidence 0" in done.out
    assert "note: boxes of groups, which are objects like others: 1 (Tree, large)" in done.out
    written = read_tag_lists(tmp_path / "t.csv")
    assert written.lists == {
        "000a.jpg": [("Cat", "Dog", "Sea", "Sky")],
        "000b.jpg": [("Dog", "Tree, large")],
        "000c.jpg": [("Sea",)],
        "000d.jpg": [()],
    }
    assert set((written.split or {}).values()) == {"train"} and len(written.split or {}) == 4
    without = read(sources[:1], OpenImagesConfig(groups="drop"))
    assert without.lists["000b.jpg"] == [("Dog",)] and without.dropped["boxes of groups"] == 1


def test_class_descriptions_without_a_header_elsewhere(tmp_path: Path) -> None:
    save(tmp_path, boxes=BOXES)
    (tmp_path / "other").mkdir()
    save(tmp_path / "other", names=CLASSES.partition("\n")[2])
    config = OpenImagesConfig(classes=tmp_path / "other/names.csv")
    builder = read([tmp_path / "boxes.csv"], config)
    assert builder.lists["000a.jpg"] == [("Cat", "Dog")] and builder.split == {}


def test_bad_rows_are_listed_and_the_others_read(tmp_path: Path, ranktag: Ranktag) -> None:
    bad = (
        "000e,xclick,/m/dog,1,0.1,nan,0.1,0.3,0,0,0,0,0\n"
        "000e,xclick,/m/dog,1,0.1,inf,0.1,0.3,0,0,0,0,0\n"
        "000e,xclick,/m/dog,1,100,200,100,200,0,0,0,0,0\n"
        ",xclick,/m/dog,1,0.1,0.2,0.1,0.3,0,0,0,0,0\n"
        "000e,xclick\n"
    )
    save(tmp_path, boxes=BOXES + bad, class_descriptions=CLASSES)
    done = ranktag("prepare", "open-images", tmp_path / "boxes.csv", "-o", tmp_path / "t.csv")
    assert done.code == 1 and "rows skipped: 5" in done.err
    for line in range(8, 13):
        assert f"boxes.csv: line {line} " in done.err
    assert set(read_tag_lists(tmp_path / "t.csv").lists) == {"000a.jpg", "000b.jpg"}


@pytest.mark.parametrize(
    ("texts", "reason"),
    [
        ({"boxes": BOXES}, "holds no class-descriptions.csv"),
        ({"boxes": "a,b\n1,2\n", "class_descriptions": CLASSES}, "no column 'ImageID'"),
        ({"boxes": HEADER, "class_descriptions": CLASSES}, "holds no label"),
        ({"boxes": BOXES, "class_descriptions": "x\n"}, "is no table of labels"),
        ({"boxes": BOXES, "class_descriptions": "LabelName,DisplayName\n"}, "holds no class-descriptions.csv"),
    ],
)
def test_refusals(tmp_path: Path, ranktag: Ranktag, texts: dict[str, str], reason: str) -> None:
    save(tmp_path, **texts)
    ranktag("prepare", "open-images", tmp_path / "boxes.csv", "-o", tmp_path / "t.csv").assert_refused(reason)


def test_an_image_in_two_splits(tmp_path: Path, ranktag: Ranktag) -> None:
    save(tmp_path, train_boxes=BOXES, validation_boxes=BOXES, class_descriptions=CLASSES)
    ranktag(
        "prepare",
        "open-images",
        tmp_path / "train-boxes.csv",
        tmp_path / "validation-boxes.csv",
        "-o",
        tmp_path / "t.csv",
    ).assert_refused("'000a.jpg' is in 'train' and in 'val'")
