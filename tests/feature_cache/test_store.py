"""The feature cache: what is written is read, and nothing else is taken for one."""

from __future__ import annotations

import errno
import hashlib
import io
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ranktag.errors import RanktagError
from ranktag.feature_cache import store as feature_store
from ranktag.feature_cache.digest import content_sha256, image_list_sha256
from ranktag.feature_cache.provenance import Provenance
from ranktag.feature_cache.store import open_features
from ranktag.feature_cache.write import cache_features
from ranktag.files.isolation import ends_badly

D = 4096


def some(n: int) -> np.ndarray:
    return np.arange(n * D, dtype=np.float32).reshape(n, D) % 1000 / 8


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return cache_features(some(3), ["a", "b", "ü 😀\n,|"], tmp_path / "c.h5")


def test_what_is_written_is_read(cache: Path) -> None:
    store = open_features(cache)
    assert (
        len(store) == 3
        and list(store.image_id) == ["a", "b", "ü 😀\n,|"]
        and list(store.error) == [""] * 3
        and store.valid.all()
    )
    # Multiples of 1/8 below 125 are exact in float16.
    np.testing.assert_array_equal(store.features, some(3))
    assert store.features.dtype == np.float16 and not store.features.flags.writeable
    assert [len(block) for block in store.blocks(2)] == [2, 1]
    np.testing.assert_array_equal(np.concatenate(list(store.blocks(2))), some(3))
    assert store.row_of() == {"a": 0, "b": 1, "ü 😀\n,|": 2}
    assert store.attributes["content_sha256"] == content_sha256(store) == content_sha256(store, block=2)


def test_the_schema_is_the_contracts(cache: Path) -> None:
    with h5py.File(cache) as file:
        assert (
            file["features"].shape == (3, D)
            and file["features"].chunks is None
            and file["features"].compression is None
        )
        assert file["valid"].dtype == bool and h5py.check_string_dtype(file["image_id"].dtype).encoding == "utf-8"
        assert file.attrs["format"] == "ranktag-features" and file.attrs["format_version"] == 1


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
        (np.zeros((2, 1000)), ["a", "b"], "(2, 1000)"),
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


def test_an_existing_file_is_kept(cache: Path) -> None:
    before = cache.read_bytes()
    with pytest.raises(RanktagError, match="exists already.*--overwrite"):
        cache_features(some(1), ["x"], cache)
    assert cache.read_bytes() == before
    assert len(open_features(cache_features(some(1), ["x"], cache, overwrite=True))) == 1


def edit(change: Callable[[h5py.File], None]) -> Callable[[Path], None]:
    def apply(path: Path) -> None:
        with h5py.File(path, "r+") as file:
            change(file)

    return apply


def redo(name: str, **options: object) -> Callable[[Path], None]:
    """Replace a dataset."""

    def change(file: h5py.File) -> None:
        del file[name]
        file.create_dataset(name, **options)

    return edit(change)


def delete(name: str) -> Callable[[Path], None]:
    def change(file: h5py.File) -> None:
        del file[name]

    return edit(change)


def external(file: h5py.File) -> None:
    del file["features"]
    file["features"] = h5py.ExternalLink("/etc/passwd", "/x")


def virtual(file: h5py.File) -> None:
    del file["features"]
    layout = h5py.VirtualLayout((3, D), "f2")
    layout[:] = h5py.VirtualSource("nowhere.h5", "features", (3, D))
    file.create_virtual_dataset("features", layout)


DAMAGE: dict[str, tuple[Callable[[Path], object], str]] = {
    "text": (lambda p: p.write_text("no HDF5"), "not a feature cache"),
    "empty": (lambda p: p.write_bytes(b""), "not a feature cache"),
    "cut short": (lambda p: p.write_bytes(p.read_bytes()[:9000]), "damaged"),
    "other HDF5": (lambda p: h5py.File(p, "w").close(), "no format='ranktag-features'"),
    "later version": (edit(lambda f: f.attrs.__setitem__("format_version", 2)), "install a newer ranktag"),
    "no version": (edit(lambda f: f.attrs.__delitem__("format_version")), "damaged"),
    "no provenance": (edit(lambda f: f.attrs.__delitem__("weights")), "the attribute 'weights' is missing"),
    "1000-d": (redo("features", data=np.zeros((3, 1000), "f2")), "1000-dimensional"),
    "integers": (redo("features", data=np.zeros((3, D), "i2")), "int16"),
    "chunked": (redo("features", data=np.zeros((3, D), "f2"), chunks=(1, D)), "in chunks"),
    "never written": (redo("features", shape=(3, D), dtype="f2"), "do not fit the file"),
    "fewer ids": (redo("image_id", data=["a", "b"]), "'image_id' has shape (2,)"),
    "an id twice": (redo("image_id", data=["a", "b", "a"]), "image id 'a' stands there twice"),
    "ids not UTF-8": (redo("image_id", data=np.array([b"a", b"\xff\xfe", b"c"])), "damaged"),
    "valid as numbers": (redo("valid", data=np.ones(3, "i8")), "'valid' is int64"),
    "no errors": (delete("error"), "'error' is missing"),
    "a link elsewhere": (edit(external), "link to elsewhere"),
    "virtual": (edit(virtual), "from other files"),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_what_is_no_whole_cache_is_refused(cache: Path, name: str) -> None:
    damage, words = DAMAGE[name]
    damage(cache)
    with pytest.raises(RanktagError) as caught:
        open_features(cache)
    assert words in str(caught.value) and str(cache) in str(caught.value)


def test_a_file_cut_anywhere_is_refused(cache: Path) -> None:
    data = cache.read_bytes()
    for size in range(0, len(data) - 1, 397):
        cache.write_bytes(data[:size])
        with pytest.raises(RanktagError):
            open_features(cache)


def test_any_flipped_byte_ends_in_a_cache_or_an_error(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Some make HDF5 run for ever; here it is known after a second.
    monkeypatch.setattr(feature_store, "ends_badly", lambda action: ends_badly(action, seconds=1))
    data = cache.read_bytes()
    # The metadata at the beginning, where anything may happen, and samples of the rest.
    for place in [*range(0, 6000, 79), *range(6000, len(data), 997)]:
        damaged = bytearray(data)
        damaged[place] ^= 0xFF
        cache.write_bytes(damaged)
        try:
            store = open_features(cache)
            store.features.tobytes()
        except RanktagError:
            continue


@pytest.mark.parametrize(("make", "words"), [(Path.mkdir, "is a folder"), (lambda p: None, "no such feature cache")])
def test_what_is_no_file_is_refused(tmp_path: Path, make: Callable[[Path], None], words: str) -> None:
    make(tmp_path / "c.h5")
    with pytest.raises(RanktagError, match=words):
        open_features(tmp_path / "c.h5")


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


def test_provenance_names_what_differs() -> None:
    ours = Provenance("vgg16", "fc7", "w.pth", "aa", "{}", "float32", "x")
    assert ours.differences(replace(ours, compute_dtype="bfloat16", created="now")) == []
    assert ours.differences(replace(ours, layer="fc6")) == ["layer: 'fc7' / 'fc6'"]
    assert ours.differences(replace(ours, weights="v.pth")) == []  # the same numbers under another name
    assert ours.differences(replace(ours, weights="v.pth", weights_sha256="bb")) == [
        "weights: 'w.pth' / 'v.pth'",
        "weights_sha256: 'aa' / 'bb'",
    ]


def test_the_digest_of_a_list_depends_on_its_order() -> None:
    assert image_list_sha256(["a", "b"]) == hashlib.sha256(b"a\nb").hexdigest() != image_list_sha256(["b", "a"])
    assert image_list_sha256([]) == hashlib.sha256(b"").hexdigest()
