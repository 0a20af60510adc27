"""``ranktag prepare voc``: boxes to tag lists."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from outcome import Outcome
from real_data import DATA

from ranktag.errors import RanktagError
from ranktag.tags.lists import read_tag_lists
from ranktag.tags.readers.voc import VocConfig, central_weight, read

SHARED = DATA / "voc2007"
Ranktag = Callable[..., Outcome]
Box = tuple[str, int, int, int, int]


def annotation(
    *boxes: Box, difficult: tuple[str, ...] = (), size: tuple[int, int] | None = (100, 100), name: str = "x.jpg"
) -> str:
    """An annotation of PASCAL VOC's form; a box is (class, xmin, ymin, xmax, ymax)."""
    objects = "".join(
        f"<object><name>{n}</name><difficult>{int(n in difficult)}</difficult><part><name>head</name></part>"
        f"<bndbox><xmin>{a}</xmin><ymin>{b}</ymin><xmax>{c}</xmax><ymax>{d}</ymax></bndbox></object>"
        for n, a, b, c, d in boxes
    )
    extent = f"<size><width>{size[0]}</width><height>{size[1]}</height></size>" if size else ""
    return f"<annotation><filename>{name}</filename>{extent}{objects}</annotation>"


def devkit(folder: Path, annotations: dict[str, str], **splits: str) -> Path:
    root = folder / "VOCdevkit" / "VOC2007"
    (root / "Annotations").mkdir(parents=True)
    for name, text in annotations.items():
        (root / "Annotations" / f"{name}.xml").write_text(text, encoding="utf-8")
    if splits:
        (root / "ImageSets" / "Main").mkdir(parents=True)
        for part, names in splits.items():
            (root / "ImageSets" / "Main" / f"{part}.txt").write_text(names, encoding="utf-8")
    return root


# Areas with both edges: dog 10 x 10 = 100, cat 30 x 30 = 900, second dog 20 x 20 = 400.
BOXES: tuple[Box, ...] = (("dog", 46, 46, 55, 55), ("cat", 71, 71, 100, 100), ("dog", 1, 1, 20, 20))


@pytest.mark.parametrize(
    ("order", "tags"),
    [
        ("annotation", ("dog", "cat")),
        ("largest", ("cat", "dog")),
        # Middle of the first dog: (50, 50), weight 1, 100; of the cat: (85, 85), weight 1 - 35/50, 270;
        # of the second dog: 400 x 0.2.
        ("central", ("cat", "dog")),
    ],
)
def test_orders(tmp_path: Path, order: str, tags: tuple[str, ...]) -> None:
    builder = read(devkit(tmp_path, {"000005": annotation(*BOXES)}), VocConfig(order=order))
    assert builder.lists == {"000005.jpg": [tags]}
    assert builder.dropped["repeats of a tag in its list"] == 1


def test_central_differs_from_largest(tmp_path: Path) -> None:
    # sofa: 40 x 40 = 1600 with its middle at (20, 20): weight 1 - 30/50 = 0.4, 640.
    # person: 30 x 30 = 900 in the middle.
    root = devkit(tmp_path, {"1": annotation(("sofa", 1, 1, 40, 40), ("person", 36, 36, 65, 65))})
    assert read(root, VocConfig(order="largest")).lists["1.jpg"] == [("sofa", "person")]
    assert read(root, VocConfig(order="central")).lists["1.jpg"] == [("person", "sofa")]


def test_central_weight_is_1_in_the_middle_one_half_half_way_and_0_in_a_corner() -> None:
    assert central_weight(150, 100, 300, 200) == 1
    assert central_weight(75, 50, 300, 200) == pytest.approx(0.5)
    assert central_weight(300, 0, 300, 200) == pytest.approx(0)
    assert central_weight(900, 900, 300, 200) == 0


def test_difficult_objects(tmp_path: Path) -> None:
    root = devkit(tmp_path, {"1": annotation(*BOXES, difficult=("cat",))})
    dropped = read(root, VocConfig())
    assert dropped.lists["1.jpg"] == [("dog",)]
    assert dropped.dropped["objects marked difficult"] == 1
    assert read(root, VocConfig(difficult="keep")).lists["1.jpg"] == [("cat", "dog")]


def test_splits_of_the_devkit(tmp_path: Path, ranktag: Ranktag) -> None:
    text = annotation(("dog", 1, 1, 5, 5))
    devkit(
        tmp_path,
        {"1": text, "2": text, "3": text, "4": text},
        train="1\n",
        val="2  1\n",
        trainval="1\n2\n",
        test="3\n9\n",
    )
    done = ranktag("prepare", "voc", tmp_path, "-o", tmp_path / "tags.csv")
    assert done.code == 1  # 9 is in test.txt and has no annotation, though 3 has one
    assert "9.xml is not there" in done.err
    assert "split: 1 train, 1 val, 1 test" in done.out
    assert "dropped: 1 images that are in no split" in done.out
    assert read_tag_lists(tmp_path / "tags.csv").split == {"1.jpg": "train", "2.jpg": "val", "3.jpg": "test"}


def test_a_split_without_any_annotation_is_counted_not_broken(tmp_path: Path) -> None:
    builder = read(devkit(tmp_path, {"1": annotation(*BOXES)}, train="1", test="8\n9"), VocConfig())
    assert builder.exit_code == 0
    assert builder.dropped["images of test, none of which is annotated"] == 2


def test_trainval_counts_as_train_only_where_there_is_neither(tmp_path: Path) -> None:
    builder = read(devkit(tmp_path, {"1": annotation(*BOXES)}, trainval="1"), VocConfig())
    assert builder.split == {"1.jpg": "train"}


def test_the_extension_is_the_annotations_and_the_prefix_goes_first(tmp_path: Path) -> None:
    root = devkit(tmp_path, {"1": annotation(*BOXES, name="whatever.PNG")})
    assert list(read(root, VocConfig(prefix="JPEGImages/")).lists) == ["JPEGImages/1.PNG"]


def test_broken_annotations_are_listed_and_skipped(tmp_path: Path, ranktag: Ranktag) -> None:
    bad = {"empty": "", "cut": annotation(*BOXES)[:80], "other": "<svg/>", "fine": annotation(*BOXES)}
    devkit(tmp_path, bad)
    done = ranktag("prepare", "voc", tmp_path, "-o", tmp_path / "tags.csv", "--quiet")
    assert done.code == 1
    assert done.out == ""
    assert done.err.splitlines()[0] == "files skipped: 3"
    for word in ("empty.xml is empty", "cut.xml is not well-formed", "other.xml is no PASCAL VOC annotation"):
        assert word in done.err
    assert list(read_tag_lists(tmp_path / "tags.csv").lists) == ["fine.jpg"]


def test_an_unusable_box_comes_last_and_no_size_breaks_only_central(tmp_path: Path) -> None:
    text = annotation(("dog", 1, 1, 9, 9), size=None).replace(
        "<object>", "<object><name>cat</name></object><object>", 1
    )
    root = devkit(tmp_path, {"1": text, "2": annotation(*BOXES)})
    builder = read(root, VocConfig())
    assert builder.lists["1.jpg"] == [("dog", "cat")]
    assert builder.notes["objects without an area, placed last"] == ["cat in 1.jpg"]
    central = read(root, VocConfig(order="central"))
    assert central.broken == [("Annotations/1.xml", "gives no image size, which the order 'central' needs")]
    assert list(central.lists) == ["2.jpg"]


def test_refusals(tmp_path: Path, ranktag: Ranktag) -> None:
    out = tmp_path / "tags.csv"
    ranktag("prepare", "voc", tmp_path / "none", "-o", out).assert_refused("none", "no such folder")
    ranktag("prepare", "voc", tmp_path, "-o", out).assert_refused("no folder Annotations", "VOCdevkit/VOC2007")
    root = devkit(tmp_path, {"1": annotation()}, train="1", val="1")
    ranktag("prepare", "voc", root, "-o", out).assert_refused("'1' is in train.txt and in val.txt")
    (root / "ImageSets" / "Main" / "val.txt").unlink()
    ranktag("prepare", "voc", root, "-o", out).assert_refused("holds no object")
    (tmp_path / "VOCdevkit" / "VOC2012" / "Annotations").mkdir(parents=True)
    ranktag("prepare", "voc", tmp_path, "-o", out).assert_refused("VOC2007, VOC2012", "name one")
    ranktag("prepare", "voc", tmp_path / "VOCdevkit" / "VOC2012", "-o", out).assert_refused("no *.xml file")
    assert not out.exists()
    out.write_text("precious", encoding="utf-8")
    ranktag("prepare", "voc", root, "-o", out).assert_refused("exists already", "--overwrite")
    assert out.read_text(encoding="utf-8") == "precious"


@pytest.mark.skipif(not SHARED.is_dir(), reason="PASCAL VOC 2007 is not beside the project")
def test_real_annotations_give_the_published_lists(tmp_path: Path) -> None:
    builder = read(SHARED / "VOCdevkit", VocConfig())
    with open(SHARED / "tags_largest_first.csv", encoding="utf-8", newline="") as file:
        expected = {row["image_id"]: (row["split"], row["tags"]) for row in csv.DictReader(file)}
    assert len(expected) == 5011
    assert {i: (s, "|".join(builder.lists[i][0])) for i, s in builder.split.items() if s != "test"} == expected
    assert len(builder.lists) == 9963
    assert builder.exit_code == 0


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_fuzzed_annotations_are_read_or_listed(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    good = annotation(*BOXES).encode()
    start = data.draw(st.integers(0, len(good)))
    length = data.draw(st.integers(0, 12))
    text = good[:start] + data.draw(st.binary(max_size=12)) + good[start + length :]
    if data.draw(st.booleans()):
        text = (
            data.draw(
                st.sampled_from(
                    [b"<?xml version='1.0' encoding='utf-16'?>", b"\xff\xfe", b"<?xml version='1.0' encoding='x'?>"]
                )
            )
            + text
        )
    folder = tmp_path_factory.mktemp("fuzz")
    root = devkit(folder, {"fine": annotation(*BOXES)})
    (root / "Annotations" / "fuzzed.xml").write_bytes(text)
    for order in ("largest", "central"):
        builder = read(root, VocConfig(order=order))
        builder.write(folder / "tags.csv")
        back = read_tag_lists(folder / "tags.csv").lists
        assert back == builder.lists
        assert ("fuzzed" in {name.split(".")[0] for name in back}) != bool(builder.broken)


@pytest.mark.parametrize("config", [{"order": "random"}, {"difficult": "maybe"}])
def test_wrong_settings_are_refused(config: dict[str, str]) -> None:
    with pytest.raises(RanktagError):
        VocConfig(**config)
