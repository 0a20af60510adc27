"""Ids that are nearly alike: what each rule finds, what is ambiguous, and what is said."""

from __future__ import annotations

import pytest

from ranktag.tags.matching import Ids, what_would_join

KNOWN = Ids(["2019/IMG_1.JPG", "2020/IMG_1.JPG", "2020/IMG_2.jpg", "2020/IMG_2.png", "top.jpg"])


@pytest.mark.parametrize(
    ("image_id", "rule", "found"),
    [
        ("2019/IMG_1.JPG", "path", ["2019/IMG_1.JPG"]),
        ("2019/img_1.jpg", "path", ["2019/IMG_1.JPG"]),  # letter case
        ("2019\\IMG_1.JPG", "path", ["2019/IMG_1.JPG"]),  # backslashes
        ("photos/2019/IMG_1.JPG", "path", ["2019/IMG_1.JPG"]),  # an extra folder
        ("/home/me/top.jpg", "path", ["top.jpg"]),
        ("IMG_2.jpg", "path", ["2020/IMG_2.jpg"]),  # a missing folder
        ("IMG_1.JPG", "path", ["2019/IMG_1.JPG", "2020/IMG_1.JPG"]),  # which?
        ("2021/IMG_2.jpg", "path", []),  # another folder is another photo
        ("2021/IMG_2.jpg", "name", ["2020/IMG_2.jpg"]),
        ("2020/IMG_1.jpg", "name", ["2020/IMG_1.JPG"]),  # the folder decides between equal names
        ("top", "name", []),
        ("top", "stem", ["top.jpg"]),
        ("x/top.tif", "stem", ["top.jpg"]),
        ("IMG_2", "stem", ["2020/IMG_2.jpg", "2020/IMG_2.png"]),
    ],
)
def test_what_a_rule_finds(image_id: str, rule: str, found: list[str]) -> None:
    assert KNOWN.find(image_id, rule) == found


def test_the_nearest_name() -> None:
    assert KNOWN.nearest("tpo.jpg") == "top.jpg" and KNOWN.nearest("IGM_2.png") == "2020/IMG_2.png"
    assert KNOWN.nearest("IMG_3.png") is None  # another number is another photo
    assert KNOWN.nearest("nothing like it") is None


@pytest.mark.parametrize(
    ("lost", "words"),
    [
        (["A.jpg", "b.jpg"], "2 of them differ only in letter case ('A.jpg' here, 'a.JPG' there)"),
        (["photos/a.JPG", "q.jpg"], "1 of them differ only in a leading folder"),
        (["x\\c.jpg"], "1 of them differ only in '\\' for '/'"),
        (["y/c.jpg"], "1 of them differ only in the folders"),
        (["a", "c.png"], "2 of them differ only in the extension"),
    ],
)
def test_what_is_said(lost: list[str], words: str) -> None:
    said = what_would_join(lost, ["a.JPG", "b.JPG", "x/c.jpg"], "my.csv")
    assert said.startswith(words) and "'ranktag prepare csv my.csv --images PHOTOS --match " in said


def test_the_weakest_rule_that_finds_most_is_named() -> None:
    # By path one, by name and by stem both.
    said = what_would_join(["P/a.jpg", "q/c.jpg"], ["a.jpg", "x/c.jpg"], "my.csv")
    assert said.startswith("2 of them differ only in a leading folder or the folders (")
    assert "--match name" in said
    assert what_would_join(["z.jpg"], ["a.jpg"], "my.csv") == ""
