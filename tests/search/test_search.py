"""Searches: what they find, in which order, and the index that is kept beside the predictions."""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from outcome import Outcome

from ranktag.config import SearchConfig
from ranktag.errors import RanktagError
from ranktag.search import index as index_module
from ranktag.search.index import TagIndex, open_index
from ranktag.search.query import Query
from ranktag.search.search import find, search
from ranktag.tags.predictions import Predictions, write_predictions
from ranktag.tags.spelling import folded

PREDICTIONS: Predictions = {
    "corner.jpg": [("beach", 0.9), ("sky", 0.8), ("Dog", 0.9)],
    "portrait.jpg": [("dog", 0.8), ("beach", 0.1)],
    "cat.jpg": [("cat", 0.9), ("dog", 0.5)],
    "nothing.jpg": [],
    "truck.jpg": [("fire truck", 0.7)],
}


def ids(query: str, by: str = "importance", predictions: Predictions = PREDICTIONS) -> list[str]:
    return [image.image_id for image in search(query, predictions, SearchConfig(by=by)).first()]


def test_a_dog_that_matters_comes_before_a_dog_in_a_corner() -> None:
    # 0.8 x 1, 0.9 x 0.5, 0.5 x 0.63
    assert ids("dog") == ["portrait.jpg", "corner.jpg", "cat.jpg"]
    assert ids("dog", "presence") == ["corner.jpg", "portrait.jpg", "cat.jpg"]


def test_all_wanted_tags_have_to_be_there_and_no_unwanted_one() -> None:
    assert ids("dog beach") == ["corner.jpg", "portrait.jpg"]
    assert ids("dog -cat -sky") == ["portrait.jpg"]
    assert ids("-dog") == ["nothing.jpg", "truck.jpg"]
    assert ids('"fire truck"') == ["truck.jpg"]
    assert ids("dog -dog") == []
    assert ids("dog -unheard") == ids("dog")


def test_what_is_said_of_a_photo() -> None:
    found = search("DOG beach", PREDICTIONS)
    first = next(found.first())
    assert len(found) == 2 and first.relevance == pytest.approx(0.9 * 0.5 + 0.9)
    assert [(tag.tag, tag.rank) for tag in first.tags] == [("dog", 3), ("beach", 1)]
    assert [tag.probability for tag in first.tags] == pytest.approx([0.9, 0.9])


def test_equally_relevant_photos_stand_as_in_the_file_and_repeated_tags_count_once() -> None:
    same: Predictions = {f"{name}.jpg": [("dog", float("nan")), ("DOG", 0.1)] for name in "cab"}
    assert ids("dog", predictions=same) == ["c.jpg", "a.jpg", "b.jpg"]
    assert [image.relevance for image in search("dog", same).first()] == [1.0, 1.0, 1.0]


def test_a_mistyped_tag_is_an_error_that_names_what_may_be_meant() -> None:
    with pytest.raises(RanktagError, match="'dgo'; did you mean dog"):
        search("dgo", PREDICTIONS)
    with pytest.raises(RanktagError, match="'truck'; did you mean \"fire truck\""):
        search("truck", PREDICTIONS)
    with pytest.raises(RanktagError, match="names no tag"):
        search(' "" ', PREDICTIONS)


tags = st.sampled_from(["a", "b", "c", "d d"])
lists = st.lists(st.tuples(tags, st.floats(0.0, 1.0, width=32)), max_size=5, unique_by=lambda pair: pair[0])


@settings(max_examples=50)
@given(st.lists(lists, max_size=8), st.lists(tags, max_size=3, unique=True), st.lists(tags, max_size=1))
def test_it_finds_what_a_loop_over_the_lists_finds(
    predicted: list[list[tuple[str, float]]], wanted: list[str], unwanted: list[str]
) -> None:
    predictions = {f"{number}": one for number, one in enumerate(predicted)}
    expected = []
    for image_id, one in predictions.items():
        places = {tag: (rank, probability) for rank, (tag, probability) in enumerate(one, 1)}
        if all(tag in places for tag in wanted) and not any(tag in places for tag in unwanted):
            relevant = 0.0
            for tag in wanted:
                relevant += places[tag][1] * (1.0 / np.log2(1.0 + places[tag][0]))
            expected.append((image_id, relevant))
    expected.sort(key=lambda pair: -pair[1])
    found = find(Query(tuple(wanted), tuple(unwanted)), TagIndex.of(predictions), "importance")
    if all(folded(tag) in found.index.numbers for tag in wanted):
        assert [(image.image_id, image.relevance) for image in found.first()] == expected
    else:
        assert len(found) == 0 and expected == []


@pytest.fixture
def file(tmp_path: Path) -> Path:
    write_predictions(tmp_path / "p.csv", PREDICTIONS)
    return tmp_path / "p.csv"


def test_the_index_is_kept_and_used_until_the_file_changes(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = open_index(file)
    kept = file.with_name(".p.csv.search.npz")
    assert kept.is_file()
    with monkeypatch.context() as patch:
        patch.setattr(index_module, "read_predictions", lambda path: pytest.fail("was read again"))
        again = open_index(file)
    assert [again.ids[n] for n in range(len(again))] == list(PREDICTIONS)
    assert again.numbers == first.numbers
    np.testing.assert_array_equal(again.listed.images, first.listed.images)
    # As large and as old as before, but another.
    state = file.stat()
    file.write_text(file.read_text().replace("fire truck", "FIRE_TRUCK"))
    os.utime(file, ns=(state.st_atime_ns, state.st_mtime_ns))
    assert file.stat().st_size == state.st_size
    assert "fire_truck" in open_index(file).numbers


@pytest.mark.parametrize("damage", [b"", b"no zip file", None])
def test_a_damaged_index_is_made_anew(file: Path, damage: bytes | None) -> None:
    open_index(file)
    kept = file.with_name(".p.csv.search.npz")
    content = bytearray(kept.read_bytes())
    content[len(content) // 2] ^= 0xFF
    kept.write_bytes(bytes(content) if damage is None else damage)
    assert "fire truck" in open_index(file).numbers
    assert [image.image_id for image in search("dog", file).first()] == ids("dog")


def test_any_changed_byte_of_the_index_changes_no_answer(file: Path) -> None:
    open_index(file)
    kept = file.with_name(".p.csv.search.npz")
    whole = kept.read_bytes()
    for place in range(0, len(whole), 101):
        kept.write_bytes(whole[:place] + bytes([whole[place] ^ 0x55]) + whole[place + 1 :])
        assert [image.image_id for image in search("dog", file).first()] == ids("dog")


def test_a_place_that_cannot_be_written_costs_the_index_only(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(index_module, "_save", refuse)
    assert len(search("dog", file)) == 3


def test_the_command_prints_a_table_csv_and_json(file: Path, ranktag: Callable[..., Outcome]) -> None:
    outcome = ranktag("search", "dog", file, "--limit", 2)
    assert (outcome.code, outcome.out.splitlines()) == (
        0,
        [
            "   1  portrait.jpg  0.800  dog 1st 80.0%",
            "   2  corner.jpg    0.450  dog 3rd 90.0%",
            "and 1 more (--limit 0 prints all)",
        ],
    )
    rows = list(csv.DictReader(io.StringIO(ranktag("search", "dog beach", file, "--format", "csv").out)))
    assert rows[0] == {
        "place": "1", "image_id": "corner.jpg", "relevance": "1.35", "ranks": "3|1", "probabilities": "0.9|0.9",
    }  # fmt: skip
    answer = json.loads(ranktag("search", "dog -cat", file, "--json", "--by", "presence").out)
    assert answer["found"] == 2 and [image["image_id"] for image in answer["images"]] == ["corner.jpg", "portrait.jpg"]
    assert ranktag("search", "dog -dog", file).out == "No photo has all of these tags.\n"
    assert answer["images"][0]["tags"] == [{"tag": "dog", "rank": 3, "probability": pytest.approx(0.9)}]
    ranktag("search", "dgo", file).assert_refused("did you mean dog")
    ranktag("search", "dog", file.with_name("none.csv")).assert_refused("none.csv")
