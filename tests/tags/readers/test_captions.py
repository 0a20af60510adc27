"""``ranktag prepare captions``: nouns in order of first mention."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from outcome import Outcome

from ranktag.errors import RanktagError
from ranktag.tags.annotations import nouns
from ranktag.tags.lists import read_tag_lists
from ranktag.tags.readers.captions import CaptionsConfig, read

Ranktag = Callable[..., Outcome]

FLICKR = "a.jpg#0\tA dog runs .\na.jpg#1\tTwo dogs and a ball\nb.jpg#0\tA cat\n"


def test_a_token_file_gives_one_list_a_caption(tmp_path: Path, ranktag: Ranktag) -> None:
    (tmp_path / "Flickr8k.token.txt").write_text(FLICKR, encoding="utf-8")
    done = ranktag("prepare", "captions", tmp_path / "Flickr8k.token.txt", "-o", tmp_path / "t.csv")
    assert done.code == 0, done
    assert "2 images, 3 lists" in done.out
    written = read_tag_lists(tmp_path / "t.csv")
    assert written.lists == {"a.jpg": [("dog",), ("dog", "ball")], "b.jpg": [("cat",)]}
    assert written.split is None


def test_split_lists(tmp_path: Path, ranktag: Ranktag) -> None:
    (tmp_path / "tokens.txt").write_text(FLICKR + "c.jpg#0\tA bird\n", encoding="utf-8")
    (tmp_path / "train.txt").write_text("a.jpg\n", encoding="utf-8")
    (tmp_path / "dev.txt").write_text("b.jpg\n", encoding="utf-8")
    options = ("--train-images", tmp_path / "train.txt", "--val-images", tmp_path / "dev.txt")
    done = ranktag("prepare", "captions", tmp_path / "tokens.txt", "-o", tmp_path / "t.csv", *options)
    assert "dropped: 1 captions of images that are in no split list" in done.out
    assert read_tag_lists(tmp_path / "t.csv").split == {"a.jpg": "train", "b.jpg": "val"}
    (tmp_path / "dev.txt").write_text("a.jpg\n", encoding="utf-8")
    again = ranktag("prepare", "captions", tmp_path / "tokens.txt", "-o", tmp_path / "t.csv", "--overwrite", *options)
    again.assert_refused("dev.txt", "'a.jpg' is in the train list, too")


def test_a_csv_file_with_its_own_columns(tmp_path: Path) -> None:
    path = tmp_path / "captions.txt"
    path.write_text('file;n;text\na.jpg;1;"A dog; a ball"\na.jpg;2;\n', encoding="utf-8")
    config = CaptionsConfig(image_column="file", caption_column="text", separator=";", prefix="Images/")
    builder = read([path], config)
    assert builder.lists == {"Images/a.jpg": [("dog", "ball"), ()]}


def coco(path: Path, images: Any, annotations: Any) -> Path:
    path.write_text(json.dumps({"images": images, "annotations": annotations}), encoding="utf-8")
    return path


def test_coco_with_splits_from_the_names(tmp_path: Path, ranktag: Ranktag) -> None:
    images = [{"id": 7, "file_name": "7.jpg"}, {"id": 5, "file_name": "5.jpg"}, {"id": 6, "file_name": "6.jpg"}]
    said = [
        {"image_id": 5, "caption": "A cat"},
        {"image_id": 7, "caption": "A dog"},
        {"image_id": 5, "caption": "Cats, a bowl"},
    ]
    train = coco(tmp_path / "captions_train2017.json", images, [*said, {"image_id": 99, "caption": "A bus"}])
    val = coco(
        tmp_path / "captions_val2017.json", [{"id": 1, "file_name": "1.jpg"}], [{"image_id": 1, "caption": "a bird"}]
    )
    done = ranktag("prepare", "captions", train, val, "-o", tmp_path / "t.csv")
    assert done.code == 0, done
    assert "dropped: 1 captions of images that the file does not list, or that were skipped" in done.out
    assert "dropped: 1 images without a caption" in done.out
    written = read_tag_lists(tmp_path / "t.csv")
    assert written.lists == {"7.jpg": [("dog",)], "5.jpg": [("cat",), ("cat", "bowl")], "1.jpg": [("bird",)]}
    assert written.split == {"7.jpg": "train", "5.jpg": "train", "1.jpg": "val"}


def test_vocabulary_and_min_count(tmp_path: Path, ranktag: Ranktag) -> None:
    (tmp_path / "tokens.txt").write_text(FLICKR, encoding="utf-8")
    (tmp_path / "words.txt").write_text("\ufeffBall\n\nrunning dog\nCats\n", encoding="utf-8")
    vocabulary = ("--vocabulary", tmp_path / "words.txt")
    ranktag("prepare", "captions", tmp_path / "tokens.txt", "-o", tmp_path / "t.csv", *vocabulary)
    assert read_tag_lists(tmp_path / "t.csv").lists == {"a.jpg": [(), ("Ball",)], "b.jpg": [("Cats",)]}
    done = ranktag(
        "prepare", "captions", tmp_path / "tokens.txt", "-o", tmp_path / "t.csv", "--min-count", 2, "--overwrite"
    )
    assert "dropped: 2 tags that stand in fewer than 2 lists (2 of 3 words)" in done.out
    assert read_tag_lists(tmp_path / "t.csv").lists == {"a.jpg": [("dog",), ("dog",)], "b.jpg": [()]}
    none = ranktag("prepare", "captions", tmp_path / "tokens.txt", "-o", tmp_path / "x.csv", "--min-count", 3)
    none.assert_refused("tokens.txt", "holds no caption with a noun", "fewer than 3 lists")


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("a.txt", "a.jpg#0\tA dog\nb.jpg A cat\n", "line 2 is not of the form photo.jpg#0"),
        ("a.csv", "file,caption\na.jpg,A dog\n", "no column 'image'"),
        ("a.csv", "image,caption\n ,A dog\n", "line 2 names no image"),
        ("a.csv", "", "is empty"),
        ("a.csv", "image,caption\n", "holds no caption"),
        ("a.json", "{", "is not JSON"),
        ("a.json", "[]", "no list 'images'"),
        ("a.json", '{"images": [], "annotations": [3]}', "annotations[0] has no 'caption'"),
        ("a.json", '{"images": [{"id": [], "file_name": "a"}], "annotations": []}', "images[0] has no id"),
        ("a.json", '{"images": [], "annotations": [{"image_id": 1, "bbox": []}]}', "annotations[0] has no 'caption'"),
        (
            "a.json",
            '{"images": [{"id": 1, "file_name": "\\ud800"}], "annotations": [{"image_id": 1, "caption": "a dog"}]}',
            "cannot hold",
        ),
    ],
)
def test_files_of_another_form(tmp_path: Path, ranktag: Ranktag, name: str, content: str, reason: str) -> None:
    (tmp_path / name).write_text(content, encoding="utf-8")
    ranktag("prepare", "captions", tmp_path / name, "-o", tmp_path / "t.csv").assert_refused(name, reason)
    assert not (tmp_path / "t.csv").exists()


def test_the_extra_is_named_where_textblob_is_not_installed(
    tmp_path: Path, ranktag: Ranktag, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "tokens.txt").write_text(FLICKR, encoding="utf-8")
    monkeypatch.setitem(sys.modules, "textblob.taggers", None)
    nouns._tagger.cache_clear()
    refused = ranktag("prepare", "captions", tmp_path / "tokens.txt", "-o", tmp_path / "t.csv")
    refused.assert_refused("needs the package textblob", "pip install 'ranktag[datasets]'")


def test_other_refusals(tmp_path: Path, ranktag: Ranktag) -> None:
    tokens, out = tmp_path / "tokens.txt", tmp_path / "t.csv"
    ranktag("prepare", "captions", tokens, "-o", out).assert_refused("tokens.txt", "no such file")
    tokens.write_bytes(b"a.jpg#0\t\x81\n")
    ranktag("prepare", "captions", tokens, "-o", out).assert_refused("is not UTF-8")
    tokens.write_text(FLICKR, encoding="utf-8")
    words = tmp_path / "words.txt"
    ranktag("prepare", "captions", tokens, "-o", out, "--vocabulary", words).assert_refused("words.txt", "no such file")
    words.write_text("dog\n...\n", encoding="utf-8")
    ranktag("prepare", "captions", tokens, "-o", out, "--vocabulary", words).assert_refused("line 2 holds no word")
    words.write_text("\n", encoding="utf-8")
    ranktag("prepare", "captions", tokens, "-o", out, "--vocabulary", words).assert_refused("holds no tag")
    ranktag("prepare", "captions", tokens, "-o", out, "--layout", "csv", "--separator", "::").assert_refused(
        "is not one character"
    )


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    content=st.binary()
    | st.text().map(str.encode)
    | st.text().map(lambda t: f"image,caption\na.jpg,{t}\n".encode("utf-8", "replace"))
)
def test_fuzzed_files_are_read_or_refused(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    folder = tmp_path_factory.mktemp("fuzz")
    for name in ("a.txt", "a.json"):
        (folder / name).write_bytes(content)
        try:
            builder = read([folder / name], CaptionsConfig())
        except RanktagError:
            continue
        builder.write(folder / "t.csv")
        assert read_tag_lists(folder / "t.csv").lists == builder.lists
