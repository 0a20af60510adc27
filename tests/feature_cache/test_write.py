"""Writing a cache of features that were computed elsewhere."""

from __future__ import annotations

import errno
import hashlib
import io
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ranktag.errors import RanktagError
from ranktag.feature_cache.store import open_features
from ranktag.feature_cache.write import cache_features

D = 4096


def some(n: int) -> np.ndarray:
    return np.arange(n * D, dtype=np.float32).reshape(n, D) % 1000 / 8


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return cache_features(some(3), ["a", "b", "ü 😀\n,|"], tmp_path / "c.h5")


@settings(deadline=None, max_examples=25)
@given(
    st.lists(
        st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1, max_size=12),
        unique=True,
        max_size=6,
    )
)
def test_any_ids_survive(tmp_path_factory: pytest.TempPathFactory, ids: list[str]) -> None:
    path = tmp_path_factory.getbasetemp() / "ids.h5"
    store = open_features(cache_features(some(len(ids)), ids, path, overwrite=True))
    assert list(store.image_id) == ids
    assert store.provenance.image_list_sha256 == hashlib.sha256("\n".join(ids).encode()).hexdigest()


def test_features_that_are_not_finite_become_failed_rows(tmp_path: Path) -> None:
    features = some(4)
    features[1, 7], features[2, 0] = np.nan, 70_000  # the second does not fit float16
    store = open_features(cache_features(features, list("abcd"), tmp_path / "c.h5"))
    assert store.valid.tolist() == [True, False, False, True] and store.error[1] == "the feature is not finite"
    assert np.isnan(store.features[1:3]).all() and store.row_of() == {"a": 0, "d": 3}
    assert open_features(cache_features(features, list("abcd"), tmp_path / "d.h5", dtype="float32")).valid.tolist() == [
        True,
        False,
        True,
        True,
    ]


@pytest.mark.parametrize(
    ("features", "ids", "words"),
    [
        (np.zeros((2, 0)), ["a", "b"], "(2, 0), expected (N, D), D at least 1"),
        (np.zeros((2, 3, 4)), ["a", "b"], "(2, 3, 4)"),
        (np.zeros(D), ["a"], "(4096,)"),
        (np.zeros((2, D)), ["a"], "1 image ids for 2 rows"),
        (np.zeros((2, D)), ["a", "a"], "'a' is there twice"),
        (np.zeros((1, D)), [""], "is empty or holds a NUL"),
        (np.zeros((1, D)), ["a\0b"], "is empty or holds a NUL"),
        (np.zeros((1, D)), ["\ud800"], "no text"),
        (pd.DataFrame({n: ["x"] for n in range(D)}), ["a"], "are not numbers"),
        ([[1.0], [1.0, 2.0]], ["a", "b"], "are not numbers"),
        (np.zeros((1, D), complex), ["a"], "are not numbers"),
        (None, ["a"], "shape ()"),
    ],
)
def test_features_that_make_no_cache_are_refused(tmp_path: Path, features: object, ids: list[str], words: str) -> None:
    with pytest.raises(RanktagError) as caught:
        cache_features(features, ids, tmp_path / "c.h5")
    assert words in str(caught.value) and not list(tmp_path.iterdir())


def test_a_data_frame_is_cached_by_its_index(tmp_path: Path) -> None:
    features = some(3)
    frame = pd.DataFrame(features, index=["b.jpg", "a.jpg", "c/d.jpg"])
    store = open_features(cache_features(frame, frame.index, tmp_path / "c.h5", dtype="float32"))
    assert list(store.image_id) == ["b.jpg", "a.jpg", "c/d.jpg"]
    np.testing.assert_array_equal(store.features, features)


def test_without_ids_they_are_the_data_frames_index(tmp_path: Path) -> None:
    frame = pd.DataFrame(some(3)[:, :5], index=["b.jpg", "a.jpg", "c/d.jpg"])
    store = open_features(cache_features(frame, path=tmp_path / "c.h5", dtype="float32"))
    assert list(store.image_id) == ["b.jpg", "a.jpg", "c/d.jpg"] and store.width == 5
    np.testing.assert_array_equal(store.features, frame.to_numpy())
    frame.index = ["a", "b", "a"]
    with pytest.raises(RanktagError, match="'a' is there twice"):
        cache_features(frame, path=tmp_path / "d.h5")


@pytest.mark.parametrize("features", [some(2), some(2).tolist()])
def test_without_ids_and_without_an_index_nothing_is_written(tmp_path: Path, features: object) -> None:
    with pytest.raises(RanktagError, match="have no image ids; give image_ids, or a DataFrame"):
        cache_features(features, path=tmp_path / "c.h5")
    with pytest.raises(RanktagError, match="no path is given"):
        cache_features(features, ["a", "b"])
    assert not list(tmp_path.iterdir())


def test_an_existing_file_is_kept(cache: Path) -> None:
    before = cache.read_bytes()
    with pytest.raises(RanktagError, match="exists already.*--overwrite"):
        cache_features(some(1), ["x"], cache)
    assert cache.read_bytes() == before
    assert len(open_features(cache_features(some(1), ["x"], cache, overwrite=True))) == 1


@pytest.mark.parametrize("room", [0, 1, 100, 5000, 30_000])
def test_a_full_disk_is_an_error_and_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, room: int) -> None:
    left = room

    def limited(self: object, view: memoryview) -> int:
        nonlocal left
        if not left:
            raise OSError(errno.ENOSPC, "No space left on device")
        written = min(left, len(view))
        left -= written
        return io.FileIO.write(self, view[:written])

    monkeypatch.setattr("ranktag.feature_cache.hdf5.KeepsFailure._write_some", limited)
    with pytest.raises(OSError, match="No space left on device") as caught:
        cache_features(some(10), [str(k) for k in range(10)], tmp_path / "c.h5")
    assert caught.value.errno == errno.ENOSPC and not list(tmp_path.iterdir())


def test_ids_that_are_bytes_are_read_as_utf8(tmp_path: Path) -> None:
    ids = [b"a.jpg", bytearray("caf\u00e9.jpg".encode()), np.bytes_(b"b.jpg"), 7]
    cache_features(np.zeros((4, 3)), ids, tmp_path / "c.h5")
    assert list(open_features(tmp_path / "c.h5").image_id) == ["a.jpg", "caf\u00e9.jpg", "b.jpg", "7"]
    frame = pd.DataFrame(np.zeros((1, 3)), index=[b"a.jpg"])
    cache_features(frame, path=tmp_path / "d.h5")
    assert list(open_features(tmp_path / "d.h5").image_id) == ["a.jpg"]


def test_ids_that_are_bytes_of_no_text_are_refused(tmp_path: Path) -> None:
    with pytest.raises(RanktagError, match=r"image id b'caf\\xe9.jpg' is not UTF-8 .*at byte 3"):
        cache_features(np.zeros((1, 3)), [b"caf\xe9.jpg"], tmp_path / "c.h5")


def test_batches_are_written_as_they_come(tmp_path: Path) -> None:
    features = np.random.default_rng(0).normal(size=(2500, 3)).astype(np.float32)
    features[[0, 1030, 2499], 1] = np.nan, np.inf, 1e6
    ids = [str(n) for n in range(2500)]
    whole = open_features(cache_features(features, ids, tmp_path / "whole.h5"))
    batches = (features[start : start + 1100] for start in range(0, 2500, 1100))
    came = open_features(cache_features(batches, iter(ids), tmp_path / "came.h5"))
    assert came.features.tobytes() == whole.features.tobytes()
    assert came.attributes["content_sha256"] == whole.attributes["content_sha256"]
    assert np.flatnonzero(~came.valid).tolist() == [0, 1030, 2499] and came.error[1030] and not came.error[2]
    assert np.array_equal(whole.features[1:9], features[1:9].astype(np.float16))

    def refused(batches: list[np.ndarray], words: str) -> None:
        with pytest.raises(RanktagError, match=words):
            cache_features(iter(batches), ids[:5], tmp_path / "no.h5")
        assert not list(tmp_path.glob("no.h5*"))

    refused([], "holds no batch")
    refused([features[:3], features[:3]], "5 image ids for more or fewer rows")
    refused([features[:3]], "5 image ids for more or fewer rows")
    refused([features[:3], features[:2, :2]], "from row 3 on has 2 columns, the first one 3")
    refused([features[:3], features[0]], r"shape \(3,\)")
