"""Tag lists: they round-trip, are cleaned, and belong to one split."""

from __future__ import annotations

import tempfile
import unicodedata
from collections import Counter
from pathlib import Path
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ranktag.errors import RanktagError
from ranktag.tags.lists import TagLists, clean_tag, join_tags, read_tag_lists, unique_tags, write_tag_lists
from ranktag.tags.splits import SPLITS, assign_splits

TEXT = st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="\0") | st.sampled_from("=+-@'\"\t\r\n,; é"),
    min_size=1,
    max_size=8,
)
TAGS = st.lists(TEXT.filter(lambda tag: "|" not in tag), max_size=4).map(unique_tags)


@st.composite
def tag_lists(draw: st.DrawFn) -> TagLists:
    lists = draw(
        st.dictionaries(TEXT.filter(str.strip), st.lists(TAGS, min_size=1, max_size=3), min_size=1, max_size=4)
    )
    split = {image_id: draw(st.sampled_from(SPLITS)) for image_id in lists} if draw(st.booleans()) else None
    people = (
        {i: [clean_tag(draw(TEXT)) for _ in several] for i, several in lists.items()} if draw(st.booleans()) else None
    )
    return TagLists(lists, split, people)


@given(tag_lists())
def test_round_trip(written: TagLists) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "t.csv"
        write_tag_lists(path, written)
        read = read_tag_lists(path)
        assert read == written and list(read.lists) == list(written.lists)


def write(folder: Path, content: str | bytes) -> Path:
    path = folder / "tags.csv"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def refused(path: Path, *words: str) -> None:
    with pytest.raises(RanktagError) as error:
        read_tag_lists(path)
    for word in (str(path), *words):
        assert word in str(error.value), str(error.value)
    assert "\n" not in str(error.value)


def test_the_file_looks_as_documented(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    write_tag_lists(
        path, TagLists({"b.jpg": [("dog", "a, b"), ()], "a.jpg": [("=x",)]}, {"b.jpg": "train", "a.jpg": "val"})
    )
    assert path.read_text() == 'image_id,split,tags\nb.jpg,train,"dog|a, b"\nb.jpg,train,\na.jpg,val,\'=x\n'


def test_tags_that_look_alike_are_alike_and_keep_their_first_place(tmp_path: Path) -> None:
    decomposed, composed = unicodedata.normalize("NFD", "café"), "café"
    assert decomposed != composed
    path = write(tmp_path, f"image_id,tags\na, dog |{decomposed}|dog|| cat|{composed}|\n")
    assert read_tag_lists(path).lists == {"a": [("dog", composed, "cat")]}


def test_case_is_kept(tmp_path: Path) -> None:
    assert read_tag_lists(write(tmp_path, "image_id,tags\na,Dog|dog\n")).lists == {"a": [("Dog", "dog")]}


@given(TEXT)
def test_cleaning_twice_changes_nothing(tag: str) -> None:
    assert clean_tag(clean_tag(tag)) == clean_tag(tag)


def test_an_empty_list_is_kept_and_several_rows_are_several_people(tmp_path: Path) -> None:
    path = write(tmp_path, "image_id,tags\na,dog|cat\nb,\na,cat\nc, | |\n")
    read = read_tag_lists(path)
    assert read.lists == {"a": [("dog", "cat"), ("cat",)], "b": [()], "c": [()]} and read.split is None


def test_a_split_belongs_to_the_image(tmp_path: Path) -> None:
    path = write(tmp_path, "split,image_id,tags\ntrain,a,dog\n val ,b,dog\ntrain,a,cat\n")
    assert read_tag_lists(path).split == {"a": "train", "b": "val"}
    # A column without a single entry is none.
    assert read_tag_lists(write(tmp_path, "image_id,tags,split\na,dog,\nb,cat,\n")).split is None


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("", ["is empty"]),
        ("image_id,tags\n", ["holds no tag list"]),
        ("image,labels\na,dog\n", ["no column 'image_id'", "'image', 'labels'"]),
        ("image_id,tags\na,\"['dog', cat]\"\n", ["line 2", "a list of which"]),
        ("image_id,tags,tags\n", ["'tags' twice"]),
        ("image_id,tags\na,dog\n,cat\n", ["line 3 has no image_id"]),
        ("image_id,tags,split\na,dog,training\n", ["line 2", "split 'training'", "train, val, test"]),
        ("image_id,tags,split\na,dog,train\nb,cat,val\na,dog,val\n", ["'a'", "'train' on line 2", "'val' on line 4"]),
        ("image_id,tags,split\na,dog,train\nb,cat,\n", ["line 3 has no split"]),
        ('image_id,tags,split\n"a\nb",dog,train\nc,cat\n', ["line 4 has 2 cells"]),
        (b"image_id,tags\na,\x81\n", ["is not UTF-8"]),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, content: str | bytes, words: list[str]) -> None:
    refused(write(tmp_path, content), *words)


def test_a_tag_that_holds_the_separator_is_not_written(tmp_path: Path) -> None:
    with pytest.raises(RanktagError, match=r"'a\|b'"):
        write_tag_lists(tmp_path / "t.csv", TagLists({"x": [("a|b",)]}))
    assert not any(tmp_path.iterdir())
    assert join_tags([]) == ""


@settings(max_examples=50)
@given(st.sets(st.text(max_size=6), max_size=60), st.integers(0, 99), st.randoms())
def test_a_made_split_does_not_depend_on_the_order(ids: set[str], seed: int, random: Random) -> None:
    shuffled = sorted(ids)
    random.shuffle(shuffled)
    split = assign_splits(shuffled, seed)
    assert split == assign_splits(sorted(ids), seed) and set(split) == ids
    counts = Counter(split.values())
    n = len(ids)
    assert counts["train"] >= (n >= 1) and counts["val"] >= (n >= 2) and counts["test"] >= (n >= 3)
    if n >= 5:
        assert abs(counts["val"] - 0.1 * n) <= 0.5 or counts["val"] == 1
        assert abs(counts["test"] - 0.1 * n) <= 0.5 or counts["test"] == 1


def test_a_made_split_follows_from_its_seed_in_ten_parts() -> None:
    ids = [f"{n}.jpg" for n in range(1000)]
    split = assign_splits(ids, 0)
    assert Counter(split.values()) == {"train": 800, "val": 100, "test": 100}
    other = assign_splits(ids, 1)
    # Two seeds share about one in ten of the validation images.
    assert len({i for i in ids if split[i] == other[i] == "val"}) < 30
    # The same on every machine and in every version: SHA-256 decides.
    assert {i: part for i, part in assign_splits(ids[:10], 0).items() if part != "train"} == {
        "2.jpg": "val",
        "8.jpg": "test",
    }
