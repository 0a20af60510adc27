"""A cache and tag lists, joined by image id."""

from __future__ import annotations

from pathlib import Path

import pytest
from making import make_cache, make_data, make_tags, tiny

from ranktag.errors import RanktagError
from ranktag.models.checkpoint import load_checkpoint
from ranktag.tags.lists import read_tag_lists
from ranktag.training.train import train
from ranktag.training_data.join import join


def test_no_id_in_both_files_names_one_of_each(tmp_path: Path) -> None:
    cache, tags = make_data(tmp_path)
    make_tags(tags, {"a/000.jpg": [["dog"]]})
    with pytest.raises(RanktagError, match=r"none of its image ids .*'000\.jpg', here: 'a/000\.jpg'"):
        train(cache, tags, tmp_path / "run", tiny())


def test_a_made_split_is_noted_and_recorded(tmp_path: Path) -> None:
    cache, tags = make_data(tmp_path)
    make_tags(tags, read_tag_lists(tags).lists)
    report = train(cache, tags, tmp_path / "run", tiny(epochs=1, split_seed=5))
    assert "no split column: 24 train, 3 val, 3 test (seed 5)" in report.notes
    split = load_checkpoint(tmp_path / "run").split
    assert sorted(i for ids in split.values() for i in ids) == [f"{n:03}.jpg" for n in range(30)]
    assert join(cache, tags, 5).split == {i: part for part, ids in split.items() for i in ids}
    assert join(cache, tags, 6).split != join(cache, tags, 5).split


COMPOSED, DECOMPOSED = "caf\u00e9.jpg", "cafe\u0301.jpg"


def test_ids_that_differ_in_unicodes_form_only_are_joined_and_said_once(tmp_path: Path) -> None:
    cache = make_cache(tmp_path / "c.h5", [DECOMPOSED, "b.jpg", "u\u0308.jpg"])
    tags = make_tags(
        tmp_path / "t.csv",
        {COMPOSED: [["dog"]], "b.jpg": [["cat"]], "\u00fc.jpg": [["sky"]]},
        {COMPOSED: "train", "b.jpg": "val", "\u00fc.jpg": "test"},
    )
    joined = join(cache, tags, 0)
    assert list(joined.image_ids) == [DECOMPOSED, "b.jpg", "u\u0308.jpg"] and joined.rows.tolist() == [0, 1, 2]
    assert joined.split == {DECOMPOSED: "train", "b.jpg": "val", "u\u0308.jpg": "test"}
    assert joined.notes == [
        "2 image ids differ from the names they are meant to be in Unicode's form only and are taken for the same: "
        r"caf\xe9.jpg for cafe\u0301.jpg, ..."
    ]


@pytest.mark.parametrize(
    ("in_cache", "in_tags"),
    [
        ([DECOMPOSED], [COMPOSED, DECOMPOSED]),
        # The sign of the angstrom, the letter, and the letter in two parts.
        (["\u212b.jpg", "\u00c5.jpg"], ["A\u030a.jpg"]),
        (["A\u030a.jpg"], ["\u212b.jpg", "\u00c5.jpg"]),
    ],
)
def test_two_ids_that_would_be_one_image_are_refused_by_name(
    tmp_path: Path, in_cache: list[str], in_tags: list[str]
) -> None:
    cache = make_cache(tmp_path / "c.h5", in_cache)
    tags = make_tags(tmp_path / "t.csv", {i: [["dog"]] for i in in_tags})
    with pytest.raises(RanktagError, match=r"look alike and differ in Unicode's form only") as caught:
        join(cache, tags, 0)
    twice = in_cache if len(in_cache) == 2 else in_tags
    assert str(tags) in str(caught.value)
    assert all(i.encode("ascii", "backslashreplace").decode() in str(caught.value) for i in twice)


def test_two_photos_whose_names_look_alike_are_two_where_the_tags_spell_them_so(tmp_path: Path) -> None:
    cache = make_cache(tmp_path / "c.h5", [COMPOSED, DECOMPOSED])
    tags = make_tags(
        tmp_path / "t.csv", {DECOMPOSED: [["dog"]], COMPOSED: [["cat"]]}, {COMPOSED: "train", DECOMPOSED: "val"}
    )
    joined = join(cache, tags, 0)
    assert joined.rows.tolist() == [1, 0] and not joined.notes
