"""Which tags are written: replaced, excluded, of a probability, the first so many, in that order."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from ranktag.config import ChoiceConfig
from ranktag.errors import RanktagError
from ranktag.tags.chosen import TagChoice

TAGS = [("dog", 0.9), ("Green Grass", 0.4), ("puppy", 0.95), ("sky", 0.3), ("lawn", 0.2)]


def chosen(folder: Path, replace: str = "", exclude: str = "", **settings: float | None) -> TagChoice:
    paths = {}
    for name, text in (("replacements", replace), ("exclude", exclude)):
        if text:
            paths[name] = folder / name
            paths[name].write_text(text, encoding="utf-8")
    return TagChoice(ChoiceConfig(**paths, **settings))  # type: ignore[arg-type]


def test_without_settings_all_tags_stay_as_they_are() -> None:
    assert TagChoice().of([*TAGS, ("dog", 0.1)]) == [*TAGS, ("dog", 0.1)]


def test_of_tags_that_become_one_the_first_keeps_its_place_and_probability(tmp_path: Path) -> None:
    choice = chosen(tmp_path, "old,new\npuppy,dog\ngreen grass,lawn\nsky,heaven\n")
    assert choice.of(TAGS) == [("dog", 0.9), ("lawn", 0.4), ("heaven", 0.3)]
    # A tag that is excluded under its new name, not under its old one.
    assert chosen(tmp_path, "old,new\nsky,heaven\n", "sky\nDOG\n").of(TAGS[:4]) == [
        ("Green Grass", 0.4),
        ("puppy", 0.95),
        ("heaven", 0.3),
    ]


def test_names_change_once_so_that_two_can_change_places(tmp_path: Path) -> None:
    choice = chosen(tmp_path, "old,new\ndog,puppy\npuppy,dog\n")
    assert choice.of(TAGS[:3]) == [("puppy", 0.9), ("Green Grass", 0.4), ("dog", 0.95)]


def test_the_first_are_counted_after_all_others_are_left_out(tmp_path: Path) -> None:
    choice = chosen(tmp_path, "old,new\npuppy,dog\n", "green  grass\n", min_probability=0.3, top=2)
    assert choice.of(TAGS) == [("dog", 0.9), ("sky", 0.3)]
    assert chosen(tmp_path, min_probability=0.5).of([("a", math.nan), ("b", 0.49)]) == [("a", math.nan)]


def test_a_list_of_tags_is_a_tag_a_line_or_a_column(tmp_path: Path) -> None:
    for text in ("\ufeffdog\n\n  sky \n", "tag,count\ndog,3\nsky,1\n"):
        assert [tag for tag, _ in chosen(tmp_path, exclude=text).of(TAGS)] == ["Green Grass", "puppy", "lawn"]


def test_tags_that_the_model_does_not_know_are_said(tmp_path: Path) -> None:
    choice = chosen(tmp_path, "old,new\npupy,dog\nsky,heaven\n", "heaven\ngras\n")
    first, second = choice.unknown(["Dog", "sky", "grass"])
    assert first.endswith("replacements: 1 of its 2 tags are none of the model's ('pupy' first)")
    assert second.endswith("exclude: 1 of its 2 tags are none of the model's ('gras' first)")
    assert TagChoice().unknown(["dog"]) == []


@pytest.mark.parametrize(
    ("replace", "exclude", "word"),
    [
        ("old,new\ndog,cat\nDog,cow\n", "", "line 3: 'Dog' becomes 'cow' there and 'cat' before"),
        ("old,new\ndog,\n", "", "line 2 has no new tag.*--exclude"),
        ("old,new\n,dog\n", "", "line 2 has no old tag"),
        ("dog,cat\n", "", "no column 'old'"),
        ("old,new\ndog,animal|dog\n", "", "line 2: 'animal.dog' holds '.'"),
        ("", "\n", "holds no tag"),
    ],
)
def test_files_that_say_nothing_or_two_things_are_refused(
    tmp_path: Path, replace: str, exclude: str, word: str
) -> None:
    with pytest.raises(RanktagError, match=word):
        chosen(tmp_path, replace, exclude)


def test_what_decides_is_described_by_what_the_files_say(tmp_path: Path) -> None:
    one = chosen(tmp_path, "old,new\na,b\nc,d\n", "x\ny\n", top=3).describe()
    other = chosen(tmp_path, "old,new\nc,d\na,b\n", "y\nx\nx\n", top=3).describe()
    assert (
        one
        == other
        == {
            "replace": [["a", "b"], ["c", "d"]],
            "exclude": ["x", "y"],
            "min_probability": None,
            "top": 3,
        }
    )
