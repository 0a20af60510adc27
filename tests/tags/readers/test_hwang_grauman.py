"""``ranktag prepare hwang-grauman``: MATLAB struct arrays of word numbers to tag lists."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from outcome import Outcome
from real_data import DATA
from scipy.io import savemat

from ranktag.errors import RanktagError
from ranktag.tags.lists import read_tag_lists
from ranktag.tags.readers.hwang_grauman import HwangGraumanConfig, read, read_words

SHARED = DATA / "hwang_grauman"
Ranktag = Callable[..., Outcome]
Entry = tuple[str, Sequence[float]]
WORDS = ("person", "tree", "car", "dining table")


def structs(*entries: Entry) -> Any:
    """A 1 x n struct array as the release has it, with a field that is none of ours."""
    array = np.zeros((1, len(entries)), dtype=[("filename", object), ("taglist", object), ("gist", object)])
    for i, (name, numbers) in enumerate(entries):
        array[0, i] = (name, np.array([numbers], dtype=float), np.zeros((1, 3)))
    return array


def cells(words: Sequence[object]) -> Any:
    array = np.empty((len(words), 1), dtype=object)
    array[:, 0] = words
    return array


@pytest.fixture
def release(tmp_path: Path) -> Path:
    folder = tmp_path / "release"
    folder.mkdir()
    savemat(folder / "voc.mat", {"voc": cells(WORDS)})
    first = structs(("000005.jpg", [3, 1, 3, 4]), ("VOC2007\\JPEGImages/000007.jpg", []))
    savemat(folder / "train.mat", {"D1": first, "D2": structs(("000009", [1]))}, do_compression=True)
    savemat(folder / "test.mat", {"D1": structs(("000001.jpg", [2, 2]))})
    return folder


def test_the_release(release: Path, tmp_path: Path, ranktag: Ranktag) -> None:
    out = tmp_path / "tags.csv"
    done = ranktag("prepare", "hwang-grauman", release, "--words", release / "voc.mat", "-o", out)
    assert done.code == 0, done
    assert "4 images, 4 lists, 1.25 tags a list (at most 3), a vocabulary of 4 tags" in done.out
    assert "split: 3 train, 0 val, 1 test" in done.out
    assert "empty lists: 1" in done.out
    assert "dropped: 2 repeats of a tag in its list" in done.out
    written = read_tag_lists(out)
    assert written.lists == {
        "000001.jpg": [("tree",)],
        "000005.jpg": [("car", "person", "dining table")],
        "000007.jpg": [()],
        "000009.jpg": [("person",)],
    }
    assert written.split == {"000001.jpg": "test", "000005.jpg": "train", "000007.jpg": "train", "000009.jpg": "train"}


def test_files_by_name_words_as_text_and_no_split_in_the_name(release: Path, tmp_path: Path) -> None:
    words = tmp_path / "vocab.txt"
    words.write_text("\n".join(WORDS), encoding="utf-8")
    (release / "train.mat").rename(release / "everything.mat")
    builder = read([release / "everything.mat", release / "test.mat"], HwangGraumanConfig(words=words, prefix="p/"))
    assert list(builder.lists) == ["p/000005.jpg", "p/000007.jpg", "p/000009.jpg", "p/000001.jpg"]
    assert builder.tag_lists.split is None


@pytest.mark.parametrize("number", [0, 5, -1, 1.5, float("inf"), float("nan")])
def test_a_number_without_a_word_is_refused_by_name(release: Path, ranktag: Ranktag, number: float) -> None:
    savemat(release / "test.mat", {"D1": structs(("000001.jpg", [1, number]))})
    outcome = ranktag("prepare", "hwang-grauman", release, "--words", release / "voc.mat", "-o", release / "t.csv")
    outcome.assert_refused("test.mat: image '000001.jpg'", f"word number {float(number)}", "the words 1 to 4")
    assert not (release / "t.csv").exists()


def test_an_image_in_train_and_test_is_refused(release: Path, ranktag: Ranktag) -> None:
    savemat(release / "test.mat", {"D1": structs(("000005.jpg", [1]))})
    outcome = ranktag("prepare", "hwang-grauman", release, "--words", release / "voc.mat", "-o", release / "t.csv")
    outcome.assert_refused("'000005.jpg' is in 'test' and in 'train'")


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ({"x": 1}, "holds neither D1 nor D2"),
        ({"D1": np.arange(3)}, "D1 is no struct array with the fields filename and taglist"),
        ({"D1": structs(("", [1]))}, "D1(1) has no filename"),
        ({"D2": [{"filename": "a.jpg", "taglist": "car"}]}, "D2 is no struct array"),
        ({"D1": {"filename": "a.jpg", "taglist": "car"}}, "'a.jpg', has a taglist that is no row of numbers"),
        ({"D1": structs()}, "holds no tag list"),
    ],
)
def test_files_of_another_layout(tmp_path: Path, content: dict[str, Any], reason: str) -> None:
    (tmp_path / "vocab.txt").write_text("car", encoding="utf-8")
    savemat(tmp_path / "train.mat", content)
    with pytest.raises(RanktagError) as refusal:
        read([tmp_path / "train.mat"], HwangGraumanConfig(words=tmp_path / "vocab.txt"))
    assert reason in str(refusal.value)
    assert "train.mat" in str(refusal.value)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "is no readable MATLAB file"),
        (b"no MATLAB file at all" * 20, "MATLAB"),
        (b"MATLAB 7.3 MAT-file, ".ljust(124) + b"\x00\x02IM", "save it in MATLAB with save(..., '-v7')"),
        (None, "cannot be read (No such file"),
    ],
)
def test_files_that_are_none(tmp_path: Path, content: bytes | None, reason: str) -> None:
    path = tmp_path / "voc.mat"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(RanktagError) as refusal:
        read_words(path)
    assert reason in str(refusal.value)


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (("a", ""), "word 2 is empty"),
        (("a", "b", "a"), "has the word 'a' twice"),
        ((), "holds no"),
        ((3, "a"), "word 1 is empty"),
    ],
)
def test_word_lists_that_shift_or_repeat(tmp_path: Path, words: tuple[object, ...], reason: str) -> None:
    savemat(tmp_path / "voc.mat", {"voc": cells(words)})
    with pytest.raises(RanktagError) as refusal:
        read_words(tmp_path / "voc.mat")
    assert reason in str(refusal.value)


def test_the_current_folder_is_not_imported_from(release: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (release / "json.py").write_text("raise SystemExit(3)", encoding="utf-8")
    monkeypatch.chdir(release)
    assert read_words(Path("voc.mat")) == list(WORDS)


def test_the_extra_is_named_where_scipy_is_not_installed(
    release: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "scipy").mkdir()
    (tmp_path / "scipy" / "__init__.py").write_text("raise ImportError", encoding="utf-8")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with pytest.raises(RanktagError, match=r"needs the package scipy.*pip install 'ranktag\[datasets\]'"):
        read_words(release / "voc.mat")


def test_damaged_files_end_in_one_line_even_where_scipy_crashes(release: Path) -> None:
    """Some of these make scipy's reader end the process with a segmentation fault."""
    good, rng = (release / "test.mat").read_bytes(), random.Random(1)
    words = release.parent / "vocab.txt"
    words.write_text("\n".join(WORDS), encoding="utf-8")
    for index in range(10):
        damaged = bytearray(good)
        for _ in range(3):
            damaged[rng.randrange(128, len(good))] = rng.choice((0, 1, 127, 128, 255))
        path = release / "damaged.mat"
        path.write_bytes(damaged[: rng.randrange(len(good))] if index % 4 == 0 else damaged)
        message = ""
        try:
            read([path], HwangGraumanConfig(words=words))
        except RanktagError as error:
            message = str(error)
        assert "\n" not in message


@pytest.mark.skipif(not SHARED.is_dir(), reason="Hwang and Grauman's vocabulary is not beside the project")
def test_the_released_vocabulary() -> None:
    words = read_words(SHARED / "voc.mat")
    assert len(words) == 399
    assert words[:3] == ["person", "tree", "car"]
    assert words == read_words(SHARED / "vocab.txt")
