"""Images listed once, computed by workers that know nothing but the manifest."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
from added import TINY
from extracting import SETTINGS, assert_same, finished_shards
from tars import make_tar

from ranktag.errors import Damaged, Locked, Mismatch, NotFound, Outage, RanktagError, Usage
from ranktag.feature_cache.shards import folder_of, join_shards, lock_alone, lock_of, read_shard
from ranktag.feature_cache.verified import VERIFIED, is_verified, verified
from ranktag.features import backbones
from ranktag.features.extract import extract_features
from ranktag.features.from_manifest import extract_from_manifest, parse_shards
from ranktag.features.machine import for_all_machines
from ranktag.features.manifest import open_manifest

LISTING = SETTINGS.replace(backbone="tiny", executor="manifest")


@pytest.fixture(autouse=True)
def _tiny_backbone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "networks").mkdir()
    (tmp_path / "networks/tiny.py").write_text(TINY)
    monkeypatch.setattr(backbones, "__path__", [*backbones.__path__, str(tmp_path / "networks")])


@pytest.fixture
def manifest(photos: Path, tmp_path: Path) -> Path:
    """The photos' manifest: 4 shards, divided for 2 tasks."""
    report = extract_features(photos, tmp_path / "c.h5", LISTING.replace(worker_count=2))
    assert report.cache is None and report.computed == 0 and report.manifest is not None
    return report.manifest


@pytest.fixture
def alone(photos: Path, tmp_path: Path) -> Path:
    """The cache as one process makes it."""
    extract_features(photos, tmp_path / "alone.h5", SETTINGS.replace(backbone="tiny"))
    return tmp_path / "alone.h5"


def test_it_says_all_that_a_worker_needs(photos: Path, manifest: Path, alone: Path) -> None:
    opened = open_manifest(manifest)
    assert list(opened.listed.ids) == [f"{k:02}.png" for k in range(30)]
    assert opened.listed.ids[-2:] == ["28.png", "29.png"] and opened.listed.path(7) == os.fsencode(photos / "07.png")
    assert opened.files.size[5] == 0 and opened.files.size[6] == (photos / "06.png").stat().st_size
    assert list(opened.files.sha256) == [""] * 30
    assert opened.workers == 2 and len(opened.shards) == 4 and opened.output == alone.with_name("c.h5")
    assert (opened.config.precision, opened.config.batch_size, opened.config.executor) == ("fp32", 4, "local")
    made = read_of(alone)
    assert dataclasses.replace(opened.wanted, created="") == dataclasses.replace(made, created="")


def read_of(cache: Path) -> object:
    from ranktag.feature_cache.store import open_features

    return open_features(cache).provenance


def test_workers_make_the_cache_of_one_process(manifest: Path, alone: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir("/")
    output = open_manifest(manifest).output
    monkeypatch.setenv("SLURM_ARRAY_TASK_ID", "1")
    # The second of two tasks, submitted alone: its shards and no other, and nothing is joined.
    monkeypatch.setenv("SLURM_ARRAY_TASK_COUNT", "1")
    report = extract_from_manifest(manifest)
    assert (report.worker, report.images, report.computed, report.cache) == ((1, 2), 14, 14, None)
    assert sorted(path.name[:5] for path in folder_of(output).glob("0*.h5")) == ["00001", "00003"]
    assert [image_id for image_id, _ in report.failures] == ["13.png"]
    assert extract_from_manifest(manifest).computed == 0
    # Lost, and submitted again: what is missing, and no more.
    (folder_of(output) / "00003-of-00004.h5").unlink()
    assert extract_from_manifest(manifest).computed == 6
    monkeypatch.delenv("SLURM_ARRAY_TASK_ID")
    assert extract_from_manifest(manifest, "0,2").computed == 16
    join_shards(output)
    assert_same(output, alone)
    assert not folder_of(output).exists()


def test_shards_that_two_workers_make_do_no_harm(manifest: Path, alone: Path) -> None:
    output = open_manifest(manifest).output
    extract_from_manifest(manifest, "0-3")
    before = (folder_of(output) / "00001-of-00004.h5").read_bytes()
    (folder_of(output) / "00001-of-00004.h5").rename(output.with_name("kept"))
    extract_from_manifest(manifest, "1")
    output.with_name("kept").rename(folder_of(output) / "00001-of-00004.h5")
    assert (folder_of(output) / "00001-of-00004.h5").read_bytes() == before
    join_shards(output)
    assert_same(output, alone)


def test_the_driver_goes_on_with_what_workers_have_done(photos: Path, manifest: Path, alone: Path) -> None:
    extract_from_manifest(manifest, "0-2")
    written = manifest.stat().st_mtime_ns
    output = open_manifest(manifest).output
    assert extract_features(photos, output, LISTING.replace(worker_count=2)).manifest == manifest
    assert manifest.stat().st_mtime_ns == written, "the same manifest is not written again"
    report = extract_features(photos, output, SETTINGS.replace(backbone="tiny"))
    assert report.computed == 6 and report.cache == output
    assert_same(output, alone)


def test_resuming_reads_only_shards_that_are_not_as_they_were(
    manifest: Path, monkeypatch: pytest.MonkeyPatch, alone: Path
) -> None:
    extract_from_manifest(manifest, "0-3")
    folder = manifest.parent
    read: list[str] = []

    def counted(store: object, *arguments: object, **named: object) -> str:
        read.append(store.path.name)  # type: ignore[attr-defined]
        return digest(store, *arguments, **named)  # type: ignore[arg-type]

    from ranktag.feature_cache import shards
    from ranktag.feature_cache.digest import content_sha256 as digest

    monkeypatch.setattr(shards, "content_sha256", counted)
    assert extract_from_manifest(manifest).computed == 0 and read == []
    # One that was touched is read; one that was changed is made again; lost notes cost a reading.
    os.utime(folder / "00002-of-00004.h5")
    with h5py.File(folder / "00001-of-00004.h5", "r+") as file:
        file["features"][2, 3] += 1
    assert extract_from_manifest(manifest, "0-3").computed == 8
    assert read == ["00001-of-00004.h5", "00002-of-00004.h5"]
    (folder / VERIFIED).write_bytes(b"\xff garbled\n00000-of-00004.h5 1\n")
    del read[:]
    assert extract_from_manifest(manifest, "0-3").computed == 0 and len(read) == 4
    assert extract_from_manifest(manifest, "0-3").computed == 0 and len(read) == 4


def test_a_note_holds_for_the_file_that_it_is_of(manifest: Path) -> None:
    extract_from_manifest(manifest, "0-1")
    one, other = (manifest.parent / f"0000{k}-of-00004.h5" for k in range(2))
    known = verified(manifest.parent)
    sha256 = read_shard(one).attributes["content_sha256"]
    assert is_verified(one, sha256, known) and not is_verified(one, "0" * 64, known)
    assert not is_verified(other, sha256, known) and not is_verified(one, sha256, {})


def test_a_machine_that_does_not_see_the_photos_is_refused(photos: Path, manifest: Path, tmp_path: Path) -> None:
    away = photos.with_name("away")
    photos.rename(away)
    try:
        with pytest.raises(Outage, match="does not see the photos: .*0.*png.*mounted"):
            extract_from_manifest(manifest, "0-3")
        photos.mkdir()
        with pytest.raises(Outage, match="does not see the photos"):
            extract_from_manifest(manifest, "0-3")
        photos.rmdir()
    finally:
        away.rename(photos)
    assert finished_shards(tmp_path / "c.h5") == 0
    # A photo that was taken away meanwhile is one failed row.
    (photos / "00.png").rename(photos.with_name("00"))
    try:
        assert [i for i, _ in extract_from_manifest(manifest, "0").failures] == ["00.png", "05.png"]
    finally:
        photos.with_name("00").rename(photos / "00.png")


def damage(name: str) -> Callable[[Path], None]:
    def change(path: Path) -> None:
        with h5py.File(path, "r+") as file:
            if name in file:
                place = -1 if name == "shard_sha256" else 9
                file[name][place] = file[name][place] ^ 1
            else:
                file.attrs[name] = file.attrs[name].replace("fp32", "bf16").replace("ranktag-m", "m")

    return change


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (damage("path_bytes"), "rows of shard 0 are not"),
        (damage("id_bytes"), "rows of shard 0 are not"),
        (damage("file_size"), "rows of shard 1 are not"),
        (damage("shard_sha256"), "not what was written"),
        (damage("header"), "not what was written"),
        (damage("format"), "no manifest"),
        (lambda path: path.write_text("text"), "damaged or not a manifest"),
        (lambda path: os.truncate(path, path.stat().st_size // 2), "damaged"),
        (lambda path: path.unlink(), "no such manifest"),
    ],
)
def test_what_is_not_as_it_was_written_is_refused(manifest: Path, change: Callable[[Path], object], words: str) -> None:
    change(manifest)
    with pytest.raises((Damaged, Mismatch, NotFound), match=words):
        extract_from_manifest(manifest, "0-1")
    assert not list(manifest.parent.glob("0*.h5"))


def test_a_machine_with_another_torch_is_refused(manifest: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.metadata.version", lambda name: "99.0")
    with pytest.raises(Mismatch, match=r"other versions .*torch_version.*99\.0"):
        extract_from_manifest(manifest, "0")


def test_somebody_who_is_alone_keeps_workers_out(photos: Path, manifest: Path, ranktag: Callable) -> None:
    code = (
        "import sys, time; from pathlib import Path; from ranktag.feature_cache.shards import *\n"
        f"output = Path({str(open_manifest(manifest).output)!r}); lock = lock_of(output)\n"
        "lock_as_worker(output, lock); print(flush=True); time.sleep(60)"
    )
    import subprocess
    import sys

    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as other:
        assert other.stdout is not None and other.stdout.readline()
        output = open_manifest(manifest).output
        # Workers share the work; whoever wants it alone, or joins, waits, and is told what a dead machine leaves.
        assert extract_from_manifest(manifest, "0").computed == 8
        with lock_of(output) as lock, pytest.raises(Locked, match="remove .*lock"):
            lock_alone(output, lock)
        with pytest.raises(Locked, match="join when every worker has finished .*remove .*lock"):
            join_shards(output)
        other.kill()


@pytest.mark.parametrize(("text", "numbers"), [("3", [3]), ("0-2", [0, 1, 2]), ("4,0-1,1", [0, 1, 4])])
def test_numbers_of_shards(text: str, numbers: list[int]) -> None:
    from ranktag.feature_cache.shards import cut

    assert [shard.number for shard in parse_shards(text, cut(10, 2))] == numbers


@pytest.mark.parametrize("text", ["", "a", "3-1", "-1", "5", "0-5", "1,,2"])
def test_numbers_that_name_no_shards(text: str) -> None:
    from ranktag.feature_cache.shards import cut

    with pytest.raises(Usage, match="--shards"):
        parse_shards(text, cut(10, 2))


def test_what_machines_would_choose_for_themselves_is_chosen_once(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = SETTINGS.replace(precision="auto", batch_size=None)
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    there = for_all_machines(config, gpus=True)
    assert (there.precision, there.batch_size) == ("bf16", 256)
    here = for_all_machines(config, gpus=False)
    assert here.precision in ("fp32", "bf16") and here.batch_size == 16
    assert for_all_machines(SETTINGS, gpus=True) == SETTINGS
    with pytest.raises(Usage, match="for all workers"):
        extract_features(photos, tmp_path / "c.h5", LISTING.replace(worker_index=1, worker_count=2))


def test_the_commands(photos: Path, tmp_path: Path, ranktag: Callable, alone: Path) -> None:
    output = tmp_path / "d.h5"
    options = (
        "--backbone",
        "tiny",
        "--weights",
        "random:0",
        "--precision",
        "fp32",
        "--batch-size",
        4,
        "--shard-size",
        8,
    )
    listing = ranktag("extract-features", photos, "-o", output, *options, "--executor", "manifest")
    manifest = folder_of(output) / "manifest.hdf5"
    assert listing.code == 0 and f"extract-features --manifest {manifest}" in listing.out
    for number in ("0-1", "2,3"):
        worker = ranktag("extract-features", "--manifest", manifest, "--shards", number, "--workers", 0)
        assert worker.code == 1 or number == "2,3", worker
        assert f"ranktag join-features {output}" in worker.out
    assert ranktag("join-features", output).code == 1
    assert_same(output, alone)
    for call in (
        ("extract-features", photos, "--manifest", manifest),
        ("extract-features", "--manifest", manifest, "--precision", "bf16"),
        ("extract-features", "--manifest", manifest, "--shards", "1", "--worker-index", 0),
        ("extract-features", photos, "-o", output, "--shards", "1"),
        ("extract-features", photos),
        ("extract-features", "-o", output),
        ("extract-features", "--manifest", manifest),
    ):
        refused = ranktag(*call)
        assert refused.code == 2 and refused.err.count("\n") == 1, (call, refused)


def test_a_list_with_digests_keeps_them(photos: Path, tmp_path: Path) -> None:
    report = extract_features(photos, tmp_path / "c.h5", LISTING.replace(verify_content=True))
    assert report.manifest is not None
    digests = open_manifest(report.manifest).files.sha256
    assert len(digests[0]) == 64 and len(set(digests)) == 30 and digests[1:3] == [digests[1], digests[2]]
    extract_from_manifest(report.manifest, "0-3")
    assert isinstance(join_shards(tmp_path / "c.h5").files.sha256[0], str)  # type: ignore[union-attr]


def test_an_engine_that_others_work_for_needs_no_place(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SLURM_ARRAY_TASK_ID", "3")
    assert extract_features(photos, tmp_path / "c.h5", LISTING).manifest is not None
    with pytest.raises(RanktagError, match="--worker-count"):
        extract_features(photos, tmp_path / "d.h5", LISTING.replace(executor="local"))
    assert not np.any([path.exists() for path in (tmp_path / "d.h5", folder_of(tmp_path / "d.h5"))])


def test_places_are_absolute_wherever_photos_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, photos: Path) -> None:
    make_tar(tmp_path / "some.tar", [(f"{k:02}.png", (photos / f"{k:02}.png").read_bytes()) for k in range(12)])
    monkeypatch.chdir(tmp_path)
    report = extract_features("some.tar", "c.h5", LISTING)
    assert report.manifest is not None
    monkeypatch.chdir("/")
    manifest = tmp_path / "c.h5.shards/manifest.hdf5"
    opened = open_manifest(manifest)
    assert f":{tmp_path}/some.tar!/03.png".encode() in opened.listed.path(3) and opened.listed.folder == tmp_path
    assert extract_from_manifest(manifest, "0-1").computed == 12
    assert list(join_shards(tmp_path / "c.h5").image_id) == [f"some.tar/{k:02}.png" for k in range(12)]
