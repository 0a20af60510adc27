"""A folder that changes: the same command brings its cache up to date, killed or not."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch
from extracting import SETTINGS, assert_same
from PIL import Image
from tiny_backbone import tiny_network

from ranktag.errors import RanktagError
from ranktag.feature_cache.shards import KEPT, folder_of, join_shards
from ranktag.feature_cache.store import FeatureStore, open_features
from ranktag.features.changes import changes_since
from ranktag.features.extract import extract_features
from ranktag.features.progress import ExtractionProgress, ExtractionReport
from ranktag.images.pixels import read_pixels

pytestmark = pytest.mark.usefixtures("tiny")


class Notes(ExtractionProgress):
    """Keeps what is said."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def note(self, text: str) -> None:
        self.said.append(text)


@pytest.fixture
def folder(photos: Path, whole: Path, tmp_path: Path) -> Path:
    """A folder of its own: the 30 photos, as they were computed, and their cache."""
    shutil.copytree(photos, tmp_path / "photos", copy_function=shutil.copy2)
    shutil.copy(whole, tmp_path / "c.h5")
    return tmp_path


def run(folder: Path, notes: Notes | None = None, **settings: Any) -> ExtractionReport:
    return extract_features(folder / "photos", folder / "c.h5", SETTINGS.replace(**settings), notes)


def draw(path: Path, seed: int) -> None:
    pixels = np.random.default_rng(seed).integers(0, 256, (16, 20, 3), np.uint8)
    Image.fromarray(pixels).save(path)


def change(folder: Path) -> None:
    """2 new photos, 1 replaced, 1 mended (05.png could not be read), 1 deleted: of 31 images 27 are as they were."""
    photos = folder / "photos"
    for seed, name in enumerate(("15a.png", "99.png", "07.png", "05.png"), 100):
        draw(photos / name, seed)
    (photos / "03.png").unlink()


def rows(store: FeatureStore) -> dict[str, bytes]:
    return {image_id: store.features[row].tobytes() for row, image_id in enumerate(store.image_id)}


def assert_as_if_fresh(folder: Path) -> None:
    """The cache is that of the photos as they are now, to the bit, and nothing lies beside it."""
    fresh = folder / "fresh" / "c.h5"
    extract_features(folder / "photos", fresh, SETTINGS, network=tiny_network())
    assert_same(folder / "c.h5", fresh)
    assert not folder_of(folder / "c.h5").exists()
    shutil.rmtree(fresh.parent)


def test_only_what_changed_is_computed(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = rows(open_features(folder / "c.h5"))
    change(folder)
    log = folder / "opened"

    def read(path: bytes, *rest: Any) -> Any:
        # Images are decoded in a process of its own.
        with open(log, "a") as file:
            print(os.path.basename(os.fsdecode(path)), file=file)
        return read_pixels(path, *rest)

    monkeypatch.setattr("ranktag.images.batches.read_pixels", read)
    notes = Notes()
    report = run(folder, notes)
    assert notes.said == ["27 kept, 2 new, 2 changed, 1 gone."]
    opened = log.read_text().split()
    assert opened == ["05.png", "07.png", "15a.png", "99.png"] and report.computed == 4
    assert report.images == report.total == 31 and [image_id for image_id, _ in report.failures] == ["13.png"]
    after = rows(open_features(folder / "c.h5"))
    assert [image_id for image_id in after if before.get(image_id) != after[image_id]] == opened
    monkeypatch.undo()
    assert_as_if_fresh(folder)


def test_nothing_is_done_again(folder: Path) -> None:
    before = (folder / "c.h5").stat().st_ino
    report = run(folder)
    assert report.computed == 0 and report.changes is None and (folder / "c.h5").stat().st_ino == before
    change(folder)
    run(folder)
    assert run(folder).changes is None


def test_files_are_recorded_as_they_are(folder: Path) -> None:
    files = open_features(folder / "c.h5").files
    photo = folder / "photos" / "02.png"
    assert files is not None and files.size[2] == photo.stat().st_size and files.mtime_ns[2] == photo.stat().st_mtime_ns
    assert files.sha256[2] == hashlib.sha256(photo.read_bytes()).hexdigest()


def test_a_failed_image_is_tried_again_when_its_file_changed_or_when_asked_for(folder: Path) -> None:
    report = run(folder, retry_failed=True)
    assert report.computed == 2 and len(report.failures) == 2
    os.utime(folder / "photos" / "13.png", ns=(1, 1))
    assert run(folder).computed == 1 and run(folder).computed == 0


def test_a_time_alone_is_no_change_by_content(folder: Path) -> None:
    os.utime(folder / "photos" / "01.png", ns=(1, 1))
    report = run(folder, verify_content=True)
    assert report.computed == 0 and report.changes is not None and len(report.changes.kept) == 30
    # The new time is written down.
    assert run(folder).changes is None and run(folder, verify_content=True).changes is None


def test_other_content_of_the_same_size_and_time_is_found_by_content_only(folder: Path) -> None:
    photo = folder / "photos" / "01.png"
    before, data = photo.stat(), bytearray(photo.read_bytes())
    data[-1] ^= 1
    photo.write_bytes(data)
    os.utime(photo, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert run(folder).computed == 0
    report = run(folder, verify_content=True)
    assert report.changes is not None and list(report.changes.changed) == ["01.png"] and report.computed == 1


def test_a_cache_that_says_nothing_of_files_is_kept_and_said_once(folder: Path) -> None:
    before = rows(open_features(folder / "c.h5"))
    with h5py.File(folder / "c.h5", "r+") as file:
        for name in ("file_size", "file_mtime_ns", "file_sha256"):
            del file[name]
    notes = Notes()
    assert run(folder, notes).computed == 0 and "30 rows are of an earlier ranktag" in notes.said[0]
    assert rows(open_features(folder / "c.h5")) == before
    notes = Notes()
    assert run(folder, notes).computed == 0 and notes.said == []
    # Their content is not known: it is made known.
    assert run(folder, verify_content=True).computed == 30 and run(folder, verify_content=True).computed == 0


def test_more_than_a_tenth_gone_is_asked_about(folder: Path) -> None:
    for number in range(20, 23):
        (folder / "photos" / f"{number}.png").unlink()
    # 3 of 30 are a tenth, not more.
    assert list(run(folder).changes.gone) == ["20.png", "21.png", "22.png"]  # type: ignore[union-attr]
    before = (folder / "c.h5").read_bytes()
    for number in range(0, 3):
        (folder / "photos" / f"0{number}.png").unlink()
    with pytest.raises(RanktagError, match=r"3 of the 27 images .* are gone .*'00.png'.*--allow-removals"):
        run(folder)
    assert (folder / "c.h5").read_bytes() == before and not folder_of(folder / "c.h5").exists()
    assert run(folder, allow_removals=True).total == 24
    assert_as_if_fresh(folder)


def test_photos_of_a_table_that_are_not_there_are_gone_too(folder: Path) -> None:
    names = sorted(path.name for path in (folder / "photos").iterdir())
    table = folder / "list.csv"
    table.write_text("image_id,path\n" + "".join(f"{name},photos/{name}\n" for name in names))
    extract_features(table, folder / "t.h5", SETTINGS)
    before = (folder / "t.h5").read_bytes()
    (folder / "photos").rename(folder / "elsewhere")
    with pytest.raises(RanktagError, match="28 of the 30 images .* are gone"):
        extract_features(table, folder / "t.h5", SETTINGS)
    assert (folder / "t.h5").read_bytes() == before
    (folder / "elsewhere").rename(folder / "photos")
    assert extract_features(table, folder / "t.h5", SETTINGS).computed == 0


def test_a_list_in_another_order_only_moves_rows(folder: Path) -> None:
    names = sorted((path.name for path in (folder / "photos").iterdir()), reverse=True)
    (folder / "list.csv").write_text("image_id,path\n" + "".join(f"{name},photos/{name}\n" for name in names))
    report = extract_features(folder / "list.csv", folder / "c.h5", SETTINGS)
    assert report.computed == 0 and report.changes is not None and report.changes.order
    assert list(open_features(folder / "c.h5").image_id) == names
    run(folder)
    assert_as_if_fresh(folder)


def test_what_was_made_otherwise_is_not_brought_up_to_date(folder: Path) -> None:
    change(folder)
    before = (folder / "c.h5").read_bytes()
    for settings in ({"layer": "fc6"}, {"precision": "bf16"}, {"dtype": "float32"}, {"weights": "random:1"}):
        with pytest.raises(RanktagError, match="made otherwise"):
            run(folder, **settings)
    assert (folder / "c.h5").read_bytes() == before and not folder_of(folder / "c.h5").exists()


def test_damaged_rows_are_not_carried_on(folder: Path) -> None:
    change(folder)
    with h5py.File(folder / "c.h5") as file:
        offset = file["features"].id.get_offset()
    data = bytearray((folder / "c.h5").read_bytes())
    data[offset + 1000] ^= 1
    (folder / "c.h5").write_bytes(data)
    with pytest.raises(RanktagError, match="c.h5: damaged.*--overwrite"):
        run(folder)
    assert run(folder, overwrite=True).computed == 31
    assert_as_if_fresh(folder)


@pytest.mark.parametrize("workers", [2, 3])
def test_workers_share_an_update(folder: Path, workers: int) -> None:
    change(folder)
    reports = [run(folder, shard_size=1, worker_index=k, worker_count=workers) for k in range(workers)]
    assert sum(report.computed for report in reports) == 4 and {report.cache for report in reports} == {None}
    join_shards(folder / "c.h5")
    assert_as_if_fresh(folder)


def test_workers_with_nothing_to_compute_leave_the_rest_to_joining(folder: Path) -> None:
    (folder / "photos" / "03.png").unlink()
    assert [run(folder, worker_index=k, worker_count=2).images for k in range(2)] == [0, 0]
    join_shards(folder / "c.h5")
    assert_as_if_fresh(folder)


def test_a_run_in_progress_goes_on_when_its_folder_has_changed(folder: Path) -> None:
    (folder / "c.h5").unlink()
    # Shards 0 and 2 of 4: rows 0 to 7 and 16 to 23.
    run(folder, worker_index=0, worker_count=2)
    change(folder)
    notes = Notes()
    # Of the 16 images done 03.png is gone, 05.png and 07.png have changed.
    assert run(folder, notes, allow_removals=True).computed == 31 - 13
    assert notes.said == [
        "The images have changed since this run was begun: 13 are done and kept, 2 changed, 1 gone, "
        "16 new or not reached yet"
    ]
    assert_as_if_fresh(folder)


def test_a_photo_that_changed_within_a_run_is_computed_again(folder: Path) -> None:
    (folder / "c.h5").unlink()
    run(folder, worker_index=0, worker_count=2)
    draw(folder / "photos" / "01.png", 5)
    assert run(folder).computed == 30 - 15
    assert_as_if_fresh(folder)


def killed(work: Callable[[], object], steps: int) -> bool:
    """Do ``work`` in a child that dies, as by SIGKILL, before step ``steps`` of those that change names on the disk."""
    child = os.fork()
    if child == 0:
        left = [steps]

        def counted(function: Callable[..., Any]) -> Callable[..., Any]:
            def call(*arguments: Any, **named: Any) -> Any:
                if not left[0]:
                    os._exit(9)
                left[0] -= 1
                return function(*arguments, **named)

            return call

        os.replace, os.unlink, os.rmdir = counted(os.replace), counted(os.unlink), counted(os.rmdir)
        Path.unlink = counted(Path.unlink)  # type: ignore[method-assign]
        try:
            work()
        finally:
            os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9


@pytest.mark.parametrize("again", [False, True], ids=["the same photos", "photos that change again"])
def test_killed_before_every_step(folder: Path, again: bool) -> None:
    torch.set_num_threads(1)
    change(folder)
    before = (folder / "c.h5").read_bytes()
    fresh = folder / "fresh.h5"
    extract_features(folder / "photos", fresh, SETTINGS)
    steps = 0
    while killed(lambda: run(folder, shard_size=2), steps):
        # Whoever reads the cache meanwhile finds the old one or the new one.
        if (folder / "c.h5").read_bytes() != before:
            assert len(open_features(folder / "c.h5")) == 31
        if again:
            draw(folder / "photos" / "15a.png", 1000 + steps)
            draw(folder / "photos" / f"new-{steps}.png", steps)
        run(folder, shard_size=2)
        if again:
            assert_as_if_fresh(folder)
        else:
            assert_same(folder / "c.h5", fresh)
            assert not folder_of(folder / "c.h5").exists()
        # Back to the day before.
        for path in (folder / "photos").glob("new-*.png"):
            path.unlink()
        (folder / "c.h5").write_bytes(before)
        steps += 1
    # kept.h5, two shards, the cache, and what is removed behind it.
    assert steps >= 7


def test_a_killed_update_loses_at_most_a_shard(folder: Path) -> None:
    torch.set_num_threads(1)
    change(folder)
    # Killed after kept.h5 and the first of four shards.
    assert killed(lambda: run(folder, shard_size=1), 2)
    assert (folder_of(folder / "c.h5") / KEPT).exists()
    notes = Notes()
    assert run(folder, notes, shard_size=1).computed == 3
    assert notes.said == ["The update that was begun goes on: 27 kept, 2 new, 2 changed, 1 gone."]
    assert_as_if_fresh(folder)


def test_what_a_kill_after_joining_left_is_removed(folder: Path) -> None:
    change(folder)
    run(folder)
    folder_of(folder / "c.h5").mkdir()
    (folder_of(folder / "c.h5") / KEPT).write_bytes(b"left")
    assert run(folder).computed == 0 and not folder_of(folder / "c.h5").exists()


def test_inspect_says_the_same_without_doing_it(folder: Path, ranktag: Callable[..., Any]) -> None:
    cache, photos = folder / "c.h5", folder / "photos"
    fine = ranktag("inspect", cache, "--against", photos)
    assert fine.code == 0 and fine.out == "30 kept, 0 new, 0 changed, 0 gone.\nThe cache is up to date.\n"
    change(folder)
    before = cache.read_bytes()
    found = ranktag("inspect", cache, "--against", photos)
    assert found.code == 1 and found.out.startswith("27 kept, 2 new, 2 changed, 1 gone.\nnew: 15a.png\nnew: 99.png\n")
    assert "changed: 05.png\nchanged: 07.png\ngone: 03.png\n" in found.out
    assert cache.read_bytes() == before and changes_since(cache, photos).counts()["kept"] == 27
    as_json = json.loads(ranktag("inspect", cache, "--against", photos, "--json").out)
    assert as_json["up_to_date"] is False and as_json["gone"] == ["03.png"] and as_json["counts"]["new"] == 2
    ranktag("inspect", cache, "--verify-content").assert_refused("goes with --against")
