"""Whatever the bytes: a reader returns, or raises RanktagError. Sound files changed at random, and bytes at random."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from faults import Place
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ranktag.errors import RanktagError
from ranktag.feature_cache import store as feature_store
from ranktag.feature_cache.inspection import inspect_cache
from ranktag.feature_cache.shards import read_shard
from ranktag.feature_cache.store import open_features
from ranktag.files.isolation import Trial
from ranktag.images.listing import list_images
from ranktag.models.checkpoint import load_checkpoint, read_tensors
from ranktag.tags.lists import read_tag_lists
from ranktag.tags.predictions import read_predictions
from ranktag.tags.readers import csv as any_table

# reader -> (what reads a file, the sound file within a place)
TEXT_READERS: dict[str, tuple[Callable[[Path], Any], str]] = {
    "tag lists": (read_tag_lists, "tags.csv"),
    "long predictions": (read_predictions, "predictions.csv"),
    "wide predictions": (read_predictions, "tags.csv"),
    "an image list": (list_images, "tags.csv"),
    "any table": (lambda path: any_table.read(path, any_table.TableConfig()), "tags.csv"),
}
BINARY_READERS: dict[str, tuple[Callable[[Path], Any], str]] = {
    "a cache": (open_features, "cache.h5"),
    "all of a cache": (inspect_cache, "cache.h5"),
    "a shard": (read_shard, "joined.h5.shards/00000-of-00001.h5"),
    "a model": (load_checkpoint, "run/model.pt"),
    "a state": (lambda path: read_tensors(path, "state"), "run/state.pt"),
}

# What tables are made of, and what breaks them.
PIECES = st.sampled_from(
    [
        '"',
        '""',
        ",",
        ";",
        "|",
        "\n",
        "\r",
        "\r\n",
        "\0",
        "\ufeff",
        "'",
        "=",
        "image_id",
        "tags",
        "rank",
        "1",
        "-1",
        "nan",
        "1e999",
        "9" * 5000,
    ]
)
SCRAPS = st.one_of(
    PIECES.map(str.encode),
    st.binary(max_size=8),
    st.text(max_size=4).map(lambda text: text.encode("utf-8", "surrogatepass")),
)


@st.composite
def changes(draw: st.DrawFn) -> list[tuple[float, int, bytes]]:
    """Up to six: where (a part of the length), how many bytes go, what comes there."""
    one = st.tuples(st.floats(0, 1), st.sampled_from([0, 1, 1, 2, 50, 10_000]), SCRAPS)
    return draw(st.lists(one, min_size=1, max_size=6))


def changed(data: bytes, edits: list[tuple[float, int, bytes]]) -> bytes:
    for part, gone, new in edits:
        at = int(part * len(data))
        data = data[:at] + new + data[at + gone :]
    return data


def reads_or_refuses(read: Callable[[Path], Any], path: Path) -> None:
    message = ""
    try:
        read(path)
    except RanktagError as error:
        message = str(error)
    assert "\n" not in message


RELAXED = settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)


@pytest.mark.parametrize("reader", TEXT_READERS)
@RELAXED
@given(edits=changes())
def test_tables_changed_at_random(place: Place, reader: str, edits: list[tuple[float, int, bytes]]) -> None:
    read, name = TEXT_READERS[reader]
    path = place.folder / "fuzzed.csv"
    path.write_bytes(changed((place.folder / name).read_bytes(), edits))
    reads_or_refuses(read, path)


@pytest.mark.parametrize("reader", TEXT_READERS)
@RELAXED
@given(
    content=st.one_of(
        st.binary(max_size=300),
        st.lists(SCRAPS, max_size=30).map(b"".join),
        st.text(max_size=100).map(lambda t: ("image_id,tags,rank,tag\n" + t).encode("utf-8", "replace")),
    )
)
def test_bytes_that_were_never_a_table(place: Place, reader: str, content: bytes) -> None:
    path = place.folder / "fuzzed.csv"
    path.write_bytes(content)
    reads_or_refuses(TEXT_READERS[reader][0], path)


@pytest.mark.parametrize("reader", BINARY_READERS)
@RELAXED
@given(
    flips=st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(1, 255)), min_size=1, max_size=5),
    edits=st.one_of(st.just([]), changes()),
)
def test_binary_files_changed_at_random(
    place: Place,
    monkeypatch: pytest.MonkeyPatch,
    reader: str,
    flips: list[tuple[float, int]],
    edits: list[tuple[float, int, bytes]],
) -> None:
    monkeypatch.setattr(feature_store, "Trial", lambda action: Trial(action, seconds=1))
    read, name = BINARY_READERS[reader]
    path = place.folder / name
    sound = path.read_bytes()
    # Of a cache, most of the file is features; changes belong where its structure is.
    spots = len(sound) if path.suffix == ".pt" else min(len(sound), 8000)
    damaged = bytearray(sound)
    for part, bits in flips:
        damaged[int(part * spots)] ^= bits
    fuzzed = place.folder / f"fuzzed{path.suffix}"
    fuzzed.write_bytes(changed(bytes(damaged), edits))
    reads_or_refuses(read, fuzzed)


@pytest.mark.parametrize("reader", BINARY_READERS)
@RELAXED
@given(head=st.sampled_from([b"", b"\x89HDF\r\n\x1a\n", b"PK\x03\x04", b"\x80\x02"]), content=st.binary(max_size=300))
def test_bytes_that_were_never_a_file_of_ours(place: Place, reader: str, head: bytes, content: bytes) -> None:
    path = place.folder / "fuzzed"
    path.write_bytes(head + content)
    reads_or_refuses(BINARY_READERS[reader][0], path)
