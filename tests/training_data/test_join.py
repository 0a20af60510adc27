"""A cache and tag lists, joined by image id."""

from __future__ import annotations

from pathlib import Path

import pytest
from making import make_data, make_tags, tiny

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
