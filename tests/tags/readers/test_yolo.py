"""``ranktag prepare yolo``: label files in shares of the image."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from outcome import Outcome

from ranktag.tags.lists import read_tag_lists
from ranktag.tags.readers.yolo import YoloConfig, read

Ranktag = Callable[..., Outcome]
# A dog of 0.2 x 0.2 = 0.04, a cat of 0.5 x 0.4 = 0.2, a dog of 0.3 x 0.3 = 0.09.
BOXES = "1 0.5 0.5 0.2 0.2\n0 0.5 0.5 0.5 0.4\n1 0.2 0.2 0.3 0.3\n"
YAML = "path: /content/pets\ntrain: images/train\nval: images/val\nnames:\n  0: cat\n  1: dog\n  2: no\n"


def lay(folder: Path, files: dict[str, str]) -> Path:
    """A folder of these files, by their paths."""
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")
    return folder


def test_ultralytics_layout(tmp_path: Path, ranktag: Ranktag) -> None:
    files = {
        "data.yaml": YAML,
        "labels/train/a.txt": BOXES,
        "images/train/a.JPG": "",
        "labels/train/b.c.txt": "",  # a photo of nothing
        "images/train/b.c.png": "",
        "labels/val/a.txt": "2 0.5 0.5 0.1 0.1\r\n1 0.5 0.5 0.05 0.05 0.87\r\n\r\n",
        "images/val/a.jpg": "",
        "images/val/unlabelled.jpg": "",
        "labels/train/.ipynb_checkpoints/a.txt": BOXES,
        "labels/train/._a.txt": "\x00\x05\x16",
        "labels/train.cache": "x",
        "README.txt": "a set of pets",
    }
    done = ranktag("prepare", "yolo", lay(tmp_path / "pets", files), "-o", tmp_path / "tags.csv")
    assert done.code == 0, done
    assert "dropped: 1 photos without a label file" in done.out
    assert "split: 2 train, 1 val, 0 test" in done.out
    written = read_tag_lists(tmp_path / "tags.csv")
    assert written.lists == {"train/a.JPG": [("cat", "dog")], "train/b.c.png": [()], "val/a.jpg": [("no", "dog")]}
    assert written.split == {"train/a.JPG": "train", "train/b.c.png": "train", "val/a.jpg": "val"}
    assert read(tmp_path / "pets", YoloConfig(order="annotation")).lists["train/a.JPG"] == [("dog", "cat")]


def test_other_layouts(tmp_path: Path) -> None:
    roboflow = lay(
        tmp_path / "roboflow",
        {
            "data.yaml": "train: ../train/images\nval: ../valid/images\nnc: 2\nnames: ['cat', 'dog']\n",
            "train/labels/a.txt": BOXES,
            "train/images/a.jpg": "",
            "valid/labels/b.txt": BOXES,
            "valid/images/b.jpg": "",
        },
    )
    builder = read(roboflow, YoloConfig())
    assert builder.split == {"train/images/a.jpg": "train", "valid/images/b.jpg": "val"}
    # LabelImg writes beside the photos.
    flat = lay(
        tmp_path / "flat",
        {"classes.txt": "\ufeffcat\ndog\n", "a.txt": BOXES, "a.jpg": "", "sub/b.txt": "", "sub/b.jpg": ""},
    )
    assert read(flat, YoloConfig()).lists == {"a.jpg": [("cat", "dog")], "sub/b.jpg": [()]}
    # Darknet's, as CVAT exports it, without the photos.
    darknet = lay(
        tmp_path / "darknet",
        {"obj.names": "cat\ndog\n", "train.txt": "data/obj_train_data/a.jpg\n", "obj_train_data/a.txt": BOXES},
    )
    builder = read(darknet, YoloConfig())
    assert builder.lists == {"obj_train_data/a": [("cat", "dog")]} and builder.exit_code == 0
    assert "--match stem" in next(iter(builder.notes))
    lists = lay(
        tmp_path / "lists",
        {
            "data.yaml": "path: ./lists\ntrain: train.txt\ntest: [test.txt]\nnames: [cat, dog]\n",
            "train.txt": "./images/a b.jpg\n",
            "test.txt": "/home/me/lists/images/c.jpg\nnot/there.jpg\n",
            **{
                f"{kind}/{name}": text
                for name in ("a b", "c", "d")
                for kind, name, text in [("labels", name + ".txt", BOXES)]
            },
            **{f"images/{name}.jpg": "" for name in ("a b", "c", "d")},
        },
    )
    builder = read(lists, YoloConfig())
    assert builder.split == {"a b.jpg": "train", "c.jpg": "test"}
    assert builder.dropped["images that are in no split of data.yaml"] == 1


def test_splits_by_folder_and_none_where_train_is_val(tmp_path: Path) -> None:
    files = {"classes.txt": "cat\ndog"} | {f"labels/{part}/x.txt": BOXES for part in ("train", "valid")}
    assert read(lay(tmp_path / "a", files), YoloConfig()).split == {"train/x": "train", "valid/x": "val"}
    same = {"data.yaml": "train: images/train\nval: images/train\nnames: [cat, dog]\n", "labels/train/x.txt": BOXES}
    builder = read(lay(tmp_path / "b", same | {"images/train/x.jpg": ""}), YoloConfig())
    assert builder.split == {} and "train and val name the same images, so no split is written" in builder.notes


@pytest.mark.parametrize(
    ("line", "area"),
    [
        ("1 0.5 0.5 0.4 0.4", 0.16),
        ("1.0 0.5 0.5 0.4 0.4 0.93", 0.16),  # a prediction and its confidence
        ("1 0 0 0.4 0 0.4 0.4", 0.08),  # an outline: a triangle
        ("1 0.1 0.1 0.5 0.1 0.5 0.5 0.1 0.5", 0.16),  # an oriented box
        ("1 0 0 0.4 0.4", 0.04),  # three quarters of it outside: 0.2 x 0.2 are inside
        ("1 1.005 0.5 0.4 1", 0.195),
    ],
)
def test_areas(tmp_path: Path, line: str, area: float) -> None:
    around = "".join(f"{number} 0.5 0.5 {area + sign * 1e-4!r} 1\n" for number, sign in ((0, -1), (2, 1)))
    files = {"classes.txt": "cat\ndog\nhen\n", "labels/a.txt": around + line, "images/a.jpg": ""}
    assert read(lay(tmp_path, files), YoloConfig()).lists == {"a.jpg": [("hen", "dog", "cat")]}


def test_poses_have_points_behind_the_box(tmp_path: Path) -> None:
    files = {
        "data.yaml": "names: [cat, dog]\nkpt_shape: [1, 2]\n",
        "labels/a.txt": "1 0.5 0.5 0.4 0.4 0.9 0.9\n0 0.5 0.5 0.3 0.3 0 0",
    }
    assert read(lay(tmp_path, files | {"images/a.jpg": ""}), YoloConfig()).lists == {"a.jpg": [("dog", "cat")]}


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("1 0.5 0.5 0.2\n", "line 1 is not of the form"),
        ("\n0 0.5 0.5 0.2 nan\n", "line 2 is not of the form"),
        ("0 0.5 0.5 inf 0.2\n", "line 1 is not of the form"),
        ("cat 0.5 0.5 0.2 0.2\n", "line 1 is not of the form"),
        ("7 0.5 0.5 0.2 0.2\n", "line 1 is of class 7, which has no name"),
        ("-1 0.5 0.5 0.2 0.2\n", "line 1 is of class -1"),
        ("0 320 240 100 80\n", "line 1 lies outside of the image"),
        ("0 0.1 0.1 0.2 0.2 0.3 0.3 0.4\n", "odd number of values"),
        ("\x00" * 20, "holds NUL bytes"),
        ("0 0.5 0.5 0.2 0.2\udcff\n", "is not UTF-8 text"),
    ],
)
def test_damaged_files_are_listed_and_the_others_read(tmp_path: Path, ranktag: Ranktag, text: str, reason: str) -> None:
    files = {"classes.txt": "cat\ndog\n", "labels/fine.txt": BOXES, "images/fine.jpg": "", "images/bad.jpg": ""}
    lay(tmp_path / "x", files)
    (tmp_path / "x/labels/bad.txt").write_bytes(text.encode("utf-8", "surrogateescape"))
    done = ranktag("prepare", "yolo", tmp_path / "x", "-o", tmp_path / "t.csv")
    assert done.code == 1 and done.err.startswith("files skipped: 1\n  labels/bad.txt ") and reason in done.err
    assert list(read_tag_lists(tmp_path / "t.csv").lists) == ["fine.jpg"]


def test_labels_without_their_photo_and_photos_of_one_name(tmp_path: Path) -> None:
    files = {"classes.txt": "cat\ndog\n", **{f"labels/{name}.txt": BOXES for name in ("a", "gone", "two")}}
    builder = read(
        lay(tmp_path, files | {"images/a.jpg": "", "images/two.jpg": "", "images/two.png": ""}), YoloConfig()
    )
    assert builder.broken == [
        ("labels/gone.txt", "is for 'images/gone', and there is no such photo"),
        ("labels/two.txt", "may be for any of images/two.jpg, images/two.png; keep one"),
    ]
    assert list(builder.lists) == ["a.jpg"]


@pytest.mark.parametrize(
    ("files", "reason"),
    [
        ({"labels/a.txt": BOXES}, "holds no data.yaml with names"),
        ({"classes.txt": "cat\n"}, "holds no label file"),
        ({"classes.txt": "\n\n", "labels/a.txt": BOXES}, "has no class name"),
        ({"a.yaml": "names: [x]", "b.yaml": "names: [y]", "labels/a.txt": BOXES}, "name one of them with --names"),
        ({"data.yaml": "names: [x\n", "labels/a.txt": BOXES}, "cannot be read as YAML"),
        ({"classes.txt": "cat\ndog", "labels/a.txt": ""}, "holds no box"),
        ({}, "is no folder"),
    ],
)
def test_refusals(tmp_path: Path, ranktag: Ranktag, files: dict[str, str], reason: str) -> None:
    lay(tmp_path / "x", files)
    ranktag("prepare", "yolo", tmp_path / "x", "-o", tmp_path / "t.csv").assert_refused(reason)


def test_names_can_be_elsewhere(tmp_path: Path) -> None:
    source = lay(tmp_path / "x", {"labels/a.txt": BOXES, "images/a.jpg": ""})
    for name, text in {"n.txt": "cat\ndog\n", "n.yml": "names: {0: cat, 1: dog}"}.items():
        lay(tmp_path, {name: text})
        assert read(source, YoloConfig(names=tmp_path / name)).lists == {"a.jpg": [("cat", "dog")]}


def test_labelformat_reads_the_same_boxes(tmp_path: Path) -> None:
    yolo = pytest.importorskip("labelformat.formats.yolov8", reason="labelformat, the reference, is not installed")
    from PIL import Image

    lay(tmp_path, {"data.yaml": YAML.replace("/content/pets", "."), "labels/train/a.txt": BOXES, "images/train/x": ""})
    Image.new("RGB", (200, 100)).save(tmp_path / "images/train/a.png")
    (labels,) = yolo.YOLOv8ObjectDetectionInput(input_file=tmp_path / "data.yaml", input_split="train").get_labels()
    areas: dict[str, float] = {}
    for thing in labels.objects:
        area = (thing.box.xmax - thing.box.xmin) * (thing.box.ymax - thing.box.ymin)
        areas[thing.category.name] = max(area, areas.get(thing.category.name, 0))
    assert read(tmp_path, YoloConfig()).lists == {"train/a.png": [tuple(sorted(areas, key=lambda n: -areas[n]))]}
