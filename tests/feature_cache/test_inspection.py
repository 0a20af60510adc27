"""``ranktag inspect`` finds what is wrong with a cache, and says so in a line."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest

from ranktag.feature_cache.write import cache_features

D = 4096


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    features = np.zeros((4, D), np.float32)
    features[0, 0], features[1, 0], features[1, 1], features[2] = 2, 4, 8, np.nan
    return cache_features(features, ["a", "b", "broken\n", "d"], tmp_path / "c.h5", source="drawn")


def write(path: Path, name: str, where: object, value: object) -> None:
    with h5py.File(path, "r+") as file:
        file[name][where] = value


def test_what_is_found(cache: Path, ranktag: Callable) -> None:
    outcome = ranktag("inspect", cache)
    assert outcome.code == 0 and outcome.err == ""
    lines = outcome.out.splitlines()
    assert "backbone            drawn" in lines and "images              4: 3 valid, 1 failed" in lines
    assert "failed: broken\\n: the feature is not finite" in lines and lines[-1] == "The file is whole."
    # Of 3 x 4096 numbers 3 are not 0; features 0 and 1 are so in 1 and 2 of 3 rows.
    assert (
        "100.0% zeros (a feature: 33.3% to 100.0%), mean 0.001139, range 0 to 8; 4,094 of 4,096 always 0" in outcome.out
    )


def test_json_holds_everything(cache: Path, ranktag: Callable) -> None:
    found = json.loads(ranktag("inspect", cache, "--json").out)
    assert (found["whole"], found["images"], found["valid"], found["failed"], found["nan_rows"], found["dtype"]) == (
        True,
        4,
        3,
        1,
        1,
        "float16",
    )
    assert found["failures"] == [{"image_id": "broken\n", "error": "the feature is not finite"}]
    assert found["statistics"]["zeros"] == pytest.approx(1 - 3 / (3 * D)) and found["statistics"][
        "mean"
    ] == pytest.approx(14 / (3 * D))
    assert found["per_feature"]["zeros"][:3] == pytest.approx([1 / 3, 2 / 3, 1]) and found["per_feature"]["maximum"][
        :3
    ] == [4, 8, 0]
    assert found["per_feature"]["mean"][0] == 2 and found["provenance"]["backbone"] == "drawn"


@pytest.mark.parametrize(
    ("name", "where", "value", "words"),
    [
        ("features", (0, 5), np.inf, "1 valid rows hold numbers that are not finite ('a' first)"),
        ("features", 3, np.nan, "1 valid rows hold numbers that are not finite ('d' first)"),
        ("features", 2, 1.0, "1 failed rows hold numbers instead of NaN"),
        ("features", (1, 0), 4.004, "content_sha256 differs"),
        ("features", slice(0, 2), 0.0, "every feature of every image is 0"),
        ("image_id", 0, "z", "image_list_sha256 differs"),
        ("error", 2, "", "1 failed rows have no reason"),
    ],
)
def test_damage_inside_is_found(
    cache: Path, ranktag: Callable, name: str, where: object, value: object, words: str
) -> None:
    write(cache, name, where, value)
    outcome = ranktag("inspect", cache)
    assert outcome.code == 1 and words in outcome.err and "whole" not in outcome.out
    assert all(line.startswith(f"{cache}: damaged: ") for line in outcome.err.splitlines())
    assert any(words in problem for problem in json.loads(ranktag("inspect", cache, "--json").out)["problems"])


@pytest.mark.parametrize("size", [0, 100, 3000, 20_000, -1])
def test_a_file_cut_short_is_one_line(cache: Path, ranktag: Callable, size: int) -> None:
    cache.write_bytes(cache.read_bytes()[:size])
    outcome = ranktag("inspect", cache)
    assert outcome.code == 1 and outcome.err.count("\n") == 1 and str(cache) in outcome.err
    found = json.loads(ranktag("inspect", cache, "--json").out)
    assert not found["whole"] and found["provenance"] is None


def test_a_cache_without_the_digest_is_whole_too(cache: Path, ranktag: Callable) -> None:
    with h5py.File(cache, "r+") as file:
        del file.attrs["content_sha256"]
    assert ranktag("inspect", cache).code == 0


def test_a_cache_without_images_or_without_valid_ones(tmp_path: Path, ranktag: Callable) -> None:
    empty = ranktag("inspect", cache_features(np.zeros((0, D)), [], tmp_path / "a.h5"))
    assert empty.code == 0 and "0: 0 valid, 0 failed" in empty.out
    failed = ranktag("inspect", cache_features(np.full((2, D), np.nan), ["a", "b"], tmp_path / "b.h5"))
    assert failed.code == 0 and "2: 0 valid, 2 failed" in failed.out


def test_no_file_is_a_wrong_call(tmp_path: Path, ranktag: Callable) -> None:
    ranktag("inspect", tmp_path / "nowhere.h5").assert_refused("no such feature cache")
    ranktag("inspect", tmp_path).assert_refused("is a folder")
