"""Predictions brought up to date: rows of unchanged images of the same model are kept."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ranktag import cache_features, decode, train
from ranktag.config import DecodingConfig, TrainingConfig
from ranktag.decoding import decode as module
from ranktag.errors import RanktagError
from ranktag.tags.predictions import read_predictions

FEATURES = np.random.default_rng(0).random((8, 3)).astype(np.float32)
IDS = [f"{n}.jpg" for n in range(8)]
CONFIG = DecodingConfig(device="cpu", precision="fp32", num_tags=2)


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """c.h5 of six images, tags.csv, the trained folder run, and out.csv, written with update."""
    cache_features(FEATURES[:6], IDS[:6], tmp_path / "c.h5")
    splits = ["train", "val", "train", "train", "val", "train"]
    rows = [f"{image_id},{'cat|dog' if n % 3 else 'dog|cow'},{splits[n]}" for n, image_id in enumerate(IDS[:6])]
    (tmp_path / "tags.csv").write_text("\n".join(["image_id,tags,split", *rows]) + "\n")
    train(tmp_path / "c.h5", tmp_path / "tags.csv", tmp_path / "run", TrainingConfig(model="linear", device="cpu"))
    decode(tmp_path / "c.h5", tmp_path / "run", tmp_path / "out.csv", CONFIG, update=True)
    return tmp_path


def test_only_new_and_changed_images_are_decoded(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    decoded: list[int] = []
    rank = module.ranked_batches
    monkeypatch.setattr(
        module, "ranked_batches", lambda m, rows, *rest: decoded.append(len(rows)) or rank(m, rows, *rest)
    )
    before = (place / "out.csv").read_bytes()
    assert decode(place / "c.h5", place / "run", place / "out.csv", CONFIG, update=True).kept == 6
    assert (place / "out.csv").read_bytes() == before and decoded == []
    # 1.jpg is gone, 2.jpg is another photo, 6.jpg and 7.jpg are new.
    features = FEATURES.copy()
    features[2] = FEATURES[2][::-1]
    rest = [0, 2, 3, 4, 5, 6, 7]
    cache_features(features[rest], [IDS[n] for n in rest], place / "c.h5", overwrite=True)
    report = decode(place / "c.h5", place / "run", place / "out.csv", CONFIG, update=True)
    assert report.kept == 4 and report.images == 7 and decoded == [3]
    decode(place / "c.h5", place / "run", place / "fresh.csv", CONFIG)
    assert (place / "out.csv").read_bytes() == (place / "fresh.csv").read_bytes()


def test_rows_of_another_model_or_other_settings_are_refused_by_name(place: Path) -> None:
    with pytest.raises(RanktagError, match=r"out.csv: was made otherwise .*num_tags: 1 / 2.*--overwrite"):
        decode(place / "c.h5", place / "run", place / "out.csv", CONFIG.replace(num_tags=1), update=True)
    train(place / "c.h5", place / "tags.csv", place / "other", TrainingConfig(model="popularity", device="cpu"))
    with pytest.raises(RanktagError, match="model: "):
        decode(place / "c.h5", place / "other", place / "out.csv", CONFIG, update=True)
    report = decode(place / "c.h5", place / "other", place / "out.csv", CONFIG, update=True, overwrite=True)
    assert report.kept == 0
    assert decode(place / "c.h5", place / "other", place / "out.csv", CONFIG, update=True).kept == 6


def test_a_file_that_was_not_written_so_is_left_alone(place: Path, ranktag: Callable[..., Any]) -> None:
    decode(place / "c.h5", place / "run", place / "plain.csv", CONFIG)
    assert not (place / "plain.csv.update.json").exists()
    edited = (place / "out.csv").read_text().replace("dog", "wolf")
    (place / "out.csv").write_text(edited)
    for name in ("plain.csv", "out.csv"):
        before = (place / name).read_bytes()
        command = ("export-tags", place / "c.h5", "--model", place / "run", "-o", place / name, "--update")
        ranktag(*command).assert_refused("is not as export-tags --update wrote it", "--overwrite")
        assert (place / name).read_bytes() == before
    ranktag(*command, "--format", "wide").assert_refused("--overwrite")


def test_wide_files_are_brought_up_to_date_too(place: Path) -> None:
    for kept in (0, 6):
        assert decode(place / "c.h5", place / "run", place / "w.csv", CONFIG, update=True, format="wide").kept == kept
    assert list(read_predictions(place / "w.csv")) == IDS[:6]
