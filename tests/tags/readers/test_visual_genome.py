"""``ranktag prepare visual-genome``: objects.json and image_data.json."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from outcome import Outcome

from ranktag.tags.lists import read_tag_lists
from ranktag.tags.readers.visual_genome import VisualGenomeConfig, read

Ranktag = Callable[..., Outcome]
URL = "https://cs.stanford.edu/people/rak248/VG_100K_2/{}.jpg"


def thing(name: Any, width: Any, height: Any = 10, synset: str | None = None, x: float = 0) -> dict[str, Any]:
    return {"x": x, "y": 0, "w": width, "h": height, "names": [name], "synsets": [synset] if synset else []}


def save(folder: Path, images: list[Any], data: list[Any] | None = None) -> Path:
    (folder / "objects.json").write_text(json.dumps(images), encoding="utf-8")
    if data is not None:
        (folder / "image_data.json").write_text(json.dumps(data), encoding="utf-8")
    return folder


def where(number: int, **more: Any) -> dict[str, Any]:
    return {"image_id": number, "url": URL.format(number), "width": 100, "height": 100, **more}


def test_objects_by_area_and_photos_by_their_urls(tmp_path: Path, ranktag: Ranktag) -> None:
    images = [
        {
            "image_id": 1,
            "objects": [
                thing("Trees ", 20, synset="tree.n.01"),
                thing("street  light", 30, synset="street_light.n.01"),
                thing("trees", 50),
                thing("sky", 900, 10, x=60),  # 40 x 10 inside
                thing("", 99),
                thing("bolt", -3),
                "junk",
            ],
        },
        {"image_id": 2, "objects": []},
        {"image_id": 3, "objects": [thing("dog", 3)]},
        {"image_id": 4, "objects": [thing("dog", 3)]},
        {"image_id": 4, "objects": [thing("cat", 3)]},
        {"image_id": 5, "objects": [thing("cat", 3)]},
        {"objects": []},
    ]
    data = [where(1), where(2), where(4), where(5), where(5, url=URL.format("other")), {"id": 9}]
    done = ranktag("prepare", "visual-genome", save(tmp_path, images, data), "-o", tmp_path / "t.csv")
    assert done.code == 1
    assert done.err.splitlines() == [
        "files skipped: 6",
        "  image_data.json: [5] names no image",
        "  image 3 is not in image_data.json with a photo of its own",
        "  image 4 is listed twice; keep one",
        "  image 4 is listed twice; keep one",
        "  image 5 is not in image_data.json with a photo of its own",
        "  image 6 has no image_id, or no list 'objects'",
    ]
    assert "dropped: 2 objects without a name" in done.out
    tags = ("trees", "sky", "street light", "bolt")
    assert read_tag_lists(tmp_path / "t.csv").lists == {"VG_100K_2/1.jpg": [tags], "VG_100K_2/2.jpg": [()]}
    synsets = read(tmp_path / "objects.json", VisualGenomeConfig(names="synset"))
    assert synsets.lists["VG_100K_2/1.jpg"] == [("trees", "sky", "street light", "tree", "bolt")]
    (tmp_path / "aliases.csv").write_text("name,tag\ntrees,tree\nsky,\n", encoding="utf-8")
    mended = read(tmp_path, VisualGenomeConfig(aliases=tmp_path / "aliases.csv", order="annotation"))
    assert mended.lists["VG_100K_2/1.jpg"] == [("tree", "street light", "bolt")]


def test_without_image_data_and_with_older_keys(tmp_path: Path) -> None:
    images = [{"id": 7, "objects": [thing("dog", 3), thing("cat", 3)]}, {"id": 8, "objects": [thing("dog", 3)]}]
    builder = read(save(tmp_path, images), VisualGenomeConfig(min_count=2))
    assert builder.lists == {"7.jpg": [("dog",)], "8.jpg": [("dog",)]}
    assert any("image_data.json is not there" in note for note in builder.notes)


@pytest.mark.parametrize(
    ("text", "reason"),
    [("", "is empty"), ("{}", "is no list"), ("[]", "holds no object"), ("[1, null]", "holds no object")],
)
def test_refusals(tmp_path: Path, ranktag: Ranktag, text: str, reason: str) -> None:
    (tmp_path / "objects.json").write_text(text, encoding="utf-8")
    ranktag("prepare", "visual-genome", tmp_path, "-o", tmp_path / "t.csv").assert_refused("objects.json", reason)
