"""``ranktag prepare fiftyone``: labels.json of classifications and detections."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from outcome import Outcome

from ranktag.tags.lists import read_tag_lists
from ranktag.tags.readers.fiftyone import FiftyOneConfig, read

Ranktag = Callable[..., Outcome]


def save(folder: Path, labels: dict[str, Any], photos: tuple[str, ...] = ()) -> Path:
    content = {"classes": ["cat", "dog"], "labels": labels}
    (folder / "labels.json").write_text(json.dumps(content), encoding="utf-8")
    for name in photos:
        (folder / "data" / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / "data" / name).write_bytes(b"")
    return folder


def test_detections_by_area_and_photos_by_their_stems(tmp_path: Path, ranktag: Ranktag) -> None:
    labels = {
        "a": [
            {"label": 0, "bounding_box": [0.1, 0.1, 0.2, 0.2], "confidence": 0.9},
            {"label": "tree", "bounding_box": [0.9, 0.5, 0.5, 0.5], "confidence": 0.2},  # 0.1 x 0.5 inside: 0.05
            {"label": 1, "bounding_box": [0, 0, 0.3, 0.3], "confidence": None, "attributes": {"iscrowd": False}},
            {"label": "sky", "bounding_box": [0, 0, -1, 0.5]},
        ],
        "trip/b.c": [],
        "gone": [{"label": 0}],
        "twice": [{"label": 0}],
        "trip/b.c.png": [{"label": 0}],
        "nothing": None,
    }
    photos = ("a.JPG", "trip/b.c.png", "twice.jpg", "twice.png", "nothing.jpg", ".hidden.jpg")
    done = ranktag("prepare", "fiftyone", save(tmp_path, labels, photos), "-o", tmp_path / "t.csv")
    assert done.code == 1
    assert done.err.splitlines() == [
        "files skipped: 3",
        "  gone is for 'gone', and there is no such photo",
        "  twice may be for any of twice.jpg, twice.png; keep one",
        "  trip/b.c is of 'trip/b.c.png', and so is trip/b.c.png; keep one, or tell the photos apart",
    ]
    assert "dropped: 1 images that are unlabelled (null)" in done.out
    assert "objects without an area, placed last: 1 (sky in a.JPG)" in done.out
    lists = {"a.JPG": [("dog", "tree", "cat", "sky")], "trip/b.c.png": [("cat",)]}
    assert read_tag_lists(tmp_path / "t.csv").lists == lists
    assert read(tmp_path / "labels.json", FiftyOneConfig()).lists == lists
    ordered = read(tmp_path, FiftyOneConfig(order="confidence")).lists["a.JPG"]
    assert ordered == [("cat", "tree", "dog", "sky")]


@pytest.mark.parametrize(
    ("target", "tags"),
    [
        (1, ("dog",)),
        ("zebra", ("zebra",)),
        ({"label": 0, "confidence": 0.5}, ("cat",)),
        # A ranked list, whose confidences are not its order.
        ([{"label": "sea", "confidence": 0.4}, {"label": "sand", "confidence": 0.9}], ("sea", "sand")),
    ],
)
def test_classifications_keep_their_order(tmp_path: Path, target: Any, tags: tuple[str, ...]) -> None:
    builder = read(save(tmp_path, {"x/a.jpg": target}), FiftyOneConfig())
    assert builder.lists == {"x/a.jpg": [tags]} and not builder.notes


def test_confidences_and_names_without_an_extension(tmp_path: Path) -> None:
    labels = [{"label": "sea", "confidence": 0.4}, {"label": "sand", "confidence": 0.9}, {"label": "sky"}]
    builder = read(save(tmp_path, {"a": labels}), FiftyOneConfig(order="confidence"))
    assert builder.lists == {"a": [("sand", "sea", "sky")]}
    assert any("--match stem" in note for note in builder.notes)


def test_bad_labels_are_listed(tmp_path: Path) -> None:
    labels = {"a.jpg": [2], "b.jpg": [-1], "c.jpg": [True], "d.jpg": [{}], "e.jpg": [[]], "../f.jpg": [0], "g.jpg": [0]}
    builder = read(save(tmp_path, labels), FiftyOneConfig())
    assert builder.lists == {"g.jpg": [("cat",)]}
    assert [where for where, _ in builder.broken] == ["a.jpg", "b.jpg", "c.jpg", "d.jpg", "e.jpg", "../f.jpg"]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "is empty"),
        ('{"samples": []}', "has no 'labels'"),
        ('{"labels": {}}', "holds no label"),
        ("3", "no 'labels'"),
    ],
)
def test_refusals(tmp_path: Path, ranktag: Ranktag, text: str, reason: str) -> None:
    (tmp_path / "labels.json").write_text(text, encoding="utf-8")
    ranktag("prepare", "fiftyone", tmp_path, "-o", tmp_path / "t.csv").assert_refused("labels.json", reason)
