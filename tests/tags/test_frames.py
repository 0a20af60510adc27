"""Tag lists and predictions as pandas DataFrames, and what is refused of one."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ranktag.errors import RanktagError
from ranktag.tags.lists import TagLists, read_tag_lists, write_tag_lists
from ranktag.tags.predictions import (
    predictions_from_frame,
    predictions_to_frame,
    read_predictions,
    write_predictions,
)

LISTS = {"b.jpg": [("dog", "a, b"), ()], "000005": [("=x",)]}
PREDICTIONS = {"b.jpg": [("dog", 0.75), ("grass", 1 / 3)], "a.jpg": [], "000005": [("cat", math.nan)]}


@pytest.mark.parametrize("split", [None, {"b.jpg": "train", "000005": "val"}])
def test_tag_lists_become_a_frame_and_come_back(split: dict[str, str] | None) -> None:
    frame = TagLists(LISTS, split).to_frame()
    assert list(frame) == ["image_id", "tags"] if split is None else ["image_id", "split", "tags"]
    assert frame["image_id"].tolist() == ["b.jpg", "b.jpg", "000005"]
    assert frame["tags"].tolist() == [("dog", "a, b"), (), ("=x",)]
    assert TagLists.from_frame(frame) == TagLists(LISTS, split)
    # Rows that were chosen and put into another order keep their labels.
    assert TagLists.from_frame(frame.iloc[[2]]).lists == {"000005": [("=x",)]}


def test_a_tag_list_file_that_pandas_reads_gives_the_same_lists(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    write_tag_lists(path, TagLists({"a": [("dog", "cat"), ()], "b": [()]}, {"a": "train", "b": "val"}))
    assert TagLists.from_frame(pd.read_csv(path)) == read_tag_lists(str(path))


@pytest.mark.parametrize(
    "tags",
    [["dog", " cat ", "dog", ""], ("dog", "cat"), "dog|cat|", np.array(["dog", "cat"]), pd.Series(["dog", "cat"])],
)
def test_tags_may_be_joined_or_listed_and_are_cleaned(tags: object) -> None:
    frame = pd.DataFrame({"image_id": ["a"], "tags": pd.Series([tags], dtype=object), "more": [1]})
    assert TagLists.from_frame(frame).lists == {"a": [("dog", "cat")]}


@pytest.mark.parametrize("missing", [None, math.nan, pd.NA, ""])
def test_a_missing_cell_is_an_empty_list(missing: object) -> None:
    frame = pd.DataFrame({"image_id": ["a", "b"], "tags": pd.Series([missing, "dog"], dtype=object)})
    assert TagLists.from_frame(frame).lists == {"a": [()], "b": [("dog",)]}


def test_splits_that_are_all_missing_are_none() -> None:
    frame = pd.DataFrame({"image_id": ["a", "b"], "tags": ["dog", "cat"], "split": [None, math.nan]})
    assert TagLists.from_frame(frame).split is None
    frame["split"] = pd.Categorical(["train", "val"])
    assert TagLists.from_frame(frame).split == {"a": "train", "b": "val"}


@pytest.mark.parametrize(
    ("columns", "words"),
    [
        ({"image_id": ["a"]}, ["no column 'tags'", "'image_id'"]),
        ({"image_id": [], "tags": []}, ["holds no tag list"]),
        ({"image_id": [5], "tags": ["dog"]}, ["row 0: image_id 5 is not text", "dtype=str"]),
        ({"image_id": [None], "tags": ["dog"]}, ["row 0: image_id None is not text"]),
        ({"image_id": ["a", ""], "tags": ["dog", "cat"]}, ["row 1 has no image_id", "remove the row"]),
        ({"image_id": ["a"], "tags": [7]}, ["row 0: tag 7 is not text"]),
        ({"image_id": ["a"], "tags": [["dog", None]]}, ["row 0: tag None is not text"]),
        ({"image_id": ["a"], "tags": [["a|b"]]}, ["row 0: tag 'a|b' holds '|'"]),
        ({"image_id": ["a"], "tags": ["x"], "split": ["dev"]}, ["row 0: split 'dev' is not one of train, val, test"]),
        (
            {"image_id": ["a", "a"], "tags": ["x", "y"], "split": ["val", "test"]},
            ["'val' on row 0 and in 'test' on row 1"],
        ),
        ({"image_id": ["a", "b"], "tags": ["x", "y"], "split": ["val", None]}, ["row 1 has no split"]),
    ],
)
def test_what_is_wrong_with_a_frame_of_lists_is_named(columns: dict[str, list[Any]], words: list[str]) -> None:
    with pytest.raises(RanktagError) as error:
        TagLists.from_frame(pd.DataFrame(columns))
    for word in ("the DataFrame", *words):
        assert word in str(error.value)


def test_a_column_that_is_there_twice_is_refused() -> None:
    frame = pd.DataFrame([["a", "x", "y"]], columns=["image_id", "tags", "tags"])
    with pytest.raises(RanktagError, match="the column 'tags' twice"):
        TagLists.from_frame(frame)


def test_predictions_become_a_frame_and_come_back() -> None:
    frame = predictions_to_frame(PREDICTIONS)
    assert frame.dtypes.astype(str).to_dict() | {"image_id": "", "tag": ""} == {
        "image_id": "",
        "rank": "Int64",
        "tag": "",
        "probability": "float64",
    }
    assert frame["rank"].tolist()[:2] == [1, 2] and frame["rank"].isna().tolist() == [False, False, True, False]
    back = predictions_from_frame(frame.iloc[::-1])
    assert list(back) == ["000005", "a.jpg", "b.jpg"]
    # Not a bit of a probability is lost.
    assert back["b.jpg"] == PREDICTIONS["b.jpg"] and back["a.jpg"] == []
    assert back["000005"][0][0] == "cat" and math.isnan(back["000005"][0][1])
    assert predictions_from_frame(predictions_to_frame({})) == {}


@given(st.dictionaries(st.text("abc", min_size=1), st.lists(st.tuples(st.sampled_from(["x", "y"]), st.floats(0, 1)))))
def test_every_prediction_comes_back(predictions: dict[str, list[tuple[str, float]]]) -> None:
    assert predictions_from_frame(predictions_to_frame(predictions)) == predictions


def test_a_prediction_file_that_pandas_reads_gives_the_same_predictions(tmp_path: Path) -> None:
    path = tmp_path / "p.csv"
    write_predictions(path, {"a": [("dog", 0.75)], "b": []})
    # Ranks are numbers with a point here: a cell of the column is missing.
    frame = pd.read_csv(path)
    assert frame["rank"].dtype == float
    assert predictions_from_frame(frame) == read_predictions(str(path))
    assert len(predictions_from_frame(frame.drop(columns="probability"))["a"]) == 1


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ([("a", 0, "dog", 0.5)], ["row 0: rank '0'"]),
        ([("a", 1.5, "dog", 0.5)], ["row 0: rank '1.5'"]),
        ([("a", True, "dog", 0.5)], ["row 0: rank 'True'"]),
        ([("a", 1, None, 0.5)], ["row 0 has a rank but no tag"]),
        ([("a", 1, "dog", 1.5)], ["row 0: probability '1.5'"]),
        ([("a", 1, "dog", 0.5), ("a", 1, "cat", 0.5)], ["rank 1 of 'a' is on row 0 and on row 1"]),
        ([("a", 1, "dog", 0.5), ("a", 3, "cat", 0.5)], ["'a' (row 0)", "none at rank 2"]),
        ([("a", None, None, None), ("a", 1, "cat", 0.5)], ["row 1: 'a' has a row without tags and other rows"]),
        ([(7, 1, "cat", 0.5)], ["row 0: image_id 7 is not text"]),
    ],
)
def test_what_is_wrong_with_a_frame_of_predictions_is_named(rows: list[tuple[Any, ...]], words: list[str]) -> None:
    frame = pd.DataFrame(rows, columns=["image_id", "rank", "tag", "probability"])
    with pytest.raises(RanktagError) as error:
        predictions_from_frame(frame)
    for word in ("the DataFrame", *words):
        assert word in str(error.value)
