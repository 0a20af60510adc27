"""Completion: the rests of people's lists against what a model says comes next, checked by hand."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from outcome import Outcome

from ranktag import evaluate
from ranktag.config import EvaluationConfig
from ranktag.errors import RanktagError
from ranktag.evaluation.matches import match
from ranktag.evaluation.metrics.keystroke_saving import ON_SCREEN, per_image
from ranktag.tags.completions import Completions, read_completions, write_completions
from ranktag.tags.lists import TagLists, clean_tag, write_tag_lists
from ranktag.tags.predictions import write_predictions

D2, D3 = 1 / math.log2(3), 0.5
ONE = EvaluationConfig(given=1, resamples=50)
# Two people of a.jpg begin with dog, a third otherwise, a fourth has nothing more to say.
LISTS = {
    "a.jpg": [("dog", "cat"), ("dog", "sky", "cat"), ("Sky", "dog"), ("cat",)],
    "b.jpg": [("sea", "sand")],
    "c.jpg": [("sea",), ()],
}
ANSWERS = {
    "a.jpg": {("dog",): [("cat", 0.9), ("sky", 0.8)], ("Sky",): [("tree", 0.5), ("dog", 0.4)]},
    "b.jpg": {("sea",): []},
}
NOTHING: dict[str, dict[tuple[str, ...], list[tuple[str, float]]]] = {
    image_id: {given: [] for given in several} for image_id, several in ANSWERS.items()
}
SPLIT = {"a.jpg": "test", "b.jpg": "test"}


def test_every_rest_is_scored_and_an_image_is_the_mean_over_its_people() -> None:
    report = evaluate({"model": Completions(ANSWERS, SPLIT)}, TagLists(LISTS), config=ONE)
    assert report.image_ids == ("a.jpg", "b.jpg")
    assert report.lists == {"a.jpg": [("cat",), ("sky", "cat"), ("dog",)], "b.jpg": [("sand",)]}
    column = report.metrics.values.index
    a, b = report.rows[0].values
    # cat is first of ("cat",); ("sky", "cat") is named in the other order; dog stands second.
    second = (D2 * 1 + 1 * D2) / (1 + D2 * D2)
    assert a[column("ndcg@5")] == pytest.approx((1 + second + D2) / 3)
    assert a[column("next_tag")] == pytest.approx(1 / 3) and b[column("next_tag")] == 0
    assert (a[column("tags_picked")], a[column("tags_written")]) == (4, 4)
    assert report.rows[0].scores["keystroke_saving"].value == pytest.approx(4 / 5)
    assert report.rows[0].scores["ndcg@5"].value == pytest.approx(a[column("ndcg@5")] / 2)
    assert "first_tag" not in report.metrics.metrics and report.people is None


def test_an_image_counts_with_all_its_beginnings_or_is_missing() -> None:
    split = dict.fromkeys(LISTS, "test")
    lacking = Completions({"b.jpg": ANSWERS["b.jpg"], "x.jpg": {("dog",): []}}, {})
    (row,) = evaluate({"model": lacking}, TagLists(LISTS, split), config=ONE).rows
    assert (row.images, row.missing, row.unknown) == (1, ("a.jpg",), ("x.jpg",))
    with pytest.raises(RanktagError, match="does not say what comes after Sky of 'a.jpg'"):
        evaluate({"model": Completions({"a.jpg": {("dog",): []}}, SPLIT)}, TagLists(LISTS), config=ONE)


def test_files_of_the_other_kind_are_refused(tmp_path: Path) -> None:
    completed, whole = Completions(ANSWERS, SPLIT), {"a.jpg": [("dog", 0.5)]}
    for predictions, config, words in (
        (whole, ONE, "holds whole lists, and not what comes next"),
        (completed, ONE.replace(given=2), "was given 1 tags of each list"),
        (completed, EvaluationConfig(), "says how lists go on that people began; score that alone with .*--given 1"),
        (completed, ONE.replace(given=3), "no list has more than 3 tags"),
    ):
        with pytest.raises(RanktagError, match=words):
            evaluate({"model": predictions}, TagLists(LISTS), config=config)
    with pytest.raises(RanktagError, match="--images shows whole lists"):
        evaluate({"model": completed}, TagLists(LISTS), config=ONE, images=tmp_path)


def test_beside_whole_lists_begun_ones_are_a_section_of_the_report(ranktag: Callable, tmp_path: Path) -> None:
    write_tag_lists(tmp_path / "tags.csv", TagLists(LISTS))
    whole = {image_id: [("dog", 0.9), ("cat", 0.5)] for image_id in LISTS}
    write_completions(tmp_path / "next.csv", Completions(ANSWERS, SPLIT))
    after_two = Completions({"a.jpg": {("dog", "sky"): [("cat", 0.8)]}}, {"a.jpg": "test"})
    # A row's files may be of both kinds; another has only one.
    rows = {"model": [whole, tmp_path / "next.csv", after_two], "none": [Completions(NOTHING, SPLIT)]}
    report = evaluate(rows, tmp_path / "tags.csv", tmp_path / "report", EvaluationConfig(resamples=50))
    alone = evaluate({"model": tmp_path / "next.csv", "none": Completions(NOTHING, SPLIT)}, TagLists(LISTS), config=ONE)
    assert [(row.label, row.images) for row in report.rows] == [("model", 3)]
    one, two = report.completion
    # As text, since nothing is equal to nan.
    assert [str(row.scores) for row in one.rows] == [str(row.scores) for row in alone.rows]
    assert (one.config.given, two.config.given) == (1, 2)
    assert [row.scores["ndcg@5"].value for row in two.rows] == [1.0]
    header, *lines = (tmp_path / "report" / "completion.csv").read_text().splitlines()
    assert header.startswith("given,label,")
    assert [line.split(",")[:2] for line in lines] == [["1", "model"], ["1", "none"], ["2", "model"]]
    page = (tmp_path / "report" / "report.html").read_text()
    section = page[page.index("<h2>Completion</h2>") :]
    assert "Keystroke saving is the share" in section and "<h3>After 2 tags</h3>" in section
    assert (
        section.index("<h3>After 1 tag</h3>") < section.index("none</bdi> is ") < section.index("<h3>After 2 tags</h3>")
    )
    write_predictions(tmp_path / "whole.csv", whole)
    printed = ranktag("evaluate", tmp_path / "whole.csv", tmp_path / "next.csv", tmp_path / "tags.csv")
    assert "1 prediction against the rest of 4 lists of tags.csv after 1 given tag" in printed.out


TAG = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0|"), min_size=1, max_size=4).map(
    lambda tag: f"x{tag}x"
)


BEGINNINGS = st.dictionaries(st.tuples(TAG), st.lists(TAG, unique=True, max_size=3), min_size=1, max_size=3)


@given(st.dictionaries(TAG, BEGINNINGS, min_size=1, max_size=3))
def test_completions_come_back_from_a_file(tmp_path_factory: pytest.TempPathFactory, found: dict) -> None:
    written = Completions(
        {i: {given: [(tag, 0.25) for tag in tags] for given, tags in several.items()} for i, several in found.items()},
        dict.fromkeys(found, "val"),
    )
    path = tmp_path_factory.mktemp("completions") / "c.csv"
    write_completions(path, written)
    read = read_completions(path)
    assert read.split == written.split
    assert {i: {g: [t for t, _ in r] for g, r in s.items()} for i, s in read.items()} == {
        i: {tuple(map(clean_tag, g)): [clean_tag(t) for t, _ in r] for g, r in s.items()} for i, s in written.items()
    }


@given(st.lists(st.permutations(range(12)).map(lambda p: p[:5]), min_size=1, max_size=3), st.permutations(range(9)))
def test_keystroke_saving_is_what_a_person_who_looks_at_the_screen_saves(
    people: list[list[int]], predicted: list[int]
) -> None:
    picked = 0
    for person in people:
        done: set[int] = set()
        for tag in person:
            picked += tag in [p for p in predicted if p not in done][:ON_SCREEN]
            done.add(tag)
    found, written = per_image(match([people], [predicted]))
    np.testing.assert_array_equal((found, written), ([picked], [sum(map(len, people))]))


def test_the_command_writes_a_report(tmp_path: Path, ranktag: Callable[..., Outcome]) -> None:
    write_completions(tmp_path / "p.csv", Completions(ANSWERS, SPLIT))
    worse = {i: dict.fromkeys(several, []) for i, several in ANSWERS.items()}
    write_completions(tmp_path / "worse.csv", Completions(worse, SPLIT))
    (tmp_path / "tags.csv").write_text(
        "image_id,tags\na.jpg,dog|cat\na.jpg,dog|sky|cat\na.jpg,Sky|dog\na.jpg,cat\nb.jpg,sea|sand\n"
    )
    call = ("evaluate", tmp_path / "p.csv", tmp_path / "worse.csv", tmp_path / "tags.csv")
    done = ranktag(*call, "--given", 1, "-o", tmp_path / "report", "--resamples", 20)
    assert done.code == 0, done
    assert "against the rest of 4 lists of tags.csv after 1 given tag" in done.out
    assert "next tag" in done.out and "keystroke saving (tags)" in done.out
    assert (tmp_path / "report" / "report.html").exists()
    ranktag(*call).assert_refused("'p' says how lists go on that people began", "--given 1")
