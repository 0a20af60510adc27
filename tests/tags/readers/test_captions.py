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

from ranktag.config import CaptionsConfig
from ranktag.errors import RanktagError
from ranktag.tags.annotations import nouns
from ranktag.tags.annotations.nouns import Mentions, nouns_of
from ranktag.tags.lists import read_tag_lists
from ranktag.tags.readers.captions import prepare_captions

Ranktag = Callable[..., Outcome]

# Captions written for this test, with their nouns; the quality of the noun rule is measured on them.
CAPTIONS = {
    "A man on a motorcycle is parked outside a small restaurant.": "man motorcycle restaurant",
    "A girl with long hair blows out the candles on a cake.": "girl hair candle cake",
    "A baseball player, a catcher and an umpire wait for the pitch.": "baseball player catcher umpire pitch",
    "A laptop, two monitors and a lamp on a desk.": "laptop monitor lamp desk",
    "A black dog leaps into the water to fetch a stick.": "dog water stick",
    "An elderly couple walks hand in hand through the park.": "couple hand park",
    "Construction workers in orange vests repair the road.": "construction worker vest road",
    "A bathroom with a toilet, a shower curtain and a mirror.": "bathroom toilet shower curtain mirror",
    "A bowl of oranges and apples sits on the kitchen counter.": "bowl orange apple kitchen counter",
    "A yellow taxi waits at a traffic light in the rain.": "taxi traffic light rain",
    "Several elephants drink from a muddy river.": "elephant river",
    "Boys kick a ball in front of their school.": "boy ball school",
    "A boy in blue jeans reads a book under a tree.": "boy jeans book tree",
    "A waiter carries plates to customers at an outdoor cafe.": "waiter plate customer cafe",
    "Soldiers march in a parade with flags.": "soldier parade flag",
    "A man and his son fly a kite in an open field.": "man son kite field",
    "A rusty truck is abandoned in the desert.": "truck desert",
    "Women in colorful costumes dance on a stage.": "woman costume stage",
    "Three sheep and two mice stand near a fence.": "sheep mouse fence",
    "An airplane takes off from the runway as the sun sets.": "airplane runway sun",
    "A snowboarder slides down a rail.": "snowboarder rail",
    "A parrot perches on a woman's shoulder.": "parrot woman shoulder",
    "Someone is taking a photo of a painting in a museum.": "photo painting museum",
    "Two giraffes stand in a dry field with trees behind them.": "giraffe field tree",
}


def test_the_noun_rule_is_about_nine_in_ten_right() -> None:
    found = {caption: set(nouns_of(caption)) for caption in CAPTIONS}
    meant = {caption: set(words.split()) for caption, words in CAPTIONS.items()}
    right = sum(len(found[caption] & meant[caption]) for caption in CAPTIONS)
    assert right / sum(map(len, found.values())) > 0.85  # precision
    assert right / sum(map(len, meant.values())) > 0.92  # recall


@pytest.mark.parametrize(
    ("caption", "expected"),
    [
        ("Two DOGS and a dog chase the other dogs' ball", ["dog", "ball"]),
        ("Three men, one man and a child; children!", ["man", "child"]),
        ("A bus, two buses, a glass and a dress", ["bus", "glass", "dress"]),
        ("boys kick a ball in front of a house", ["boy", "ball", "house"]),
        ("A tennis player, a ball", ["tennis", "player", "ball"]),
        ("", []),
        ("... 2 !", []),
        ("It is his.", []),
    ],
)
def test_nouns_in_order_of_first_mention(caption: str, expected: list[str]) -> None:
    assert nouns_of(caption) == expected


def test_mentions_of_a_vocabulary_longest_first_singular_or_plural() -> None:
    find = Mentions(["light", "traffic light", "Person", "knife", "t-shirt", "playing", "people carrier"])
    assert find("Traffic lights, a light and people with knives") == ["traffic light", "light", "Person", "knife"]
    assert find("PLAYING in T-shirts by a people carrier.") == ["playing", "t-shirt", "people carrier"]
    assert find("nothing of it") == []


def test_an_entry_goes_before_another_entrys_plural() -> None:
    assert Mentions(["glass", "glasses"])("a glass and glasses") == ["glass", "glasses"]


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
    prepared = prepare_captions([path], config)
    assert prepared.lists == {"Images/a.jpg": [("dog", "ball"), ()]}


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
    assert "dropped: 1 captions of images that the file does not list" in done.out
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
        ("a.json", '{"images": [], "annotations": [3]}', "no list 'annotations'"),
        ("a.json", '{"images": [{"id": [], "file_name": "a"}], "annotations": []}', "images[0] has no 'id'"),
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
    ranktag("prepare", "captions", tokens, "-o", out).assert_refused("tokens.txt", "No such file")
    tokens.write_bytes(b"a.jpg#0\t\xff\n")
    ranktag("prepare", "captions", tokens, "-o", out).assert_refused("is not UTF-8")
    tokens.write_text(FLICKR, encoding="utf-8")
    words = tmp_path / "words.txt"
    ranktag("prepare", "captions", tokens, "-o", out, "--vocabulary", words).assert_refused("words.txt", "No such file")
    words.write_text("dog\n...\n", encoding="utf-8")
    ranktag("prepare", "captions", tokens, "-o", out, "--vocabulary", words).assert_refused("line 2 holds no word")
    words.write_text("\n", encoding="utf-8")
    ranktag("prepare", "captions", tokens, "-o", out, "--vocabulary", words).assert_refused("holds no tag")
    ranktag("prepare", "captions", tokens, "-o", out, "--layout", "csv", "--separator", "::").assert_refused(
        "is not one character"
    )


@settings(max_examples=150, deadline=None)
@given(caption=st.text() | st.text(alphabet="ab dog's-,./&;|#\n\u2019"))
def test_any_text_has_nouns_or_none(caption: str) -> None:
    found = nouns_of(caption)
    assert len(found) == len(set(found))
    assert all(noun and noun == noun.strip() for noun in found)


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
            prepared = prepare_captions([folder / name], CaptionsConfig())
        except RanktagError:
            continue
        prepared.write(folder / "t.csv")
        assert read_tag_lists(folder / "t.csv").lists == prepared.lists
