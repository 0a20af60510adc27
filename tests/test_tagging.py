"""``ranktag tag``: the tags that extract-features and export-tags give, in every format; broken photos are listed."""

from __future__ import annotations

import csv
import io
import json
import os
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from making import make_cache
from PIL import Image
from tars import make_tar
from tiny_backbone import tiny_network

from ranktag.config import DecodingConfig, DemoConfig, ExtractionConfig, TrainingConfig
from ranktag.errors import Mismatch, RanktagError, Usage
from ranktag.features.backbone import Backbone
from ranktag.features.extract import extract_features
from ranktag.features.network import Network
from ranktag.recipes.demo_scenes import draw_scenes
from ranktag.tagging import TaggedImage, Tagger
from ranktag.tags.predictions import read_predictions
from ranktag.training.train import train


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tagging")
    draw_scenes(folder / "photos", folder / "tags.csv", DemoConfig(scenes=20))
    extract_features(
        folder / "photos",
        folder / "f.h5",
        ExtractionConfig(
            backbone="torchvision:mobilenet_v3_small", weights="random:3", dtype="float32", precision="fp32"
        ),
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


def test_photos_in_a_tar_have_the_tags_of_the_files(
    ranktag: Callable,
    made: Path,
    tmp_path: Path,
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache-folder")))
    photos = sorted(path for path in (made / "photos").iterdir() if path.suffix == ".jpg")[:3]
    tar = make_tar(tmp_path / "p.tar", [(path.name, path.read_bytes()) for path in photos])
    options = ("--model", made / "run", "--num-tags", 2, "--precision", "fp32", "--format", "lines")
    files, within = ranktag("tag", *photos, *options), ranktag("tag", tar, *options)
    assert files.code == within.code == 0
    assert within.out == files.out.replace(str(made / "photos"), str(tar))
    # Nothing is written beside what is no file; below a folder it is.
    sidecars = ranktag("tag", tar, *options[:-1], "txt")
    assert sidecars.code == 1 and "in a tar" in sidecars.err and sorted(tmp_path.iterdir()) == [tar]
    assert ranktag("tag", tar, *options[:-1], "txt", "-o", tmp_path / "out").code == 0
    assert len(list((tmp_path / "out" / "p.tar").iterdir())) == 3


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


@pytest.fixture(scope="module")
def tagger(made: Path) -> Tagger:
    return Tagger(made / "run", DecodingConfig(num_tags=3, precision="fp32", device="cpu"))


@pytest.fixture
def sizes(tagger: Tagger) -> Iterator[list[int]]:
    """How many images the network is given, each time."""
    seen: list[int] = []
    hook = tagger._features._network.layers.register_forward_pre_hook(lambda module, given: seen.append(len(given[0])))
    yield seen
    hook.remove()


def photos_of(made: Path, count: int) -> list[Path]:
    return sorted((made / "photos").glob("*.jpg"))[:count]


def assert_same(one: TaggedImage, other: TaggedImage) -> None:
    assert [tag for tag, _ in one.tags] == [tag for tag, _ in other.tags] and len(one.tags) == 3
    assert [p for _, p in one.tags] == pytest.approx([p for _, p in other.tags], abs=1e-5)


def test_lists_of_photos_are_begun_and_gone_on_with(tagger: Tagger, made: Path) -> None:
    (path,) = photos_of(made, 1)
    first, *_ = [tag for tag, _ in tagger.tag(path).tags]
    (rest,) = tagger.tag_files([path], given=[first])
    assert len(rest.tags) == 3 and first not in [tag for tag, _ in rest.tags]
    suggester = tagger.suggest(path, given=[first])
    assert suggester.tags == (first,) and first not in [tag for tag, _ in suggester.suggest(3)]
    with pytest.raises(RanktagError, match="take another photo"):
        tagger.suggest(b"no photo")


def test_a_photo_costs_one_image_however_it_is_given(tagger: Tagger, made: Path, sizes: list[int]) -> None:
    photos = photos_of(made, 3)
    expected, *_ = tagger.tag_files(photos)
    assert sizes == [3]
    sizes.clear()
    path = photos[0]
    with open(path, "rb") as file, Image.open(path) as image, Image.open(path) as again:
        ways = [path, str(path), file, path.read_bytes(), memoryview(path.read_bytes()), image, np.asarray(again)]
        for number, way in enumerate(ways):
            found = tagger.tag(way)
            assert_same(found, expected)
            assert found.error == "" and found.path == (str(path) if number in (0, 1, 2, 5) else "")
    assert sizes == [1] * len(ways)
    (alone,) = tagger.tag_files([path])
    assert_same(alone, expected)
    assert sizes[-1] == 1 and alone.photo == path


def test_of_several_each_comes_as_soon_as_it_is_tagged(tagger: Tagger, made: Path) -> None:
    opened: list[Path] = []

    def photos() -> Iterator[Path]:
        for path in photos_of(made, 3):
            opened.append(path)
            yield path

    found = tagger.tag(photos())
    assert opened == [] and next(found).path == str(opened[0]) and len(opened) == 1
    assert [image.path for image in found] == [str(path) for path in opened[1:]]
    stack = np.stack([np.asarray(Image.open(path).resize((64, 64))) for path in photos_of(made, 2)])
    assert len(list(tagger.tag(stack))) == 2


def test_threads_share_a_tagger(tagger: Tagger, made: Path) -> None:
    photos = photos_of(made, 8)
    alone = list(tagger.tag(photos))
    with ThreadPoolExecutor(4) as threads:
        for one, other in zip(alone, threads.map(tagger.tag, photos)):
            assert_same(one, other)


@pytest.mark.parametrize(
    ("photo", "words"),
    [
        (b"", "empty (0 bytes)"),
        (b"not an image", "not an image"),
        (io.BytesIO(b"\xff\xd8\xff\xe0 torn"), "damaged or of an unknown kind"),
        ("none.jpg", "no such file"),
        (np.zeros((0, 5, 3), np.uint8), "no pixels"),
        (Image.new("F", (4, 4)), "32 bits"),
    ],
)
def test_what_cannot_be_read_has_a_reason(tagger: Tagger, photo: object, words: str) -> None:
    found = tagger.tag(photo)
    assert words in found.error and found.tags == []


@pytest.mark.parametrize("photo", [5, None, np.zeros((4, 4), np.uint8), np.zeros((4, 4, 3)), io.StringIO("text")])
def test_what_is_no_photo_is_a_mistake(tagger: Tagger, photo: object) -> None:
    with pytest.raises(Usage, match="is no photo; give"):
        tagger.tag(photo)


def test_several_runs_decide_together(ranktag: Callable, made: Path, tmp_path: Path) -> None:
    settings = TrainingConfig(hidden=16, projection=16, epochs=2, precision="fp32", seed=1)
    train(made / "f.h5", made / "tags.csv", tmp_path / "second", settings)
    models = ("--model", made / "run", "--model", tmp_path / "second", "--num-tags", 3, "--precision", "fp32")
    assert ranktag("export-tags", made / "f.h5", "-o", tmp_path / "p.csv", *models).code == 0
    expected = read_predictions(tmp_path / "p.csv")
    outcome = ranktag("tag", *photos_of(made, 2), *models, "--json")
    assert outcome.code == 0, outcome
    for image in json.loads(outcome.out)["images"]:
        tags = expected[Path(image["image"]).name]
        assert [tag["tag"] for tag in image["tags"]] == [tag for tag, _ in tags]
        assert [tag["probability"] for tag in image["tags"]] == pytest.approx([p for _, p in tags], abs=1e-4)


def test_runs_of_two_networks_do_not_go_together(made: Path, tmp_path: Path) -> None:
    ids = [path.name for path in photos_of(made, 20)]
    make_cache(tmp_path / "other.h5", ids)
    train(tmp_path / "other.h5", made / "tags.csv", tmp_path / "other", TrainingConfig(model="popularity"))
    with pytest.raises(Mismatch, match="was trained on other features than .*; runs that decide together"):
        Tagger([made / "run", tmp_path / "other"])
    with pytest.raises(Usage, match="no run folder"):
        Tagger([])
