"""Files in, files out: what ``decode`` writes and gives back."""

from __future__ import annotations

import importlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from making import features_of, make_cache, make_data, tiny

from ranktag.config import DecodingConfig
from ranktag.decoding.decode import decode
from ranktag.decoding.inputs import seen
from ranktag.errors import RanktagError
from ranktag.models.checkpoint import load_checkpoint
from ranktag.tags.predictions import read_predictions, seen_split
from ranktag.tags.writers import lines
from ranktag.training.train import train

CONFIG = DecodingConfig(precision="fp32", device="cpu", num_tags=3)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with cache.h5, tags.csv and the run folder 'run'."""
    folder = tmp_path_factory.mktemp("trained")
    cache, tags = make_data(folder)
    train(cache, tags, folder / "run", tiny(epochs=1))
    return folder


def test_paths_may_be_text_and_what_is_written_is_given_back(trained: Path, tmp_path: Path) -> None:
    output = str(tmp_path / "predictions.csv")
    report = decode(str(trained / "cache.h5"), str(trained / "run"), output, CONFIG, split="test")
    assert (report.output, report.images, report.tags, report.without_feature) == (Path(output), 3, 9, 0)
    written = read_predictions(Path(output))
    assert list(report.predictions) == list(written) == ["009.jpg", "019.jpg", "029.jpg"]
    for image_id, tags in written.items():
        assert [tag for tag, _ in report.predictions[image_id]] == [tag for tag, _ in tags]
        assert [p for _, p in report.predictions[image_id]] == pytest.approx([p for _, p in tags], rel=1e-5)
    frame = report.predictions_frame()
    assert list(frame.columns) == ["image_id", "rank", "tag", "probability", "split"]
    assert frame["rank"].tolist() == [1, 2, 3] * 3
    several = decode(str(trained / "cache.h5"), [str(trained / "run")] * 2, tmp_path / "several.csv", CONFIG)
    assert several.images == 30


def test_a_row_that_is_not_finite_is_named(trained: Path, tmp_path: Path) -> None:
    features = features_of(3)
    cache = make_cache(tmp_path / "new.h5", ["a", "b", "c"], features)
    content, at = cache.read_bytes(), features.astype(np.float16)[1].tobytes()
    assert content.count(at) == 1
    cache.write_bytes(content.replace(at, np.full(4096, np.inf, np.float16).tobytes()))
    with pytest.raises(RanktagError, match="'b' is not finite"):
        decode(cache, trained / "run", tmp_path / "predictions.csv", CONFIG, force=True)


def test_images_carry_the_split_in_which_a_model_saw_them(trained: Path, tmp_path: Path) -> None:
    cache = make_cache(tmp_path / "more.h5", ["new.jpg", "000.jpg", "007.jpg", "009.jpg"], features_of(4))
    report = decode(cache, trained / "run", tmp_path / "p.csv", CONFIG, force=True)
    assert seen_split(report.predictions) == {"new.jpg": "", "000.jpg": "train", "007.jpg": "val", "009.jpg": "test"}
    assert seen_split(read_predictions(tmp_path / "p.csv")) == seen_split(report.predictions)


def test_of_two_models_splits_the_one_counts_that_they_knew_most_of(trained: Path) -> None:
    one = load_checkpoint(trained / "run")
    two = replace(one, split={"train": ["009.jpg"], "val": ["000.jpg", "new.jpg"], "test": ["007.jpg"]})
    of_both = seen([one, two], ["000.jpg", "007.jpg", "009.jpg", "new.jpg", "never.jpg"])
    assert list(of_both.values()) == ["train", "val", "train", "val", ""]


def test_lists_are_written_as_they_come(trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    arguments = (trained / "cache.h5", trained / "run")
    kept = decode(*arguments, tmp_path / "kept.csv", CONFIG)
    report = decode(*arguments, tmp_path / "p.csv", CONFIG, keep=False)
    assert (tmp_path / "p.csv").read_bytes() == (tmp_path / "kept.csv").read_bytes()
    assert (report.images, report.tags, report.predictions) == (kept.images, kept.tags, {})

    # One image a batch: while the writer has one, the next is not decoded yet.
    module = importlib.import_module("ranktag.decoding.decode")
    steps: list[str] = []
    ranked, write = module.ranked_batches, lines.write

    def told(models: Any, rows: Any, *rest: Any) -> Any:
        for n in range(len(rows)):
            steps.append("decoded")
            yield from ranked(models, rows[n : n + 1], *rest)

    def writes(images: Any, file: Any) -> None:
        write((steps.append("written") or image for image in images), file)

    monkeypatch.setattr(module, "ranked_batches", told)
    monkeypatch.setattr(lines, "write", writes)
    decode(*arguments, tmp_path / "p.txt", CONFIG, format="lines", keep=False)
    assert steps == ["decoded", "written"] * report.images
