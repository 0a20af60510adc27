"""Spellings of a tag: which are one, which of them stands for all, and what is told."""

from __future__ import annotations

from pathlib import Path

import pytest
from comparing import predicted, score
from making import make_cache, make_tags, tiny

from ranktag.config import EvaluationConfig
from ranktag.errors import RanktagError
from ranktag.evaluation.compare import compare
from ranktag.evaluation.report.text import to_text
from ranktag.tags.lists import TagLists, read_tag_lists, write_tag_lists
from ranktag.tags.predictions import PredictionsWithSplit, seen_split
from ranktag.tags.readers import csv as table
from ranktag.tags.spelling import Spelling, folded
from ranktag.training.train import train


@pytest.mark.parametrize("spelling", ["fire truck", "Fire Truck", "FIRE  truck", "\uff46ire truck", "fire\u00a0truck"])
def test_case_spaces_and_unicode_form_make_no_other_tag(spelling: str) -> None:
    assert folded(spelling) == "fire truck"
    assert folded("firetruck") != "fire truck" and folded("Stra\u00dfe") == folded("STRASSE")


def test_the_most_frequent_spelling_stands_for_all() -> None:
    spelling = Spelling.of([("Person", "dog"), ("person", "PERSON"), ("person",), ("Dog",)])
    # Person once, person twice; dog and Dog once each: capitals come first.
    assert spelling.merged == {"PERSON": "person", "Person": "person", "dog": "Dog"}
    assert spelling.spell_list(("PERSON", "cat", "Person", "dog")) == ("person", "cat", "Dog")
    assert "only in case, spaces or Unicode form are taken for one (3 spellings): 'PERSON' is" in spelling.note()
    assert "--keep-case" in spelling.note() and Spelling({"a": 1, "b": 2}).note() == ""


def data(folder: Path) -> tuple[Path, Path]:
    ids = [f"{n:02}.jpg" for n in range(10)]
    lists = {i: [["person", "dog"]] for i in ids} | {"00.jpg": [["Person", "person"]], "07.jpg": [["PERSON"]]}
    split = {i: "val" if n > 6 else "train" for n, i in enumerate(ids)}
    return make_cache(folder / "cache.h5", ids), make_tags(folder / "tags.csv", lists, split)


def test_a_vocabulary_has_one_of_them_and_says_so(tmp_path: Path) -> None:
    cache, tags = data(tmp_path)
    merged = train(cache, tags, tmp_path / "merged", tiny(model="popularity"))
    assert merged.vocabulary == 2 and sum("'Person' is 'person'" in note for note in merged.notes) == 1
    # The spelling of a validation image finds its tag, too: it is the first of the two, so all are right.
    assert merged.ndcg5 == pytest.approx(1.0)
    kept = train(cache, tags, tmp_path / "kept", tiny(model="popularity", keep_case=True))
    assert kept.vocabulary == 3 and kept.notes == [] and kept.ndcg5 == pytest.approx(2 / 3)


def test_evaluation_takes_them_for_one_tag() -> None:
    truth = TagLists({"a": [("Person", "dog")], "b": [("person",)], "c": [("person",)]})
    said = PredictionsWithSplit(predicted(a="person|dog", b="PERSON", c="person"), {"a": "test"})
    report = compare({"row": [said]}, truth)
    assert score(report, "ndcg@5") == 1.0 and report.rows[0].counts["order_pairs"] == 1
    assert "'Person' is 'person'" in to_text(report)
    apart = compare({"row": [said]}, truth, EvaluationConfig(keep_case=True))
    assert score(apart, "first_tag") == pytest.approx(1 / 3) and "'Person'" not in to_text(apart)
    assert seen_split(said) == {"a": "test"}


@pytest.mark.parametrize(("sign", "written"), [(",", ","), (";", "';'")])
def test_a_table_of_another_separator_is_told_so(tmp_path: Path, sign: str, written: str) -> None:
    path = tmp_path / "tags.csv"
    path.write_text(f'image_id,tags\na.jpg,"dog{sign} grass"\nb.jpg,"cat{sign}sofa{sign}lamp"\nc.jpg,cow\n')
    words = f"2 of 3 rows with tags hold '{sign}' and no '.*--tag-separator {written} -o NEW.csv"
    with pytest.raises(RanktagError, match=words):
        read_tag_lists(path)
    with pytest.raises(RanktagError, match=words):
        table.read(path, table.TableConfig())
    lists = table.read(path, table.TableConfig(tag_separator=sign)).lists
    assert lists == {"a.jpg": [("dog", "grass")], "b.jpg": [("cat", "sofa", "lamp")], "c.jpg": [("cow",)]}


def test_tags_that_do_hold_a_comma_are_read_as_they_are(tmp_path: Path) -> None:
    # In half of the rows, beside others, and as ranktag writes them itself.
    for name, rows in (("half", 'a,"x,y"\nb,z\n'), ("beside", 'a,"x,y|z"\nb,"u,v"\n')):
        (tmp_path / name).write_text("image_id,tags\n" + rows)
        assert "x,y" in read_tag_lists(tmp_path / name).lists["a"][0], name
    lists = TagLists({"a": [("tench, Tinca tinca",)], "b": [("a; b",)]})
    write_tag_lists(tmp_path / "own.csv", lists)
    assert read_tag_lists(tmp_path / "own.csv") == lists
