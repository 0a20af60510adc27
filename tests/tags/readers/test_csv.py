"""``ranktag prepare csv``: any table to tag lists."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from outcome import Outcome
from real_data import DATA

from ranktag.errors import RanktagError
from ranktag.tags.lists import TagLists, read_tag_lists, write_tag_lists
from ranktag.tags.readers.csv import TableConfig, read

Ranktag = Callable[..., Outcome]


def table(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "table.csv"
    path.write_text(text, encoding="utf-8")
    return path


def test_one_row_an_image_with_other_separators_and_names(tmp_path: Path, ranktag: Ranktag) -> None:
    source = table(
        tmp_path, "\ufefffoto;worte;teil\r\na.jpg; Hund, Ball,,Hund;training\r\nb.jpg;;Dev\r\na.jpg;Katze;train\r\n"
    )
    options = [
        "--separator",
        ";",
        "--image-column",
        "foto",
        "--tags-column",
        "worte",
        "--tag-separator",
        ",",
        "--split-column",
        "teil",
    ]
    done = ranktag("prepare", "csv", source, "-o", tmp_path / "t.csv", *options)
    assert done.code == 0, done
    assert "2 images, 3 lists, 1.00 tags a list (at most 2), a vocabulary of 3 tags" in done.out
    assert "empty lists: 1" in done.out
    assert "dropped: 1 empty tags" in done.out
    assert "dropped: 1 repeats of a tag in its list" in done.out
    written = read_tag_lists(tmp_path / "t.csv")
    assert written.lists == {"a.jpg": [("Hund", "Ball"), ("Katze",)], "b.jpg": [()]}
    assert written.split == {"a.jpg": "train", "b.jpg": "val"}


def test_tabs_and_a_pipe_in_a_tag(tmp_path: Path, ranktag: Ranktag) -> None:
    source = table(tmp_path, "image_id\ttags\na.jpg\tcar|van,=1+1\n")
    done = ranktag("prepare", "csv", source, "-o", tmp_path / "t.csv", "--separator", "tab", "--tag-separator", ",")
    assert "note: '|' in a tag became '/': 1 (car|van)" in done.out
    assert read_tag_lists(tmp_path / "t.csv").lists == {"a.jpg": [("car/van", "=1+1")]}


ROWS = "photo,word,rank,score,who\na,car,2,0.5,x\na,dog,1,0.9,x\nb,,,,x\na,sky,,,x\na,cat,1,0.7,y\na,tree,1,0.9,x\n"


@pytest.mark.parametrize(
    ("options", "lists"),
    [
        ({}, {"a": [("car", "dog", "sky", "cat", "tree")], "b": [()]}),
        ({"rank_column": "rank"}, {"a": [("dog", "cat", "tree", "car", "sky")], "b": [()]}),
        ({"score_column": "score"}, {"a": [("dog", "tree", "cat", "car", "sky")], "b": [()]}),
        ({"rank_column": "rank", "list_column": "who"}, {"a": [("dog", "tree", "car", "sky"), ("cat",)], "b": [()]}),
    ],
)
def test_one_row_a_tag(tmp_path: Path, options: dict[str, str], lists: dict[str, Any]) -> None:
    config = TableConfig(image_column="photo", tag_column="word", **options)
    assert read(table(tmp_path, ROWS), config).lists == lists


def test_long_splits(tmp_path: Path, ranktag: Ranktag) -> None:
    source = table(tmp_path, "i,t,s\na,car,train\na,dog,train\nb,car,test\n")
    config = TableConfig(image_column="i", tag_column="t", split_column="s")
    assert read(source, config).split == {"a": "train", "b": "test"}
    table(tmp_path, "i,t,s\na,car,train\na,dog,test\n")
    columns = ("--image-column", "i", "--tag-column", "t", "--split-column", "s")
    ranktag("prepare", "csv", source, "-o", tmp_path / "t.csv", *columns).assert_refused(
        "line 3 puts 'a' in split 'test', line 2 in 'train'"
    )


@pytest.mark.parametrize(
    ("text", "options", "reason"),
    [
        ("x,y\n1,2\n", [], "no column 'image_id'"),
        ("image_id,tags\n,car\n", [], "line 2 names no image"),
        ("image_id,tags\na\n", [], "line 2 has 1 cells"),
        ("image_id,tags\n", [], "holds no tag"),
        ("image_id,tags\na,\n", [], "holds no tag"),
        (
            "image_id,tags,s\na,b,maybe\n",
            ["--split-column", "s"],
            "line 2 has the split 'maybe', which is not one of train, val, test",
        ),
        ("image_id,tags,s\na,b,train\nc,d,\n", ["--split-column", "s"], "'c' is in no split"),
        ("image_id,tags,s\na,b,train\na,d,val\n", ["--split-column", "s"], "'a' is in 'train' and in 'val'"),
        (
            "image_id,t,r\na,b,first\n",
            ["--tag-column", "t", "--rank-column", "r"],
            "line 2 has 'first' in column 'r', which is no number",
        ),
        (
            "image_id,t,r\na,b,nan\n",
            ["--tag-column", "t", "--score-column", "r"],
            "line 2 has 'nan' in column 'r', which is no number",
        ),
        ("image_id,tags\na,b\n", ["--rank-column", "r"], "name the tags with --tag-column"),
        ("image_id,t\na,b\n", ["--tag-column", "t", "--rank-column", "r", "--score-column", "s"], "two orders"),
        ("image_id,tags\na,b\n", ["--separator", ""], "is not one character"),
        ("image_id,tags\na,b\n", ["--separator", '"'], "is not one character"),
        ("image_id,tags\na,b\n", ["--tag-separator", ""], "--tag-separator: is empty"),
    ],
)
def test_refusals(tmp_path: Path, ranktag: Ranktag, text: str, options: list[str], reason: str) -> None:
    ranktag("prepare", "csv", table(tmp_path, text), "-o", tmp_path / "t.csv", *options).assert_refused(reason)
    assert not (tmp_path / "t.csv").exists()


SHARED = DATA / "labelmefacade" / "tags_largest_first.csv"


@pytest.mark.skipif(not SHARED.is_file(), reason="LabelMeFacade's tag lists are not beside the project")
def test_real_lists(tmp_path: Path, ranktag: Ranktag) -> None:
    done = ranktag("prepare", "csv", SHARED, "-o", tmp_path / "t.csv", "--split-column", "split")
    assert done.code == 0, done
    assert "945 images, 945 lists, 6." in done.out
    assert (tmp_path / "t.csv").read_bytes() == SHARED.read_bytes()


TAG = st.text(st.characters(exclude_categories=("Cs",), exclude_characters="|\0"), min_size=1, max_size=8)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    lists=st.dictionaries(
        st.text("abc/.= é", min_size=1).filter(str.strip),
        st.lists(st.lists(TAG, max_size=4), min_size=1, max_size=2),
        min_size=1,
    )
)
def test_a_tag_list_file_goes_through_unchanged(
    tmp_path_factory: pytest.TempPathFactory, lists: dict[str, list[list[str]]]
) -> None:
    folder = tmp_path_factory.mktemp("same")
    write_tag_lists(
        folder / "a.csv", TagLists({image.strip(): [tuple(tags) for tags in people] for image, people in lists.items()})
    )
    known = read_tag_lists(folder / "a.csv").lists
    try:
        builder = read(folder / "a.csv", TableConfig())
    except RanktagError:
        assert not any(tags for people in known.values() for tags in people)
        return
    assert builder.lists == known


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=st.binary() | st.text(alphabet='a,"\n;|\r\0=').map(lambda t: f"image_id,tags\n{t}".encode()))
def test_fuzzed_tables_are_read_or_refused(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    folder = tmp_path_factory.mktemp("fuzz")
    (folder / "a.csv").write_bytes(content)
    for config in (TableConfig(), TableConfig(tag_column="tags", rank_column="tags")):
        try:
            builder = read(folder / "a.csv", config)
        except RanktagError:
            continue
        builder.write(folder / "t.csv")
        assert read_tag_lists(folder / "t.csv").lists == builder.lists


HUGGING_FACE = (
    '{"file_name": "a.jpg", "tags": ["dog", "sea, blue", "car|van"], "split": "train"}\n'
    '{"file_name": "train/b.jpg", "tags": [], "split": "validation"}\n'
    '{"file_name": "c.jpg", "tags": "cat|sea", "split": "train"}\n'
    '{"file_name": "", "tags": ["x"], "split": "train"}\n'
)


def test_hugging_faces_metadata(tmp_path: Path, ranktag: Ranktag) -> None:
    source = tmp_path / "metadata.jsonl"
    source.write_text(HUGGING_FACE, encoding="utf-8")
    call = (
        "prepare",
        "csv",
        source,
        "-o",
        tmp_path / "t.csv",
        "--image-column",
        "file_name",
        "--split-column",
        "split",
    )
    done = ranktag(*call)
    assert done.code == 1 and "metadata.jsonl: line 4 names no image" in done.err
    written = read_tag_lists(tmp_path / "t.csv")
    assert written.lists == {"a.jpg": [("dog", "sea, blue", "car/van")], "train/b.jpg": [()], "c.jpg": [("cat", "sea")]}
    assert written.split == {"a.jpg": "train", "train/b.jpg": "val", "c.jpg": "train"}
    ranktag(*call, "--overwrite", "--tags-column", "labels").assert_refused("no column 'labels'", "'tags'")
    # A row a tag.
    source.write_text('{"f": "a.jpg", "t": "sea", "r": 2}\n{"f": "a.jpg", "t": "dog", "r": 1}\n', encoding="utf-8")
    config = TableConfig(image_column="f", tag_column="t", rank_column="r")
    assert read(source, config).lists == {"a.jpg": [("dog", "sea")]}


def test_parquet_is_read_alike(tmp_path: Path) -> None:
    pa = pytest.importorskip("pyarrow", reason="pyarrow, which reads Parquet, is not installed (extra parquet)")
    import pyarrow.parquet as pq

    pq.write_table(pa.table({"image_id": ["a", "b"], "tags": [["dog", "sea, blue"], None]}), tmp_path / "t.parquet")
    assert read(tmp_path / "t.parquet", TableConfig()).lists == {"a": [("dog", "sea, blue")], "b": [()]}


@pytest.mark.parametrize("name", ["t.jsonl", "t.parquet"])
@pytest.mark.parametrize("option", [("--separator", ","), ("--encoding", "utf-8")])
def test_what_only_csv_tables_have_is_refused_of_others(
    tmp_path: Path, ranktag: Ranktag, name: str, option: tuple[str, str]
) -> None:
    (tmp_path / name).write_text('{"image_id": "a.jpg", "tags": ["dog"]}\n', encoding="utf-8")
    call = ("prepare", "csv", tmp_path / name, "-o", tmp_path / "o.csv", *option)
    ranktag(*call).assert_refused("--separator and --encoding are of CSV tables")
