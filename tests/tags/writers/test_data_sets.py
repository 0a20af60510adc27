"""The formats of other tools' data sets: FiftyOne, Hugging Face, Parquet, Label Studio."""

from __future__ import annotations

import json
import math
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ranktag.errors import RanktagError
from ranktag.tags.outputs import Output, TaggedPhoto
from ranktag.tags.predictions import PredictedImage, SeenImage
from ranktag.tags.writers.label_studio import LabelStudioConfig

IMAGES = [
    PredictedImage("b/1.jpg", [("dog", 0.75), ("green grass", 1 / 3)]),
    PredictedImage("2.jpg", []),
    PredictedImage("é 3.jpg", [("sky|blue", math.nan)]),
]


def test_fiftyone_finds_photos_by_path_without_extension_or_by_absolute_path(tmp_path: Path) -> None:
    output = Output("fiftyone", tmp_path / "labels.json")
    twin = PredictedImage("2.png", [("cat", 0.5)])
    output.write([*IMAGES, twin])
    found = json.loads((tmp_path / "labels.json").read_text(encoding="utf-8"))
    assert found == {
        "classes": ["dog", "green grass", "sky|blue"],
        "labels": {
            "b/1": [{"label": "dog", "confidence": 0.75}, {"label": "green grass", "confidence": 0.333333}],
            "2": [],
            "é 3": [{"label": "sky|blue", "confidence": None}],
        },
    }
    assert output.failures[0][0] == "2.png" and "knows photos by '2'" in output.failures[0][1]
    for name in ("2.jpg", "2.png"):
        (tmp_path / name).write_text("")
    known = Output("fiftyone", tmp_path / "known.json", photos=tmp_path)
    known.write([PredictedImage("2.jpg", [("dog", 1.0)]), twin, PredictedImage("gone.jpg", [])])
    labels = json.loads((tmp_path / "known.json").read_text())["labels"]
    assert list(labels) == [str(tmp_path / "2.jpg"), str(tmp_path / "2.png")]
    assert [image_id for image_id, _ in known.failures] == ["gone.jpg"]
    empty = Output("fiftyone", tmp_path / "empty.json")
    empty.write([])
    assert json.loads((tmp_path / "empty.json").read_text()) == {"labels": {}, "classes": []}


def test_hugging_face_calls_a_tagged_photo_by_its_path_below_the_folder(tmp_path: Path) -> None:
    photo = TaggedPhoto("/photos/b/1.jpg", [("dog", 0.5)], Path("/photos/b/1.jpg"), "b/1.jpg")
    Output("jsonl", tmp_path / "metadata.jsonl").write([photo])
    assert json.loads((tmp_path / "metadata.jsonl").read_text()) == {
        "file_name": "b/1.jpg",
        "tags": ["dog"],
        "probabilities": [0.5],
    }


def test_parquet_holds_lists_and_the_split_if_it_is_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pq = pytest.importorskip("pyarrow.parquet")
    monkeypatch.setattr("ranktag.tags.writers.parquet.ROWS", 2)
    Output("parquet", tmp_path / "p.parquet").write(iter(IMAGES))
    table = pq.read_table(tmp_path / "p.parquet")
    assert {field.name: str(field.type) for field in table.schema} == {
        "image_id": "string",
        "tags": "list<element: string>",
        "probabilities": "list<element: double>",
    }
    assert [row["image_id"] for row in table.to_pylist()] == ["b/1.jpg", "2.jpg", "é 3.jpg"]
    assert [row["tags"] for row in table.to_pylist()] == [["dog", "green grass"], [], ["sky|blue"]]
    assert [row["probabilities"] for row in table.to_pylist()] == [[0.75, 1 / 3], [], [None]]
    Output("parquet", tmp_path / "seen.parquet").write([SeenImage("a.jpg", [("dog", 0.5)], "val")])
    assert pq.read_table(tmp_path / "seen.parquet").to_pylist()[0]["split"] == "val"
    Output("parquet", tmp_path / "none.parquet").write([])
    assert pq.read_table(tmp_path / "none.parquet").num_rows == 0


def test_parquet_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(RanktagError, match=r"pip install 'ranktag\[parquet\]'"):
        Output("parquet", tmp_path / "p.parquet")


def label_studio(folder: Path, settings: LabelStudioConfig | None = None) -> tuple[list[dict[str, Any]], Output]:
    output = Output("label-studio", folder, settings=settings, overwrite=True)
    output.write([*IMAGES, PredictedImage("7.jpg", [("dog", 0.5), ("7", 0.5)])])
    return json.loads((folder / "tasks.json").read_text(encoding="utf-8")), output


def test_label_studio_gets_tasks_with_ranked_tags_to_correct(tmp_path: Path) -> None:
    (first, second, third), output = label_studio(tmp_path)
    assert first == {
        "data": {
            "image": "/data/local-files/?d=b/1.jpg",
            "items": [{"id": "dog", "title": "dog"}, {"id": "green grass", "title": "green grass"}],
        },
        "predictions": [
            {
                "model_version": "ranktag",
                "score": 0.541667,
                "result": [
                    {
                        "from_name": "rank",
                        "to_name": "tags",
                        "type": "ranker",
                        "value": {"ranker": {"ranked": ["dog", "green grass"]}},
                    }
                ],
            }
        ],
    }
    assert second["predictions"] == [] and second["data"]["items"] == []
    assert third["data"]["image"] == "/data/local-files/?d=%C3%A9%203.jpg" and third["predictions"][0]["score"] is None
    assert output.failures[0][0] == "7.jpg" and "tag '7' is a whole number" in output.failures[0][1]


def test_the_interface_names_what_tasks_and_predictions_name(tmp_path: Path) -> None:
    ((first, *_), _) = label_studio(tmp_path)
    view = ET.parse(tmp_path / "labeling-config.xml").getroot()
    named = {child.tag: child.attrib for child in view}
    assert named["Image"]["value"] == "$image" and named["List"]["value"] == "$items"
    result = first["predictions"][0]["result"][0]
    assert (named["Ranker"]["name"], named["Ranker"]["toName"]) == (result["from_name"], result["to_name"])
    assert named["List"]["name"] == result["to_name"]
    assert [bucket.attrib["name"] for bucket in view.iter("Bucket")] == list(result["value"]["ranker"])


def test_people_choose_from_more_tags_than_the_ranked_ones(tmp_path: Path) -> None:
    (tmp_path / "offer").write_text("sky\ndog\n")
    settings = LabelStudioConfig(image_url="https://example.org/p/", offer=tmp_path / "offer", ranked=1)
    (first, second, _), _ = label_studio(tmp_path / "out", settings)
    assert [item["id"] for item in first["data"]["items"]] == ["dog", "green grass", "sky"]
    assert first["predictions"][0]["result"][0]["value"] == {"ranker": {"ranked": ["dog"]}}
    assert [item["id"] for item in second["data"]["items"]] == ["sky", "dog"]
    assert first["data"]["image"] == "https://example.org/p/b/1.jpg"
    Output("label-studio", tmp_path / "web").write([PredictedImage("https://example.org/a%20b.jpg", [])])
    (task,) = json.loads((tmp_path / "web" / "tasks.json").read_text())
    assert task["data"]["image"] == "https://example.org/a%20b.jpg"


@pytest.mark.parametrize("name", ["adobe-stock", "fiftyone", "label-studio", "parquet"])
def test_files_are_written_whole_or_not_at_all(name: str, tmp_path: Path) -> None:
    if name == "parquet":
        pytest.importorskip("pyarrow")
    path = tmp_path / "out"
    first = PredictedImage("first.jpg", [("dog", 0.5)])

    def failing() -> Iterator[PredictedImage]:
        yield PredictedImage("second.jpg", [("cat", 0.5)])
        raise RuntimeError("the model fails")

    def there() -> dict[str, bytes]:
        return {str(file.relative_to(tmp_path)): file.read_bytes() for file in tmp_path.rglob("*") if file.is_file()}

    with pytest.raises(RuntimeError, match="the model fails"):
        Output(name, path).write(failing())
    assert not any(tmp_path.iterdir())
    Output(name, path).write([first])
    before = there()
    with pytest.raises(RuntimeError, match="the model fails"):
        Output(name, path, overwrite=True).write(failing())
    assert there() == before and before
    # The same again is the same to the byte.
    Output(name, path, overwrite=True).write([first])
    assert there() == before
