"""Prediction files: both forms come back as they were written, and what is wrong is named."""

from __future__ import annotations

import math
import tempfile
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ranktag.errors import RanktagError
from ranktag.tags.lists import TagLists, clean_tag, read_tag_lists
from ranktag.tags.predictions import (
    Predictions,
    PredictionsWithSplit,
    predictions_from_frame,
    predictions_to_frame,
    read_predictions,
    seen_split,
    write_predictions,
)

# All of Unicode but lone surrogates, which UTF-8 cannot hold, and NUL, which no table may hold.
TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=12)
# A row of nothing but spaces is one that a spreadsheet left.
IMAGE_ID = TEXT.filter(str.strip)
TAG = TEXT.map(clean_tag).filter(bool)
PROBABILITY = st.one_of(st.just(math.nan), st.floats(0, 1))


def assert_equal(read: Predictions, written: Predictions) -> None:
    assert list(read) == list(written)
    for image_id, tags in written.items():
        assert [tag for tag, _ in read[image_id]] == [tag for tag, _ in tags]
        assert [p for _, p in read[image_id]] == pytest.approx([p for _, p in tags], rel=1e-5, nan_ok=True)


@pytest.mark.parametrize("format", ["long", "wide"])
@given(
    st.dictionaries(
        IMAGE_ID, st.lists(st.tuples(TAG.filter(lambda tag: "|" not in tag), PROBABILITY), max_size=4), max_size=4
    )
)
def test_round_trip(format: str, predictions: Predictions) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "predictions.csv"
        write_predictions(path, predictions, format)
        assert_equal(read_predictions(path), predictions)


def test_the_files_look_as_documented(tmp_path: Path) -> None:
    predictions: Predictions = {"b.jpg": [("dog", 0.75), ("grass", 1 / 3)], "a.jpg": []}
    write_predictions(tmp_path / "long.csv", predictions)
    assert (
        tmp_path / "long.csv"
    ).read_text() == "image_id,rank,tag,probability\nb.jpg,1,dog,0.75\nb.jpg,2,grass,0.333333\na.jpg,,,\n"
    write_predictions(tmp_path / "wide.csv", predictions, "wide")
    assert (
        tmp_path / "wide.csv"
    ).read_text() == "image_id,tags,probabilities\nb.jpg,dog|grass,0.75|0.333333\na.jpg,,\n"


def test_a_wide_file_is_a_tag_list_file(tmp_path: Path) -> None:
    write_predictions(tmp_path / "wide.csv", {"a": [("=dog", 0.5), ("cat", 0.25)], "b": []}, "wide")
    assert read_tag_lists(tmp_path / "wide.csv").lists == {"a": [("=dog", "cat")], "b": [()]}


def test_a_tag_list_file_is_read_as_predictions_without_probabilities(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("image_id,split,tags\na,val,dog|cat\n")
    assert_equal(read_predictions(tmp_path / "t.csv"), {"a": [("dog", math.nan), ("cat", math.nan)]})


def test_rows_may_stand_in_any_order_and_repeats_are_kept(tmp_path: Path) -> None:
    (tmp_path / "p.csv").write_text("probability,tag,rank,image_id\n.5,dog,2,a\n.5,cat,1,b\n.5,dog,1,a\n")
    assert_equal(read_predictions(tmp_path / "p.csv"), {"a": [("dog", 0.5), ("dog", 0.5)], "b": [("cat", 0.5)]})


def test_tags_are_cleaned_as_those_of_tag_lists_are(tmp_path: Path) -> None:
    (tmp_path / "p.csv").write_text("image_id,rank,tag\na,1, cafe\u0301 \n", encoding="utf-8")
    assert read_predictions(tmp_path / "p.csv")["a"][0][0] == "café"


LONG = "image_id,rank,tag,probability\n"
WIDE = "image_id,tags,probabilities\n"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", ["is empty"]),
        ("image_id,tag\n", ["no column 'rank'", "'image_id', 'tag'"]),
        ("name,tags\n", ["no column 'image_id'"]),
        (LONG + ",1,dog,.5\n", ["line 2", "no image_id"]),
        (LONG + "a,x,dog,.5\n", ["line 2", "rank 'x'"]),
        (LONG + "a,0,dog,.5\n", ["line 2", "rank '0'"]),
        (LONG + "a,1.0,dog,.5\n", ["line 2", "rank '1.0'"]),
        (LONG + "a,1_0,dog,.5\n", ["line 2", "rank '1_0'"]),
        (LONG + "a,١,dog,.5\n", ["line 2", "whole number"]),
        (LONG + f"a,{'9' * 5000},dog,.5\n", ["line 2", "whole number"]),
        (LONG + "a,,dog,.5\n", ["line 2", "rank ''"]),
        (LONG + "a,1,,.5\n", ["line 2", "no tag"]),
        (LONG + "a,1,dog,.5\nb,1,dog,.5\na,1,cat,.5\n", ["rank 1 of 'a'", "line 2", "line 4"]),
        (LONG + "a,1,dog,.5\na,3,cat,.5\n", ["'a'", "none at rank 2"]),
        (LONG + "a,2,dog,.5\n", ["'a'", "none at rank 1"]),
        (LONG + "a,1,dog,.5\na,,,\n", ["line 3", "'a'"]),
        (LONG + "a,,,\na,1,dog,.5\n", ["line 3", "'a'"]),
        (LONG + "a,,,\na,,,\n", ["line 3", "'a'"]),
        (LONG + "a,1,dog,high\n", ["line 2", "probability 'high'"]),
        (LONG + "a,1,dog,nan\n", ["line 2", "probability 'nan'"]),
        (LONG + "a,1,dog,1.5\n", ["line 2", "probability '1.5'", "from 0 to 1"]),
        (LONG + "a,1,dog,-0.1\n", ["line 2", "probability '-0.1'"]),
        (WIDE + ",dog,.5\n", ["line 2", "no image_id"]),
        (WIDE + "a,dog,.5\na,cat,.5\n", ["'a'", "line 2", "line 3"]),
        (WIDE + "a,dog|cat,.5\n", ["line 2", "2 tags and 1 probabilities"]),
        (WIDE + "a,,.5\n", ["line 2", "0 tags and 1 probabilities"]),
        (WIDE + "a,dog||cat,\n", ["line 2", "tag 2 of 3 is empty"]),
        (WIDE + "a,dog,x\n", ["line 2", "probability 'x'"]),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, text: str, words: list[str]) -> None:
    path = tmp_path / "p.csv"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(RanktagError) as error:
        read_predictions(path)
    for word in [str(path), *words]:
        assert word in str(error.value)


def test_a_tag_that_holds_the_separator_cannot_be_written_wide(tmp_path: Path) -> None:
    with pytest.raises(RanktagError, match=r"'a\|b'"):
        write_predictions(tmp_path / "p.csv", {"x": [("a|b", 0.5)]}, "wide")
    assert not any(tmp_path.iterdir())


@given(
    st.binary(max_size=200)
    | st.text(st.sampled_from("image_d,rktgs|\"\n\r01.5ax'="), max_size=80).map(lambda t: (LONG + t).encode())
)
def test_whatever_the_bytes_only_the_projects_own_error_is_raised(content: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "p.csv"
        path.write_bytes(content)
        message = ""
        try:
            read_predictions(path)
        except RanktagError as error:
            message = str(error)
        assert "\n" not in message


SPLITS = {"b.jpg": "train", "a.jpg": ""}


@pytest.mark.parametrize("format", ["long", "wide"])
def test_how_the_model_saw_an_image_stands_in_the_last_column(tmp_path: Path, format: str) -> None:
    predictions = PredictionsWithSplit({"b.jpg": [("dog", 0.75), ("grass", 0.5)], "a.jpg": []}, SPLITS)
    write_predictions(tmp_path / "p.csv", predictions, format)
    text = (tmp_path / "p.csv").read_text()
    assert (
        text
        == {
            "long": "image_id,rank,tag,probability,split\nb.jpg,1,dog,0.75,train\nb.jpg,2,grass,0.5,train\na.jpg,,,,\n",
            "wide": "image_id,tags,probabilities,split\nb.jpg,dog|grass,0.75|0.5,train\na.jpg,,,\n",
        }[format]
    )
    read = read_predictions(tmp_path / "p.csv")
    assert read == predictions and seen_split(read) == SPLITS
    frame = predictions_to_frame(read)
    assert frame["split"].tolist() == ["train", "train", ""]
    again = predictions_from_frame(frame)
    assert again["b.jpg"] == predictions["b.jpg"] and seen_split(again) == SPLITS
    # Files without the column, and predictions of which nobody knows it.
    write_predictions(tmp_path / "old.csv", dict(predictions), format)
    assert (
        "split" not in (tmp_path / "old.csv").read_text() and seen_split(read_predictions(tmp_path / "old.csv")) is None
    )


def test_a_wide_file_of_a_model_that_saw_some_images_is_still_a_tag_list_file(tmp_path: Path) -> None:
    write_predictions(tmp_path / "p.csv", PredictionsWithSplit({"b.jpg": [("dog", 0.75)], "a.jpg": []}, SPLITS), "wide")
    assert read_tag_lists(tmp_path / "p.csv") == TagLists({"b.jpg": [("dog",)], "a.jpg": [()]})


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ("a,1,dog,,tset\n", "line 2: split 'tset' is not one of train, val, test"),
        ("a,1,dog,,test\na,2,cat,,train\n", "line 3: 'a' is in split 'train' there and in 'test' before"),
    ],
)
def test_a_split_that_makes_no_sense_is_named(tmp_path: Path, rows: str, words: str) -> None:
    (tmp_path / "p.csv").write_text("image_id,rank,tag,probability,split\n" + rows)
    with pytest.raises(RanktagError, match=words):
        read_predictions(tmp_path / "p.csv")


@given(st.permutations(range(6)))
def test_the_order_of_rows_makes_no_difference(order: list[int]) -> None:
    rows = [("a", 1, "x", 0.5), ("a", 2, "y", 0.25), ("a", 3, "z", None), ("b", None, None, None), ("c", 1, "x", 0.0)]
    rows.append(("c", 2, "y", 1.0))
    frame = pd.DataFrame(rows, columns=["image_id", "rank", "tag", "probability"])
    found = predictions_from_frame(frame.iloc[order])
    expected = {"a": ["x", "y", "z"], "b": [], "c": ["x", "y"]}
    assert {i: [tag for tag, _ in tags] for i, tags in found.items()} == expected
    assert found["c"] == [("x", 0.0), ("y", 1.0)] and math.isnan(found["a"][2][1])
    # Whatever else is wrong in such a file is said, in whichever order.
    for wrong in (
        ("a", 2, "again", 0.1),
        ("b", 1, "x", 0.1),
        ("d", 2, "x", 0.1),
        ("a", 4, "x", 2.0),
        ("", 1, "x", 0.1),
    ):
        with pytest.raises(RanktagError):
            predictions_from_frame(pd.concat([frame, pd.DataFrame([wrong], columns=frame.columns)]).iloc[[*order, 6]])
