"""Joining shards while they are made: the file is that of joining them afterwards, whatever happens on the way."""

from __future__ import annotations

import errno
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from extracting import SETTINGS, assert_same, finished_shards, make_photos, use_tiny_network, wait_for
from PIL import Image

from ranktag.errors import RanktagError
from ranktag.feature_cache import hdf5, shards, write
from ranktag.feature_cache.joining import Joining
from ranktag.feature_cache.store import open_features
from ranktag.features import extract
from ranktag.features.extract import extract_features


@pytest.fixture(autouse=True)
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    use_tiny_network(monkeypatch)
    for module in ("write", "provenance"):
        monkeypatch.setattr(f"ranktag.feature_cache.{module}.utc_now", lambda: "2026-01-02T03:04:05Z")


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_photos(tmp_path_factory.mktemp("photos"))


@pytest.fixture
def afterwards(photos: Path, tmp_path: Path) -> Path:
    """The cache of the photos, joined when its shards were there."""
    output = tmp_path / "afterwards" / "c.h5"
    for index in range(2):
        extract_features(photos, output, SETTINGS.replace(worker_index=index, worker_count=2))
    shards.join_shards(output)
    return output


@pytest.fixture
def only_on_the_way(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever joins at the end fails."""

    def refuse(*_: object) -> None:
        raise AssertionError("joined at the end")

    monkeypatch.setattr(extract, "join_locked", refuse)


def assert_nothing_beside(output: Path) -> None:
    assert [path.name for path in output.parent.iterdir()] == [output.name]


def assert_joined(output: Path, afterwards: Path) -> None:
    """It is that file byte for byte, and alone."""
    assert output.read_bytes() == afterwards.read_bytes()
    assert_nothing_beside(output)


@pytest.mark.usefixtures("only_on_the_way")
@pytest.mark.parametrize("shard_size", [8, 7, 4096])
def test_it_is_the_same_file_byte_for_byte(photos: Path, tmp_path: Path, afterwards: Path, shard_size: int) -> None:
    output = tmp_path / "on the way" / "c.h5"
    extract_features(photos, output, SETTINGS.replace(shard_size=shard_size))
    if shard_size == 8:
        assert output.read_bytes() == afterwards.read_bytes()
    assert_same(output, afterwards)
    assert_nothing_beside(output)


@pytest.mark.usefixtures("only_on_the_way")
def test_what_is_there_already_is_joined_too(photos: Path, tmp_path: Path, afterwards: Path) -> None:
    output = tmp_path / "c" / "c.h5"
    extract_features(photos, output, SETTINGS.replace(worker_index=0, worker_count=2))
    assert extract_features(photos, output, SETTINGS).computed == 14
    assert_joined(output, afterwards)


@pytest.mark.usefixtures("only_on_the_way")
def test_an_update_is_joined_with_what_is_kept(photos: Path, tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    shutil.copytree(photos, folder)
    output = tmp_path / "c" / "c.h5"
    extract_features(folder, output, SETTINGS)
    for name in ("00b.png", "17b.png", "99.png"):
        Image.fromarray(np.full((20, 16, 3), len(name), np.uint8)).save(folder / name)
    (folder / "09.png").unlink()
    assert extract_features(folder, output, SETTINGS).computed == 3
    extract_features(folder, tmp_path / "again.h5", SETTINGS)
    assert_same(output, tmp_path / "again.h5")
    there, again = open_features(output).files, open_features(tmp_path / "again.h5").files
    assert there is not None and again is not None
    assert there.size.tolist() == again.size.tolist() and list(there.sha256) == list(again.sha256)
    assert_nothing_beside(output)


def let_writes_fail(monkeypatch: pytest.MonkeyPatch, full: Callable[[hdf5.KeepsFailure], bool]) -> None:
    """The disk has no room for what is written to files that are ``full``."""
    write_some = hdf5.KeepsFailure._write_some

    def write(self: hdf5.KeepsFailure, data: Any) -> Any:
        if full(self):
            raise OSError(errno.ENOSPC, "No space left on device")
        return write_some(self, data)

    monkeypatch.setattr(hdf5.KeepsFailure, "_write_some", write)


def test_where_it_fails_the_shards_are_joined_at_the_end(
    photos: Path, tmp_path: Path, afterwards: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The disk is too full for the first file that is joined, and has room again later."""
    output, tried = tmp_path / "c" / "c.h5", []

    def full(file: hdf5.KeepsFailure) -> bool:
        if Path(str(file.name)).parent == output.parent and len(tried) < 2:
            tried.append(file.name)
        return len(tried) == 1 and file.name in tried

    let_writes_fail(monkeypatch, full)
    extract_features(photos, output, SETTINGS)
    assert len(tried) == 2
    assert_joined(output, afterwards)


def test_what_reads_back_differently_is_joined_again(
    photos: Path, tmp_path: Path, afterwards: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    on_disk = write._on_disk

    def other(*arguments: Any) -> npt.NDArray[Any]:
        found = np.array(on_disk(*arguments))
        found[-1] ^= 1
        return found

    monkeypatch.setattr(write, "_on_disk", other)
    output = tmp_path / "c" / "c.h5"
    extract_features(photos, output, SETTINGS)
    assert_joined(output, afterwards)


def test_a_shard_gets_the_room_that_the_joined_file_took(
    photos: Path, tmp_path: Path, afterwards: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The disk is full as long as there is a joined file beside the shards."""
    output = tmp_path / "c" / "c.h5"
    given_up: list[bool] = []
    abandon = Joining.abandon

    def counted(self: Joining) -> bool:
        given_up.append(abandon(self))
        return given_up[-1]

    def full(file: hdf5.KeepsFailure) -> bool:
        if Path(str(file.name)).parent != shards.folder_of(output) or finished_shards(output) < 2 or given_up:
            return False
        wait_for(lambda: any(output.parent.glob(".c.h5.*")))
        return True

    monkeypatch.setattr(Joining, "abandon", counted)
    let_writes_fail(monkeypatch, full)
    assert extract_features(photos, output, SETTINGS).computed == 30
    assert given_up == [True, False]
    assert_joined(output, afterwards)


def test_where_the_run_fails_nothing_half_joined_is_left(
    photos: Path, tmp_path: Path, afterwards: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = tmp_path / "c" / "c.h5"
    monkeypatch.setattr(
        "ranktag.features.shard_writer.put_shard",
        lambda job, shard: (_ for _ in ()).throw(RanktagError("the server")) if shard.number == 2 else None,
    )
    with pytest.raises(RanktagError, match="the server"):
        extract_features(photos, output, SETTINGS)
    assert [path.name for path in output.parent.iterdir()] == ["c.h5.shards"] and finished_shards(output) == 3
    monkeypatch.undo()
    use_tiny_network(monkeypatch)
    extract_features(photos, output, SETTINGS)
    assert_same(output, afterwards)


def test_an_engine_that_tells_nothing_is_waited_for_in_vain_no_longer_than_it_works(
    photos: Path, tmp_path: Path, afterwards: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An engine of somebody's own, that has begun to join and does not say which shards it has made."""
    from ranktag.features.executors.local import Engine

    execute = Engine.execute

    def silent(self: Engine, job: Any, pending: Any, progress: Any) -> Any:
        job.joining.start()
        monkeypatch.setattr(Joining, "add", lambda *_: None)
        return execute(self, job, pending, progress)

    monkeypatch.setattr(Engine, "execute", silent)
    output = tmp_path / "c" / "c.h5"
    extract_features(photos, output, SETTINGS)
    assert_joined(output, afterwards)
