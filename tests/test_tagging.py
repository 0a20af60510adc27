"""``ranktag tag``: the tags that extract-features and export-tags give, in every format; broken photos are listed."""

from __future__ import annotations

import csv
import io
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from tiny_backbone import tiny_network

from ranktag.config import DemoConfig, ExtractionConfig, TrainingConfig
from ranktag.features.backbone import Backbone
from ranktag.features.extract import extract_features
from ranktag.features.network import Network
from ranktag.recipes.demo_scenes import draw_scenes
from ranktag.tags.predictions import read_predictions
from ranktag.training.train import train


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tagging")
    draw_scenes(folder / "photos", folder / "tags.csv", DemoConfig(scenes=20))
    extract_features(
        folder / "photos", folder / "f.h5", ExtractionConfig(weights="random:3", dtype="float32", precision="fp32")
    )
    train(
        folder / "f.h5",
        folder / "tags.csv",
        folder / "run",
        TrainingConfig(hidden=16, projection=16, epochs=3, precision="fp32"),
    )
    return folder


def test_tags_are_those_of_the_two_stages(ranktag: Callable, made: Path, tmp_path: Path) -> None:
    options = ("--num-tags", 3, "--precision", "fp32")
    assert ranktag("export-tags", made / "f.h5", "--model", made / "run", "-o", tmp_path / "p.csv", *options).code == 0
    expected = read_predictions(tmp_path / "p.csv")
    outcome = ranktag("tag", made / "photos", "--model", made / "run", "--format", "json", *options)
    assert outcome.code == 0, outcome
    for image in json.loads(outcome.out):
        tags = expected[Path(image["image"]).name]
        assert [tag["tag"] for tag in image["tags"]] == [tag for tag, _ in tags]
        assert [tag["probability"] for tag in image["tags"]] == pytest.approx([p for _, p in tags], abs=1e-4)


def test_every_format_says_the_same_and_a_broken_photo_is_listed(ranktag: Callable, made: Path, tmp_path: Path) -> None:
    photo = next(p for p in sorted((made / "photos").iterdir()) if p.suffix == ".jpg")
    broken = tmp_path / "broken.jpg"
    broken.write_text("not an image")
    call = ("tag", photo, broken, "--model", made / "run", "--num-tags", 2)
    table, lines, text = (ranktag(*call, "--format", name) for name in ("table", "lines", "csv"))
    assert table.code == lines.code == text.code == 1
    assert all("broken.jpg" in outcome.err and outcome.err.count("\n") == 1 for outcome in (table, lines, text))
    rows = list(csv.DictReader(io.StringIO(text.out)))
    assert [row["rank"] for row in rows] == ["1", "2"] and {row["image_id"] for row in rows} == {str(photo)}
    assert lines.out == f"{photo}\t{rows[0]['tag']}|{rows[1]['tag']}\n"
    assert table.out.splitlines()[0] == str(photo) and rows[0]["tag"] in table.out.splitlines()[1]


def test_the_network_is_the_models_own_and_loaded_once(
    ranktag: Callable, made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded: list[tuple[object, ...]] = []

    def load(backbone: Backbone, *arguments: object, **named: object) -> Network:
        loaded.append((backbone.name, *arguments))
        return tiny_network()

    monkeypatch.setattr("ranktag.features.network.load_network", load)
    extract_features(
        made / "photos",
        tmp_path / "f.h5",
        ExtractionConfig(backbone="vgg19", layer="fc6", weights="random:7", precision="fp32"),
    )
    train(tmp_path / "f.h5", made / "tags.csv", tmp_path / "run", TrainingConfig(model="linear"))
    loaded.clear()
    photos = sorted((made / "photos").iterdir())
    outcome = ranktag("tag", *photos[:2], made / "photos", "--model", tmp_path / "run", "--format", "lines")
    assert outcome.code == 0 and len(outcome.out.splitlines()) == 22, outcome
    assert loaded == [("vgg19", "fc6", "random:7")]


def test_mistakes_are_one_line(ranktag: Callable, made: Path, tmp_path: Path) -> None:
    ranktag("tag", tmp_path / "none.jpg", "--model", made / "run").assert_refused("none.jpg", "no such photo or folder")
    ranktag("tag", made / "photos", "--model", tmp_path / "none").assert_refused("none", "no such run folder")


def test_a_name_that_is_not_utf_8_is_escaped_in_text_and_the_photo_is_found(
    ranktag: Callable, made: Path, tmp_path: Path
) -> None:
    folder, photo = tmp_path / "photos", next((made / "photos").glob("*.jpg"))
    folder.mkdir()
    name = os.fsdecode(b"caf\xe9.jpg")
    try:
        shutil.copy(photo, folder / name)
    except OSError:
        pytest.skip("the file system takes UTF-8 names only")
    call = ("tag", folder, "--model", made / "run", "--num-tags", 1, "--format")
    assert json.loads(ranktag(*call, "jsonl").out)["file_name"] == "caf\\xe9.jpg"
    assert ranktag(*call, "txt").code == 0 and (folder / f"{name}.txt").is_file()
    outcome = ranktag(*call, "fiftyone", "-o", tmp_path / "labels.json")
    assert outcome.code == 1 and "its path is not UTF-8" in outcome.err
