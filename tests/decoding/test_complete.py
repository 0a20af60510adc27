"""Lists that people began, gone on with: files in, files out."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from making import make_data, make_tags, tiny
from outcome import Outcome

from ranktag.config import DecodingConfig
from ranktag.decoding.complete import complete
from ranktag.decoding.decode import decode
from ranktag.errors import RanktagError
from ranktag.tags.completions import read_completions
from ranktag.tags.lists import read_tag_lists
from ranktag.tags.predictions import read_predictions
from ranktag.training.train import train

CONFIG = DecodingConfig(device="cpu", precision="fp32", samples=16)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("complete")
    cache, tags = make_data(folder)
    for model in ("every-step", "popularity"):
        train(cache, tags, folder / model, tiny(model=model, head=0.2))
    return folder


@pytest.mark.parametrize("model", ["every-step", "popularity"])
def test_only_images_with_a_given_list_change(folder: Path, tmp_path: Path, model: str) -> None:
    usual = decode(folder / "cache.h5", folder / model, tmp_path / "a.csv", CONFIG).predictions
    given = {"003.jpg": ("Sky", "dog"), "007.jpg": (), "none.jpg": ("cat",)}
    report = decode(folder / "cache.h5", folder / model, tmp_path / "b.csv", CONFIG, given=given)
    assert dict(report.given_missing) == {"none.jpg": "not in the cache"}
    assert report.notes[0] == "1 of 3 given lists are of images that are not in the cache: 'none.jpg'"
    assert {i for i in usual if usual[i] != report.predictions[i]} <= {"003.jpg"}
    rest = [tag for tag, _ in report.predictions["003.jpg"]]
    assert rest and not {"sky", "dog"} & set(rest)
    kept = decode(folder / "cache.h5", folder / model, tmp_path / "c.csv", CONFIG.replace(keep_given=True), given=given)
    assert kept.predictions["003.jpg"] == [("sky", 1.0), ("dog", 1.0), *report.predictions["003.jpg"]]
    assert list(read_predictions(tmp_path / "c.csv")) == list(usual)


def test_tags_that_the_model_does_not_know_are_said(folder: Path, tmp_path: Path) -> None:
    given = {"003.jpg": ("unicorn", "dog")}
    config = CONFIG.replace(keep_given=True)
    report = decode(folder / "cache.h5", folder / "every-step", tmp_path / "a.csv", config, given=given)
    assert report.notes == [
        "1 of the given tags are not among the 6 that the model knows: 'unicorn' "
        "(they take their place, and say nothing of what comes next)"
    ]
    assert [tag for tag, _ in report.predictions["003.jpg"]][:2] == ["unicorn", "dog"]


def test_an_update_decodes_again_what_is_given_otherwise(folder: Path, tmp_path: Path) -> None:
    def update(given: dict[str, tuple[str, ...]]) -> int:
        run, output = folder / "every-step", tmp_path / "a.csv"
        return decode(folder / "cache.h5", run, output, CONFIG, given=given, update=True).kept

    assert update({"001.jpg": ("dog",)}) == 0
    assert update({"001.jpg": ("dog",)}) == 30
    assert update({"001.jpg": ("cat",), "002.jpg": ("dog",)}) == 28
    assert update({"002.jpg": ("dog",)}) == 29


def test_every_persons_list_is_begun_once_for_every_beginning(folder: Path, tmp_path: Path) -> None:
    lists = {
        "000.jpg": [["dog", "cat"], ["dog", "sky", "cat"], ["sky", "dog"], ["car"]],
        "001.jpg": [["tree"]],
        "002.jpg": [["boat", "tree"]],
        "none.jpg": [["dog", "cat"]],
    }
    tags = make_tags(tmp_path / "tags.csv", lists)
    report = complete(folder / "cache.h5", folder / "every-step", tags, 1, tmp_path / "a.csv", CONFIG)
    assert (report.images, report.lists, list(report.missing)) == (2, 3, ["none.jpg"])
    found = read_completions(tmp_path / "a.csv")
    assert {i: list(several) for i, several in found.items()} == {
        "000.jpg": [("dog",), ("sky",)],
        "002.jpg": [("boat",)],
    }
    # As one by one.
    for image_id, several in found.items():
        for given, ranked in several.items():
            alone = decode(
                folder / "cache.h5", folder / "every-step", tmp_path / "b.csv", CONFIG, given={image_id: given},
                images=[image_id], overwrite=True,
            )  # fmt: skip
            assert [tag for tag, _ in ranked] == [tag for tag, _ in alone.predictions[image_id]]
    with pytest.raises(RanktagError, match="no list has more than 3 tags; give fewer"):
        complete(folder / "cache.h5", folder / "every-step", tags, 3, tmp_path / "c.csv", CONFIG)
    with pytest.raises(RanktagError, match="holds how a model goes on with lists that people began"):
        read_predictions(tmp_path / "a.csv")


def test_the_command(folder: Path, tmp_path: Path, ranktag: Callable[..., Outcome]) -> None:
    def run(*arguments: object) -> tuple[int, str]:
        done = ranktag("export-tags", folder / "cache.h5", "--device", "cpu", *arguments)
        return done.code, done.out + done.err

    given = make_tags(tmp_path / "given.csv", {"004.jpg": [["dog"]], "else.jpg": [["cat", "ship"]]})
    begun = ("--model", folder / "popularity", "--given", given)
    code, said = run(*begun, "-o", tmp_path / "a.csv", "--num-tags", 3)
    assert code == 1 and "1 of 2 given lists are of images that are not in the cache: 'else.jpg'" in said
    assert len(read_predictions(tmp_path / "a.csv")["004.jpg"]) == 3
    twice = make_tags(tmp_path / "twice.csv", {"004.jpg": [["dog"], ["cat"]]})
    code, said = run("--model", folder / "popularity", "--given", twice, "-o", tmp_path / "b.csv")
    assert code == 2 and "'004.jpg' has 2 lists, and one is gone on with" in said
    code, said = run("--model", folder / "popularity", "-o", tmp_path / "b.csv", "--keep-given")
    assert code == 2 and "--keep-given: says how given tags are taken, and none are given (--given)" in said
    code, said = run(*begun[:2], "--given", folder / "tags.csv", "--given-first", 2, "-o", tmp_path / "b.csv")
    lists = [people[0] for people in read_tag_lists(folder / "tags.csv").lists.values()]
    longer = sum(len(tags) > 2 for tags in lists)
    assert code == 0 and f"{longer} images, {longer} beginnings of their lists, 2 tags long" in said
    code, said = run(*begun, "--given-first", 1, "--format", "wide", "-o", tmp_path / "c.csv")
    assert code == 2 and "--format: --given-first writes a file of its own" in said
