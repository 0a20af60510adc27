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
from ranktag.recipes import completion
from ranktag.tags.lists import TagLists, write_tag_lists

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
