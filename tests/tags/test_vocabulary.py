"""The vocabulary: counted, ordered, and its numbers."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ranktag.errors import RanktagError
from ranktag.tags.vocabulary import Vocabulary

LISTS = [["dog", "cat"], ["dog"], ["sky", "cat", "dog"], ["ant"]]


def test_the_most_frequent_first_and_equal_ones_by_name() -> None:
    vocabulary = Vocabulary.from_lists(LISTS)
    assert vocabulary.tags == ("dog", "cat", "ant", "sky")
    assert len(vocabulary) == vocabulary.stop == vocabulary.start == 4
    assert Vocabulary.from_lists(LISTS, min_count=2).tags == ("dog", "cat")


def test_a_tag_counts_once_a_list() -> None:
    assert Vocabulary.from_lists([["dog", "dog"], ["cat"], ["cat"]], min_count=2).tags == ("cat",)


def test_unknown_tags_are_left_out() -> None:
    vocabulary = Vocabulary(("a", "b", "c"))
    assert vocabulary.encode(["c", "unknown", "a"]) == [2, 0]
    assert vocabulary.decode([2, 0]) == ("c", "a")


def test_start_and_stop_are_no_tags() -> None:
    vocabulary = Vocabulary.from_lists([["START", "STOP", "<end>"]])
    assert vocabulary.encode(["STOP", "START"]) == [2, 1] and vocabulary.stop == 3


def test_no_tag_frequent_enough_is_refused() -> None:
    with pytest.raises(RanktagError, match=r"at least 5 training lists \(--min-count\); there are 4 tags"):
        Vocabulary.from_lists(LISTS, min_count=5)
    with pytest.raises(RanktagError, match="there are 0 tags"):
        Vocabulary.from_lists([[], []])


def test_a_tag_named_twice_is_refused() -> None:
    with pytest.raises(RanktagError, match="twice"):
        Vocabulary(("a", "b", "a"))


@given(st.lists(st.lists(st.text(max_size=3), unique=True), min_size=1), st.integers(1, 3))
def test_every_frequent_tag_has_one_number(lists: list[list[str]], min_count: int) -> None:
    counts = Counter(tag for tags in lists for tag in tags)
    frequent = {tag for tag, n in counts.items() if n >= min_count}
    if not frequent:
        with pytest.raises(RanktagError):
            Vocabulary.from_lists(lists, min_count)
        return
    vocabulary = Vocabulary.from_lists(lists, min_count)
    assert set(vocabulary.tags) == frequent
    assert list(vocabulary.tags) == sorted(frequent, key=lambda tag: (-counts[tag], tag))
    for tags in lists:
        assert vocabulary.decode(vocabulary.encode(tags)) == tuple(tag for tag in tags if tag in frequent)
    assert Vocabulary.from_lists(lists[::-1], min_count) == vocabulary
