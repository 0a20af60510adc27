"""The feature cache: what is written is read, and nothing else is taken for one."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest

from ranktag.errors import RanktagError
from ranktag.feature_cache import store as feature_store
from ranktag.feature_cache.digest import content_sha256
from ranktag.feature_cache.store import open_features, open_own, opening
from ranktag.feature_cache.write import cache_features
from ranktag.files.isolation import Trial

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


@pytest.mark.parametrize("width", [1, 7, 1000, D])
@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_a_cache_states_its_own_width(tmp_path: Path, width: int, dtype: str) -> None:
    features = np.arange(3 * width, dtype=np.float32).reshape(3, width) % 100
    store = open_features(cache_features(features, ["a", "b", "c"], tmp_path / "c.h5", dtype=dtype))
    assert store.width == width and store.features.shape == (3, width)
    np.testing.assert_array_equal(store.features, features)
    # Nothing read wrongly is taken for it: the file ends with the last row, or it is cut short.
    data = (tmp_path / "c.h5").read_bytes()
    end = store.features.offset + store.features.nbytes  # type: ignore[attr-defined]  # of a np.memmap
    (tmp_path / "c.h5").write_bytes(data[: end - 1])
    with pytest.raises(RanktagError, match="damaged"):
        open_features(tmp_path / "c.h5")


def test_ids_and_errors_as_a_data_frame(tmp_path: Path) -> None:
    features = some(3)
    features[1] = np.nan
    frame = open_features(cache_features(features, ["a", "b", "c"], tmp_path / "c.h5")).to_frame()
    assert list(frame.columns) == ["image_id", "valid", "error"]
    assert frame["image_id"].tolist() == ["a", "b", "c"] and frame["valid"].tolist() == [True, False, True]
    assert frame["error"].tolist() == ["", "the feature is not finite", ""]
    assert frame["valid"].dtype == bool


def test_a_file_of_ones_own_is_not_tried_in_a_fork_and_checked_all_the_same(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_fork(*arguments: object) -> str:
        raise AssertionError("it is tried in a fork")

    monkeypatch.setattr(feature_store, "Trial", no_fork)
    assert list(open_own(cache).image_id) == ["a", "b", "ü 😀\n,|"]
    with pytest.raises(AssertionError, match="fork"):
        open_features(cache)
    cache.write_bytes(cache.read_bytes()[:9000])
    with pytest.raises(RanktagError, match="damaged"):
        open_own(cache)


DAMAGE: dict[str, tuple[Callable[[Path], object], str]] = {
    "text": (lambda p: p.write_text("no HDF5"), "not a feature cache"),
    "empty": (lambda p: p.write_bytes(b""), "not a feature cache"),
    "cut short": (lambda p: p.write_bytes(p.read_bytes()[:9000]), "damaged"),
    "other HDF5": (lambda p: h5py.File(p, "w").close(), "no format='ranktag-features'"),
    "later version": (edit(lambda f: f.attrs.__setitem__("format_version", 2)), "install a newer ranktag"),
    "no version": (edit(lambda f: f.attrs.__delitem__("format_version")), "damaged"),
    "no provenance": (edit(lambda f: f.attrs.__delitem__("weights")), "the attribute 'weights' is missing"),
    "0-d": (redo("features", data=np.zeros((3, 0), "f2")), "0-dimensional"),
    "no width": (redo("features", data=np.zeros(3, "f2")), "(N, D)"),
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


def test_a_file_that_takes_its_place_while_it_is_opened_is_tried_too(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with opening(cache) as opened:
        shutil.copyfile(cache, tmp_path / "other.h5")
        os.replace(tmp_path / "other.h5", cache)
        monkeypatch.setattr(feature_store, "Trial", lambda action: Trial(os.abort))
        with pytest.raises(RanktagError, match="damaged: HDF5 crashes"):
            opened()
    monkeypatch.undo()
    with opening(cache) as opened:
        monkeypatch.setattr(feature_store, "Trial", lambda action: Trial(os.abort))
        assert list(opened().image_id) == ["a", "b", "ü 😀\n,|"]


def test_a_file_cut_anywhere_is_refused(cache: Path) -> None:
    data = cache.read_bytes()
    for size in range(0, len(data) - 1, 397):
        cache.write_bytes(data[:size])
        with pytest.raises(RanktagError):
            open_features(cache)


def test_any_flipped_byte_ends_in_a_cache_or_an_error(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Some make HDF5 run for ever; here it is known after a second.
    monkeypatch.setattr(feature_store, "Trial", lambda action: Trial(action, seconds=1))
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
