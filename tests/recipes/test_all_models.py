"""The recipes: the split the table is of, and a whole small one through the command."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from ranktag.config import TrainingConfig
from ranktag.errors import RanktagError
from ranktag.feature_cache.write import cache_features
from ranktag.recipes import all_models as recipe
from ranktag.recipes import completion, folds
from ranktag.tags.lists import TagLists, write_tag_lists
from ranktag.tags.predictions import read_predictions

TINY = TrainingConfig(hidden=8, projection=8, embedding=8, epochs=2, batch_size=8)


def some_lists(train: int, val: int, test: int) -> TagLists:
    split = {f"{n}.jpg": part for n, part in enumerate(["train"] * train + ["val"] * val + ["test"] * test)}
    return TagLists({i: [("cat", "dog") if n % 2 else ("sun",)] for n, i in enumerate(split)}, split)


def test_val_becomes_the_table_and_a_tenth_of_train_what_is_stopped_by() -> None:
    lists = some_lists(40, 10, 5)
    split = recipe.split_for_table(lists, "val").split
    assert split is not None and lists.split is not None
    assert sorted(split.values()).count("val") == 4
    assert {i for i, part in split.items() if part == "test"} == {i for i, part in lists.split.items() if part == "val"}
    # The official test images are neither trained on nor looked at.
    assert not any(lists.split[i] == "test" for i in split)
    assert recipe.split_for_table(lists, "val") == recipe.split_for_table(lists, "val")
    assert recipe.split_for_table(lists, "test") == lists


def test_without_what_it_needs_there_is_no_table() -> None:
    with pytest.raises(RanktagError, match="no splits"):
        recipe.split_for_table(TagLists({"a": [("x",)]}), "val")
    with pytest.raises(RanktagError, match="0 val"):
        recipe.split_for_table(some_lists(4, 0, 2), "val")


def test_every_image_is_tested_once_by_folds_and_never_trained_on() -> None:
    lists = some_lists(20, 0, 3)
    parts = [fold.split or {} for fold in folds.dealt(lists, 4)]
    tested = [image_id for split in parts for image_id, part in split.items() if part == "test"]
    assert sorted(tested) == sorted(lists.lists)
    assert all(split.keys() == lists.lists.keys() for split in parts)
    assert [sorted(split.values()).count("val") for split in parts] == [2, 2, 2, 2]
    with pytest.raises(RanktagError, match="--folds 9: there are only 5 images"):
        next(folds.dealt(some_lists(5, 0, 0), 9))


def test_the_table_of_folds_is_of_all_images(
    ranktag: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recipe, "TrainingConfig", lambda **settings: TINY.replace(**settings))
    for module in (recipe, completion):
        rows = [row for row in module.ROWS if row.model in ("popularity", "every-step")]
        monkeypatch.setattr(module, "ROWS", rows)
    lists = some_lists(24, 0, 0)
    cache = cache_features(np.random.default_rng(0).random((24, 8)), list(lists.lists), tmp_path / "f.h5")
    write_tag_lists(tmp_path / "tags.csv", lists)
    out = tmp_path / "out"
    outcome = ranktag("labelme", tmp_path / "tags.csv", "--cache", cache, "-o", out, "--seeds", "3,5", "--folds", 2)
    assert outcome.code == 0, outcome
    found = json.loads((out / "report" / "metrics.json").read_text())
    assert [(row["images"], row["trained_on"]) for row in found["rows"]] == [(24, 0)] * 4
    # What is said of an image is what the models of the other fold say.
    whole = read_predictions(out / "predictions" / "every-step-mbr" / "seed-5.csv")
    for number in (1, 2):
        part = read_predictions(out / f"fold-{number}" / "predictions" / "every-step-mbr" / "seed-5.csv")
        assert len(part) == 12 and {image_id: whole[image_id] for image_id in part} == part
    assert [row["images"] for row in found["completion"][0]["rows"]] == [12] * 3


def test_a_recipe_ends_in_a_table_and_goes_on_where_it_was(
    ranktag: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recipe, "TrainingConfig", lambda **settings: TINY.replace(**settings))
    lists = some_lists(30, 6, 6)
    features = np.random.default_rng(0).random((41, 4096)) + [[n % 2] for n in range(41)]
    # The last image was never extracted.
    cache = cache_features(features, list(lists.lists)[:41], tmp_path / "f.h5")
    write_tag_lists(tmp_path / "tags.csv", lists)
    call = (
        "labelme",
        tmp_path / "tags.csv",
        "--cache",
        cache,
        "-o",
        tmp_path / "out",
        "--seeds",
        2,
        "--table",
        "test",
    )
    outcome = ranktag(*call)
    assert outcome.code == 0, outcome
    assert "1 tagged image left out for want of a feature" in outcome.err
    rows = [row["label"] for row in json.loads((tmp_path / "out" / "report" / "metrics.json").read_text())["rows"]]
    assert rows == [row.label for row in recipe.ROWS] + ["every-step mbr, 2 seeds together"]
    # Every other list has two tags: its second is to be named after its first.
    completed = json.loads((tmp_path / "out" / "completion-1" / "metrics.json").read_text())["rows"]
    assert [row["label"] for row in completed] == [row.label for row in completion.ROWS]
    (begun,) = json.loads((tmp_path / "out" / "report" / "metrics.json").read_text())["completion"]
    assert {row["label"]: row["scores"] for row in begun["rows"]} == {row["label"]: row["scores"] for row in completed}
    assert "Note:" in outcome.err and "no list has more than 2 tags" in outcome.err
    ranktag(*call).assert_refused("report", "--overwrite")
    again = ranktag(*call, "--overwrite")
    assert again.code == 0
    # Photos that would not be shown, and weights that would not be used, are refused before anything is trained.
    (tmp_path / "empty").mkdir()
    for options, words in (
        ((tmp_path / "none",), ("none", "no folder of photos")),
        ((tmp_path / "empty",), ("empty", "none of the 42 photos")),
        (("--weights", "random"), ("--weights", "--cache")),
    ):
        ranktag(*call, "--overwrite", *options).assert_refused(*words)
    ranktag("labelme", tmp_path / "tags.csv", "-o", tmp_path / "new").assert_refused("IMAGES", "--cache")
    # What is finished is not trained again.
    assert "every-step mbr, seed 1" in again.err
