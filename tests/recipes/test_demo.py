"""The demo: the whole path on a few scenes, twice."""

from __future__ import annotations

import json
import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from ranktag.config import DemoConfig
from ranktag.errors import RanktagError
from ranktag.evaluation.evaluate import evaluate
from ranktag.evaluation.results import Change, Estimate
from ranktag.feature_cache.store import open_features
from ranktag.features.backbones import vgg16
from ranktag.features.read_weights import published_path
from ranktag.models.checkpoint import load_checkpoint
from ranktag.recipes.demo import DemoReport, Example, run_demo, summary
from ranktag.tags.lists import read_tag_lists
from ranktag.tags.predictions import read_predictions

CONFIG = DemoConfig(scenes=20, people=2, seed=3)
# Of every ten scenes, the last two.
TEST_SCENES = [f"scene-{number:05d}.jpg" for number in (8, 9, 18, 19)]


@pytest.fixture(scope="module", autouse=True)
def no_imagenet(tmp_path_factory: pytest.TempPathFactory):
    """A torch cache without ImageNet weights, whatever this machine has."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TORCH_HOME", str(tmp_path_factory.mktemp("torch")))
        yield


@dataclass(frozen=True)
class Demo:
    """A finished demo: what it said, and what it reported."""

    lines: list[str]
    report: DemoReport


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Demo:
    lines: list[str] = []
    return Demo(lines, run_demo(tmp_path_factory.mktemp("demo") / "made", CONFIG, say=lines.append))


def test_everything_is_where_it_says(demo: Demo) -> None:
    folder = demo.report.folder
    assert sorted(path.name for path in folder.iterdir()) == [
        "demo.json", "features.h5", "photos", "popularity", "popularity.csv",
        "predictions.csv", "report", "run", "site", "tags.csv",
    ]  # fmt: skip
    assert demo.report.page.is_file() and demo.report.site.is_file()
    assert len(list((folder / "site" / "thumbnails").rglob("*.webp"))) == len(TEST_SCENES)
    assert demo.lines[-1].startswith(f"Open {folder / 'site' / 'index.html'} ")
    said = "\n".join(demo.lines)
    for name in ("photos", "tags.csv", "features.h5", "run", "predictions.csv", "popularity.csv", "report/report.html"):
        assert str(folder / name) in said
    assert json.loads((folder / "demo.json").read_text())["demo"] == CONFIG.to_dict()


def test_counts(demo: Demo) -> None:
    folder = demo.report.folder
    assert len(list((folder / "photos").iterdir())) == 20
    tags = read_tag_lists(folder / "tags.csv")
    assert sum(map(len, tags.lists.values())) == 40
    assert Counter((tags.split or {}).values()) == {"train": 14, "val": 2, "test": 4}
    store = open_features(folder / "features.h5")
    assert store.features.shape == (20, 4096) and store.valid.all()
    assert store.provenance.weights == demo.report.weights == "random:3"
    assert demo.report.scenes == 20 and demo.report.test_scenes == 4
    assert load_checkpoint(folder / "run").kind == "every-step"
    assert load_checkpoint(folder / "popularity").kind == "popularity"
    for name in ("predictions.csv", "popularity.csv"):
        predictions = read_predictions(folder / name)
        assert list(predictions) == TEST_SCENES
        assert all(len(ranked) == 5 for ranked in predictions.values())
    popular = [[tag for tag, _ in ranked] for ranked in read_predictions(folder / "popularity.csv").values()]
    assert popular == [popular[0]] * 4


def test_the_scores_it_reports_are_those_of_its_files(demo: Demo) -> None:
    folder = demo.report.folder
    found = evaluate([folder / "predictions.csv", folder / "popularity.csv"], folder / "tags.csv")
    assert [row.scores["ndcg@5"] for row in found.rows] == [demo.report.model, demo.report.popularity]
    assert found.differences[0].scores["ndcg@5"] == demo.report.better
    assert demo.report.better.value == pytest.approx(demo.report.model.value - demo.report.popularity.value)
    assert [example.image_id for example in demo.report.examples] == TEST_SCENES
    assert all(len(example.people) == 2 for example in demo.report.examples)


def test_a_second_demo_is_refused_until_overwrite_and_then_gives_the_same_tags(demo: Demo) -> None:
    folder = demo.report.folder
    with pytest.raises(RanktagError, match="--overwrite"):
        run_demo(folder, CONFIG)
    before = {name: (folder / name).read_bytes() for name in ("tags.csv", "predictions.csv", "popularity.csv")}
    features = np.array(open_features(folder / "features.h5").features)
    own = folder / "notes.txt"
    own.write_text("mine")
    (folder / "photos" / "holiday.jpg").write_text("mine")
    with pytest.raises(RanktagError, match="holiday.jpg"):
        run_demo(folder, CONFIG, overwrite=True)
    (folder / "photos" / "holiday.jpg").unlink()
    again = run_demo(folder, CONFIG, overwrite=True)
    assert {name: (folder / name).read_bytes() for name in before} == before
    np.testing.assert_array_equal(open_features(folder / "features.h5").features, features)
    assert (again.model, again.popularity, again.better) == (
        demo.report.model,
        demo.report.popularity,
        demo.report.better,
    )
    assert own.read_text() == "mine"
    own.unlink()


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_folder_with_other_things_is_left_alone(ranktag, tmp_path: Path, overwrite: bool) -> None:
    (tmp_path / "tags.csv").write_text("precious")
    ranktag("demo", "-o", tmp_path, *["--overwrite"] * overwrite).assert_refused(str(tmp_path), "did not make", "-o")
    assert (tmp_path / "tags.csv").read_text() == "precious"
    assert [path.name for path in tmp_path.iterdir()] == ["tags.csv"]


def test_a_file_is_no_folder(ranktag, tmp_path: Path) -> None:
    (tmp_path / "demo").write_text("precious")
    ranktag("demo", "-o", tmp_path / "demo").assert_refused("is a file")
    assert (tmp_path / "demo").read_text() == "precious"


def test_imagenet_weights_are_taken_where_torch_has_them(
    ranktag, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    file = published_path(vgg16.PUBLISHED)
    file.parent.mkdir(parents=True)
    file.write_bytes(b"not the weights")
    outcome = ranktag("demo", "-o", tmp_path / "demo", "--scenes", "20")
    assert "ImageNet's, which torch has" in outcome.out
    outcome.assert_refused(str(file), "delete it")


def test_any_network_and_weights_are_taken(tmp_path: Path) -> None:
    lines: list[str] = []
    config = CONFIG.replace(backbone="timm:test_efficientnet", weights="random:7")
    report = run_demo(tmp_path / "demo", config, say=lines.append)
    store = open_features(tmp_path / "demo" / "features.h5")
    assert (store.provenance.backbone, store.provenance.weights) == ("timm:test_efficientnet", "random:7")
    assert report.weights == "random:7" and f"20 features of {store.width:,} numbers" in "\n".join(lines)
    assert "Extracting features with timm:test_efficientnet (pooled)" in "\n".join(lines)


@pytest.mark.parametrize("wrong", [("--backbone", "timm:nothing"), ("--weights", "nothing.pth")])
def test_a_wrong_network_is_refused_before_anything_is_drawn(ranktag, tmp_path: Path, wrong: tuple[str, str]) -> None:
    ranktag("demo", "-o", tmp_path / "demo", *wrong).assert_refused(wrong[1])
    assert not (tmp_path / "demo").exists()


def test_too_few_scenes_are_refused(ranktag, tmp_path: Path) -> None:
    ranktag("demo", "-o", tmp_path / "demo", "--scenes", "19").assert_refused("--scenes", "20")
    assert not (tmp_path / "demo").exists()


def report_of(better: Change) -> DemoReport:
    example = Example("scene-00008.jpg", (("cat", "tree"), ("tree",), ("cat",)), (("cat", 0.9), ("tree", 0.25)))
    return DemoReport(
        Path("d"), "random:0", 20, 4, Estimate(0.75, 0.7, 0.8), Estimate(0.5, 0.4, 0.6), better, None, (example,), 59.6
    )


@pytest.mark.parametrize(
    ("better", "words"),
    [
        (Change(0.25, 0.1, 0.4), "is clearly better than tags ranked by popularity: by +0.250 (+0.100 to +0.400)"),
        (Change(0.05, -0.1, 0.2), "is not clearly better than"),
        (Change(-0.25, -0.4, -0.1), "is worse than"),
    ],
)
def test_the_verdict_follows_the_interval_of_the_difference(better: Change, words: str) -> None:
    assert words in "\n".join(summary(report_of(better)))


def test_the_summary_shows_lists_scores_and_places() -> None:
    text = "\n".join(summary(report_of(Change(0.25, 0.1, 0.4))))
    assert "a person   cat, tree\n" in text and "a person   tree\n" in text
    assert "the model  cat 90%, tree 25%\n" in text
    assert re.search(r"the model +0\.750 \(0\.700 to 0\.800\)", text)
    assert re.search(r"popular tags +0\.500 \(0\.400 to 0\.600\)", text)
    assert "Done in 60 s" in text and "d/report/report.html" in text
