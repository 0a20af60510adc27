"""Stage one as a whole: nothing is lost, nothing depends on how often or by how many it was run."""

from __future__ import annotations

import csv
import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from PIL import Image
from tiny_backbone import load_tiny, tiny_backbone

from ranktag.config import ExtractionConfig
from ranktag.errors import RanktagError
from ranktag.feature_cache import shards
from ranktag.feature_cache.provenance import Provenance
from ranktag.feature_cache.store import open_features
from ranktag.features import extract as extraction
from ranktag.features.extract import choose_worker, choose_workers, extract_features, features_like
from ranktag.files.lock import FileLock
from ranktag.images.listing import list_images
from ranktag.images.pixels import read_pixels
from ranktag.pipelines.extract_features import duration, progress_printer

SETTINGS = ExtractionConfig(weights="random:0", precision="fp32", batch_size=4, workers=0, shard_size=8, device="cpu")
PROGRAM = [sys.executable, str(Path(__file__).parents[1] / "tiny_backbone.py")]
OPTIONS = "--weights random:0 --precision fp32 --batch-size 4 --workers 1 --shard-size 8 --device cpu".split()


@pytest.fixture(autouse=True)
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ranktag.features.backbone.load_backbone", load_tiny)
    for name in (
        "RANK",
        "WORLD_SIZE",
        "LOCAL_RANK",
        "LOCAL_WORLD_SIZE",
        "SLURM_ARRAY_TASK_ID",
        "SLURM_ARRAY_TASK_COUNT",
    ):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """30 photos of noise, two of which cannot be read: numbers 5 and 13."""
    folder = tmp_path_factory.mktemp("photos")
    random = np.random.default_rng(0)
    for number in range(30):
        path = folder / f"{number:02}.png"
        if number in (5, 13):
            path.write_bytes(b"" if number == 5 else b"text")
        else:
            Image.fromarray(random.integers(0, 256, (16, 20, 3), np.uint8)).save(path)
    return folder


@pytest.fixture(scope="module")
def whole(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The cache of the photos, made in one go."""
    output = tmp_path_factory.mktemp("whole") / "cache.h5"
    extract_features(photos, output, SETTINGS, backbone=tiny_backbone())
    return output


def assert_same(one: Path, other: Path) -> None:
    """Equal to the bit in features, and in all else but the time."""
    a, b = open_features(one), open_features(other)
    assert a.features.dtype == b.features.dtype and a.features.tobytes() == b.features.tobytes()
    assert list(a.image_id) == list(b.image_id) and list(a.error) == list(b.error) and (a.valid == b.valid).all()
    assert a.attributes["content_sha256"] == b.attributes["content_sha256"]
    assert not a.provenance.differences(b.provenance, [n for n in vars(a.provenance) if n != "created"])


def test_the_cache_is_as_the_contract_says(whole: Path, photos: Path) -> None:
    with h5py.File(whole) as file:
        assert set(file) == {"features", "image_id", "valid", "error"}
        assert (
            file["features"].shape == (30, 4096)
            and file["features"].dtype == np.float16
            and file["features"].chunks is None
        )
        assert file.attrs["format"] == "ranktag-features" and file.attrs["format_version"] == 1
        assert (file.attrs["backbone"], file.attrs["layer"], file.attrs["weights"]) == ("vgg16", "fc7", "random:0")
        assert file.attrs["compute_dtype"] == "float32" and json.loads(file.attrs["preprocessing"])["resize"] == 256
    store = open_features(whole)
    assert (
        list(store.image_id) == [f"{k:02}.png" for k in range(30)]
        and store.provenance.image_list_sha256 == list_images(photos).sha256()
    )
    assert np.flatnonzero(~store.valid).tolist() == [5, 13]
    assert (
        store.error[5] == "empty (0 bytes)"
        and "not an image" in store.error[13]
        and not any(store.error[k] for k in range(30) if k not in (5, 13))
    )
    assert np.isnan(store.features[[5, 13]]).all() and np.isfinite(store.features[store.valid]).all()
    with torch.inference_mode():
        expected = tiny_backbone()(torch.from_numpy(read_pixels(photos / "17.png")[None].copy()))[0].numpy()
    np.testing.assert_allclose(store.features[17], expected, rtol=1e-3, atol=1e-4)
    assert not whole.with_name("cache.h5.shards").exists()


@pytest.mark.parametrize("change", [{"workers": 1}, {"workers": 3}, {"shard_size": 12}, {"shard_size": 1000}])
def test_neither_workers_nor_shards_change_the_file(
    photos: Path, whole: Path, tmp_path: Path, change: dict[str, int]
) -> None:
    report = extract_features(photos, tmp_path / "c.h5", SETTINGS.replace(**change))
    assert_same(tmp_path / "c.h5", whole)
    assert (report.images, report.computed, report.cache) == (30, 30, tmp_path / "c.h5")
    assert [image_id for image_id, _ in report.failures] == ["05.png", "13.png"]


@pytest.mark.parametrize("count", [2, 3, 7])
def test_workers_share_the_shards_and_joining_gives_the_same_file(
    photos: Path, whole: Path, tmp_path: Path, count: int
) -> None:
    output = tmp_path / "c.h5"
    for index in reversed(range(count)):
        report = extract_features(photos, output, SETTINGS.replace(worker_index=index, worker_count=count))
        assert report.cache is None and report.worker == (index, count) and not output.exists()
    shards.join_shards(output)
    assert_same(output, whole)
    assert not shards.folder_of(output).exists()


def test_another_number_of_workers_finishes_what_others_began(photos: Path, whole: Path, tmp_path: Path) -> None:
    extract_features(photos, tmp_path / "c.h5", SETTINGS.replace(worker_index=1, worker_count=3))
    report = extract_features(photos, tmp_path / "c.h5", SETTINGS)
    assert report.computed == 22 and report.images == 30
    # Failures are reported whoever met them: 13 is in shard 1, which the first call made.
    assert [image_id for image_id, _ in report.failures] == ["05.png", "13.png"]
    assert_same(tmp_path / "c.h5", whole)


def test_a_finished_cache_is_known_without_torch(photos: Path, whole: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from ranktag.features.extract import extract_features; from ranktag.config import ExtractionConfig\n"
        f"report = extract_features(Path({str(photos)!r}), Path({str(whole)!r}), ExtractionConfig(weights='random:0'))\n"
        "assert report.computed == 0 and len(report.failures) == 2 and report.cache; assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


# --- interruptions ------------------------------------------------------------


def start(photos: Path, output: Path, *options: str, seconds_per_batch: float = 0.3) -> subprocess.Popen[str]:
    """The command in a process of its own, slowly."""
    command = [*PROGRAM, "extract-features", str(photos), "-o", str(output), *OPTIONS, *options]
    environment = {**os.environ, "SECONDS_PER_BATCH": str(seconds_per_batch)}
    return subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )


def wait_for(condition: Callable[[], bool], seconds: float = 60) -> None:
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, "waited in vain"
        time.sleep(0.02)


def finished_shards(output: Path) -> int:
    return len(list(shards.folder_of(output).glob("[0-9]*.h5")))


def processes_of_session(session: int) -> list[int]:
    """Processes still alive in a session; [] where there is no /proc."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            fields = (entry / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[3]) == session and fields[0] != "Z":
            found.append(int(entry.name))
    return found


def test_killed_and_run_again_it_is_the_same_file(photos: Path, whole: Path, tmp_path: Path) -> None:
    output = tmp_path / "c.h5"
    process = start(photos, output)
    wait_for(lambda: finished_shards(output) >= 2)
    process.kill()
    process.communicate()
    # Its decoding process notices that it is alone.
    wait_for(lambda: not processes_of_session(process.pid))
    assert not output.exists()
    report = extract_features(photos, output, SETTINGS)
    assert report.computed <= 14
    assert_same(output, whole)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_finishes_the_batch_and_says_what_is_done(
    photos: Path, whole: Path, tmp_path: Path, number: signal.Signals
) -> None:
    output = tmp_path / "c.h5"
    process = start(photos, output)
    wait_for(lambda: finished_shards(output) >= 1)
    # As a terminal or a batch system does: to the decoding process as well.
    os.killpg(process.pid, number)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 128 + number
    last = err.splitlines()[-1]
    assert (
        f"stopped by {number.name}" in last and "of 30 images are done" in last and "the same command goes on" in last
    )
    assert "Traceback" not in err
    assert extract_features(photos, output, SETTINGS).computed < 30
    assert_same(output, whole)


def test_the_second_process_on_one_output_says_so_and_stops(photos: Path, whole: Path, tmp_path: Path) -> None:
    output = tmp_path / "c.h5"
    first = start(photos, output)
    wait_for(lambda: finished_shards(output) >= 1)
    first.send_signal(signal.SIGSTOP)
    second = start(photos, output)
    _, err = second.communicate(timeout=60)
    assert second.returncode == 2 and "another process is at work on it" in err and err.count("\n") == 1
    join = subprocess.run([*PROGRAM, "join-features", str(output)], capture_output=True, text=True, check=False)
    assert join.returncode == 2 and "still being worked on" in join.stderr
    first.send_signal(signal.SIGCONT)
    assert first.wait(timeout=60) == 1  # two images failed
    assert_same(output, whole)


def test_two_workers_at_once_make_the_same_file(photos: Path, whole: Path, tmp_path: Path) -> None:
    output = tmp_path / "c.h5"
    both = [
        start(photos, output, "--worker-index", str(k), "--worker-count", "2", seconds_per_batch=0.05) for k in range(2)
    ]
    assert [process.wait(timeout=120) for process in both] == [1, 1]  # each met an image that failed
    shards.join_shards(output)
    assert_same(output, whole)


def test_a_decoding_process_that_dies_is_one_line(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ranktag.images.batches.read_pixels", lambda path: os._exit(9))
    with pytest.raises(RanktagError, match="a process that decodes images died"):
        extract_features(photos, tmp_path / "c.h5", SETTINGS.replace(workers=1))


# --- what is there already ------------------------------------------------------


@pytest.fixture
def begun(photos: Path, tmp_path: Path) -> Path:
    """The output of a run of which shards 0 and 2 of 4 are done."""
    output = tmp_path / "c.h5"
    extract_features(photos, output, SETTINGS.replace(worker_index=0, worker_count=2))
    return output


OTHERWISE = {
    "weights": {"weights": "random:1"},
    "backbone": {"backbone": "vgg19"},
    "layer": {"layer": "fc6"},
    "compute_dtype": {"precision": "bf16"},
    "dtype": {"dtype": "float32"},
}


@pytest.mark.parametrize("name", OTHERWISE)
@pytest.mark.parametrize("finished", [True, False])
def test_what_was_made_otherwise_is_refused_by_name(
    photos: Path, begun: Path, whole: Path, name: str, finished: bool, tmp_path: Path
) -> None:
    output = Path(shutil.copy(whole, tmp_path / "done.h5")) if finished else begun
    with pytest.raises(RanktagError, match=rf"made otherwise.*{name}: .*--overwrite"):
        extract_features(photos, output, SETTINGS.replace(**OTHERWISE[name]))
    assert not finished or output.read_bytes() == whole.read_bytes()
    assert finished or finished_shards(output) == 2


@pytest.mark.parametrize("finished", [True, False])
@pytest.mark.parametrize(
    ("name", "value"), [("torch_version", "1.13.0"), ("preprocessing", "{}"), ("image_list_sha256", "x")]
)
def test_recorded_provenance_is_compared(
    photos: Path, begun: Path, whole: Path, tmp_path: Path, finished: bool, name: str, value: str
) -> None:
    output = Path(shutil.copy(whole, tmp_path / "done.h5")) if finished else begun
    with h5py.File(output if finished else shards.folder_of(begun) / "00000-of-00004.h5", "r+") as file:
        file.attrs[name] = value
    with pytest.raises(RanktagError, match=f"made otherwise.*{name}"):
        extract_features(photos, output, SETTINGS)


def test_a_minor_version_of_a_library_is_no_obstacle(photos: Path, begun: Path, whole: Path) -> None:
    with h5py.File(shards.folder_of(begun) / "00000-of-00004.h5", "r+") as file:
        file.attrs["torch_version"] = torch.__version__.split(".")[0] + ".0.0"
    assert extract_features(photos, begun, SETTINGS).computed == 14


def test_a_weights_file_that_changed_is_noticed(photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    weights = tmp_path / "w.pth"
    weights.write_bytes(b"one")

    def load(*arguments: object, **named: object) -> object:
        backbone = tiny_backbone()
        backbone.weights_sha256 = extraction.sha256_file(weights)
        return backbone

    monkeypatch.setattr("ranktag.features.backbone.load_backbone", load)
    settings = SETTINGS.replace(weights=str(weights))
    extract_features(photos, tmp_path / "c.h5", settings)
    assert extract_features(photos, tmp_path / "c.h5", settings).computed == 0
    # The same bytes under another name are the same weights.
    assert (
        extract_features(
            photos, tmp_path / "c.h5", settings.replace(weights=str(shutil.copy(weights, tmp_path / "v.pth")))
        ).computed
        == 0
    )
    weights.write_bytes(b"two")
    with pytest.raises(RanktagError, match="weights_sha256"):
        extract_features(photos, tmp_path / "c.h5", settings)


def test_another_cut_is_refused(photos: Path, begun: Path) -> None:
    with pytest.raises(RanktagError, match="--shard-size"):
        extract_features(photos, begun, SETTINGS.replace(shard_size=4))


def test_overwrite_replaces_what_was_made_otherwise_and_keeps_the_rest(photos: Path, begun: Path, whole: Path) -> None:
    assert extract_features(photos, begun, SETTINGS.replace(overwrite=True)).computed == 14
    assert_same(begun, whole)
    report = extract_features(photos, begun, SETTINGS.replace(overwrite=True, layer="fc6", shard_size=4))
    assert report.computed == 30 and open_features(begun).provenance.layer == "fc6"


def test_a_damaged_shard_is_made_again(photos: Path, begun: Path, whole: Path) -> None:
    shard = shards.folder_of(begun) / "00000-of-00004.h5"
    offset = 0
    with h5py.File(shard) as file:
        offset = file["features"].id.get_offset()
    data = bytearray(shard.read_bytes())
    data[offset + 1000] ^= 1
    shard.write_bytes(data)
    with pytest.raises(RanktagError, match="damaged: its content is not what was written"):
        shards.read_shard(shard)
    assert extract_features(photos, begun, SETTINGS).computed == 22
    assert_same(begun, whole)


def test_something_else_at_the_output_is_not_touched(photos: Path, tmp_path: Path) -> None:
    (tmp_path / "c.h5").write_text("my diary")
    with pytest.raises(RanktagError, match="not a feature cache"):
        extract_features(photos, tmp_path / "c.h5", SETTINGS)
    assert (tmp_path / "c.h5").read_text() == "my diary"
    with pytest.raises(RanktagError, match="is a folder"):
        extract_features(photos, tmp_path, SETTINGS)


# --- joining ------------------------------------------------------------------


def test_missing_shards_are_named(begun: Path) -> None:
    with pytest.raises(RanktagError, match="of 4 shards 2 are missing: 1, 3"):
        shards.join_shards(begun)
    (shards.folder_of(begun) / "00002-of-00004.h5").unlink()
    (shards.folder_of(begun) / "00000-of-00004.h5").unlink()
    with pytest.raises(RanktagError, match="holds no finished shard"):
        shards.join_shards(begun)


def complete(photos: Path, begun: Path) -> Path:
    extract_features(photos, begun, SETTINGS.replace(worker_index=1, worker_count=2))
    return shards.folder_of(begun)


def test_the_last_shard_missing_is_noticed(photos: Path, begun: Path) -> None:
    (complete(photos, begun) / "00003-of-00004.h5").unlink()
    with pytest.raises(RanktagError, match="of 4 shards 1 is missing: 3"):
        shards.join_shards(begun)


def test_a_doubled_shard_is_named(photos: Path, begun: Path) -> None:
    folder = complete(photos, begun)
    shutil.copy(folder / "00001-of-00004.h5", folder / "copy of 1.h5")
    with pytest.raises(
        RanktagError, match=r"(copy of 1|00001-of-00004)\.h5 and (copy of 1|00001-of-00004)\.h5 hold the same images"
    ):
        shards.join_shards(begun)


def test_a_shard_of_another_run_is_named(photos: Path, begun: Path, tmp_path: Path) -> None:
    folder = complete(photos, begun)
    extract_features(photos, tmp_path / "d.h5", SETTINGS.replace(layer="fc6", worker_index=1, worker_count=4))
    shutil.copy(shards.folder_of(tmp_path / "d.h5") / "00001-of-00004.h5", folder)
    with pytest.raises(RanktagError, match=r"00001-of-00004.h5: is of another run than .*layer: 'fc7' / 'fc6'"):
        shards.join_shards(begun)


def test_a_cache_is_no_shard(photos: Path, begun: Path, whole: Path) -> None:
    shutil.copy(whole, shards.folder_of(begun) / "whole.h5")
    with pytest.raises(RanktagError, match="whole.h5: is a feature cache, but not a shard"):
        shards.join_shards(begun)


def test_joining_replaces_nothing_unasked(photos: Path, begun: Path, whole: Path) -> None:
    complete(photos, begun)
    shutil.copy(whole, begun)
    with pytest.raises(RanktagError, match="exists already"):
        shards.join_shards(begun)
    shards.join_shards(begun, overwrite=True)
    assert_same(begun, whole)
    with pytest.raises(RanktagError, match="no such folder of shards"):
        shards.join_shards(begun, overwrite=True)


# --- disks ----------------------------------------------------------------------


def test_a_full_disk_is_one_line_and_going_on_works(
    photos: Path, begun: Path, whole: Path, monkeypatch: pytest.MonkeyPatch, ranktag: Callable
) -> None:
    def full(self: object, data: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("ranktag.feature_cache.hdf5.KeepsFailure._write_some", full)
        outcome = ranktag("extract-features", photos, "-o", begun, *OPTIONS, "--quiet")
    outcome.assert_refused("No space left on device", "free some space and run it again")
    assert finished_shards(begun) == 2 and not list(shards.folder_of(begun).glob(".*"))
    extract_features(photos, begun, SETTINGS)
    assert_same(begun, whole)


def test_a_read_only_folder_is_one_line(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ranktag: Callable
) -> None:
    def refuse(*arguments: object, **named: object) -> None:
        raise OSError(errno.EROFS, "Read-only file system", str(tmp_path))

    monkeypatch.setattr("ranktag.files.lock.open", refuse, raising=False)
    ranktag("extract-features", photos, "-o", tmp_path / "c.h5", *OPTIONS).assert_refused(
        "Read-only file system", str(tmp_path)
    )


class Vanishing(extraction.Progress):
    """Moves a folder away once a shard is done."""

    def __init__(self, folder: Path, elsewhere: Path) -> None:
        self.folder, self.elsewhere, self.images = folder, elsewhere, 0

    def batch(self, images: int, failures: int) -> None:
        self.images += images
        if self.images == 12:
            self.folder.rename(self.elsewhere)


@pytest.mark.parametrize("mount_point_left", [True, False])
def test_images_that_vanish_stop_the_run_instead_of_failing(
    photos: Path, whole: Path, tmp_path: Path, mount_point_left: bool
) -> None:
    here, away = tmp_path / "disk", tmp_path / "away"
    shutil.copytree(photos, here)

    class Unmounting(Vanishing):
        def batch(self, images: int, failures: int) -> None:
            super().batch(images, failures)
            if mount_point_left:
                here.mkdir(exist_ok=True)

    with pytest.raises(RanktagError, match="disk: has vanished.*run the same command again"):
        extract_features(here, tmp_path / "c.h5", SETTINGS, Unmounting(here, away))
    assert finished_shards(tmp_path / "c.h5") == 1
    if mount_point_left:
        here.rmdir()
    away.rename(here)
    assert extract_features(here, tmp_path / "c.h5", SETTINGS).computed == 22
    assert_same(tmp_path / "c.h5", whole)


def test_an_output_folder_that_vanishes_is_not_made_again(photos: Path, tmp_path: Path) -> None:
    output = tmp_path / "disk" / "c.h5"
    with pytest.raises(RanktagError, match="c.h5.shards: has vanished"):
        extract_features(photos, output, SETTINGS, Vanishing(output.parent, tmp_path / "away"))
    assert not output.parent.exists()
    assert finished_shards(tmp_path / "away" / "c.h5") == 1


# --- numbers --------------------------------------------------------------------


def test_features_that_do_not_fit_float16_fail_with_the_remedy(photos: Path, tmp_path: Path) -> None:
    report = extract_features(photos, tmp_path / "c.h5", SETTINGS, backbone=tiny_backbone(bias=70_000))
    assert len(report.failures) == 30
    assert "does not fit float16; store float32 (--dtype float32)" in dict(report.failures)["00.png"]
    assert np.isnan(open_features(tmp_path / "c.h5").features).all()
    extract_features(photos, tmp_path / "d.h5", SETTINGS.replace(dtype="float32"), backbone=tiny_backbone(bias=70_000))
    assert open_features(tmp_path / "d.h5").features[0].mean() == pytest.approx(70_000, rel=1e-3)


def test_numbers_that_are_not_finite_fail(photos: Path, tmp_path: Path) -> None:
    report = extract_features(photos, tmp_path / "c.h5", SETTINGS, backbone=tiny_backbone(bias=float("nan")))
    assert "gave numbers that are not finite" in dict(report.failures)["00.png"]


# --- who does what ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, (0, 1)),
        ({"RANK": "1", "WORLD_SIZE": "2"}, (1, 2)),
        (
            {
                "SLURM_ARRAY_TASK_ID": "3",
                "SLURM_ARRAY_TASK_COUNT": "40",
                "SLURM_ARRAY_TASK_MIN": "0",
                "SLURM_ARRAY_TASK_MAX": "39",
            },
            (3, 40),
        ),
        (
            {
                "SLURM_ARRAY_TASK_ID": "5",
                "SLURM_ARRAY_TASK_COUNT": "3",
                "SLURM_ARRAY_TASK_MIN": "1",
                "SLURM_ARRAY_TASK_STEP": "2",
            },
            (2, 3),
        ),
        (
            {
                "SLURM_ARRAY_TASK_ID": "1",
                "SLURM_ARRAY_TASK_COUNT": "2",
                "SLURM_ARRAY_TASK_MIN": "0",
                "RANK": "3",
                "WORLD_SIZE": "4",
            },
            (7, 8),
        ),
    ],
)
def test_workers_are_numbered_by_torchrun_and_slurm(environment: dict[str, str], expected: tuple[int, int]) -> None:
    assert choose_worker(ExtractionConfig(), environment) == expected
    assert choose_worker(ExtractionConfig(worker_index=4, worker_count=9), environment) == (4, 9)


@pytest.mark.parametrize(
    ("settings", "environment", "words"),
    [
        ({"worker_index": 1}, {}, "give both or neither"),
        ({"worker_index": 2, "worker_count": 2}, {}, "worker index 2 is not below the worker count 2"),
        ({}, {"RANK": "x", "WORLD_SIZE": "2"}, "RANK is 'x'"),
        (
            {},
            {"SLURM_ARRAY_TASK_ID": "9", "SLURM_ARRAY_TASK_COUNT": "2", "SLURM_ARRAY_TASK_MIN": "3"},
            "not evenly spaced",
        ),
    ],
)
def test_impossible_workers_are_refused(settings: dict[str, int], environment: dict[str, str], words: str) -> None:
    with pytest.raises(RanktagError, match=words):
        choose_worker(ExtractionConfig(**settings), environment)


def test_locks_conflict_only_where_shards_do(tmp_path: Path) -> None:
    held = FileLock(tmp_path / "lock")
    assert held.acquire(0) and held.acquire(2)
    code = (
        "import sys; from pathlib import Path; from ranktag.files.lock import FileLock\n"
        f"lock = FileLock(Path({str(tmp_path / 'lock')!r})); print([lock.acquire(k) for k in range(4)])"
    )
    assert (
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
        == "[False, True, False, True]\n"
    )
    held.close()


def test_decoding_processes_fit_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(8)), raising=False)
    monkeypatch.setattr(sys, "platform", "linux")
    cpu, gpu = torch.device("cpu"), torch.device("cuda")
    assert choose_workers(ExtractionConfig(), cpu) == 2 and choose_workers(ExtractionConfig(), gpu) == 7
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "4")
    assert choose_workers(ExtractionConfig(), gpu) == 1
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "8")
    assert choose_workers(ExtractionConfig(), cpu) == 1
    assert choose_workers(ExtractionConfig(workers=0), gpu) == 0


# --- the command ------------------------------------------------------------------


def test_the_command_says_what_it_did(photos: Path, tmp_path: Path, ranktag: Callable) -> None:
    output, failures = tmp_path / "c.h5", tmp_path / "failures.csv"
    outcome = ranktag("extract-features", photos, "-o", output, *OPTIONS, "--failures", failures)
    assert outcome.code == 1
    assert (
        "30 images, 0 done already. Computing on cpu in float32, 4 images a batch, 1 process decoding." in outcome.err
    )
    assert "2 images failed:\n  05.png: empty (0 bytes)\n" in outcome.out and outcome.out.endswith(
        f"Features: {output}\n"
    )
    with open(failures, encoding="utf-8", newline="") as file:
        assert list(csv.reader(file)) == [
            ["image_id", "error"],
            ["05.png", "empty (0 bytes)"],
            ["13.png", "not an image, or of an unknown format"],
        ]
    again = ranktag("extract-features", photos, "-o", output, *OPTIONS)
    assert again.code == 1 and "All 30 images were done already." in again.out
    quiet = ranktag("extract-features", photos, "-o", output, *OPTIONS, "--quiet")
    assert (quiet.out, quiet.err) == ("", "")
    found = json.loads(ranktag("extract-features", photos, "-o", output, *OPTIONS, "--json").out)
    assert found["finished"] and found["images"] == 30 and found["computed"] == 0 and found["failed"] == 2
    assert found["failures"][0] == {"image_id": "05.png", "error": "empty (0 bytes)"}


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (0.4, "0 s"),
        (59.4, "59 s"),
        (59.6, "1 min 00 s"),
        (92.3, "1 min 32 s"),
        (175.6, "2 min 56 s"),
        (599.7, "10 min"),
        (3569.0, "59 min"),
        (5400.0, "1.5 h"),
    ],
)
def test_times_are_said_as_people_do(seconds: float, said: str) -> None:
    assert duration(seconds) == said


def test_the_expected_time_is_of_the_second_batch(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    clock = iter([100.0, 130.0, 132.0, 134.0])
    monkeypatch.setattr("time.monotonic", lambda: next(clock))
    printer = progress_printer()
    printer.start(extraction.Plan(Path("c.h5"), 100, 100, 20, 0, 1, "cpu", "float32", 16, 1, (0, 1)))
    for _ in range(3):
        printer.batch(16, 0)
    # Of 80 images 32 are done, the last 16 in 2 seconds: 48 left take 6.
    assert capsys.readouterr().err.count("Expected to take 6 s.") == 1


def test_a_run_whose_images_all_failed_says_so(tmp_path: Path, ranktag: Callable) -> None:
    (tmp_path / "photos").mkdir()
    for name in ("a.jpg", "b.jpg", "c.jpg", "d\n.jpg"):
        (tmp_path / "photos" / name).write_text("no photo")
    outcome = ranktag("extract-features", tmp_path / "photos", "-o", tmp_path / "c.h5", *OPTIONS)
    assert (
        outcome.code == 1
        and "Every image failed" in outcome.out
        and "and 1 more (--failures FILE lists them all)" in outcome.out
    )


def test_workers_are_told_how_to_join(photos: Path, tmp_path: Path, ranktag: Callable) -> None:
    output = tmp_path / "c.h5"
    for index in range(2):
        outcome = ranktag(
            "extract-features", photos, "-o", output, *OPTIONS, "--worker-index", index, "--worker-count", 2
        )
        assert f"ranktag join-features {output}" in outcome.out
    joined = ranktag("join-features", output)
    assert joined.code == 1 and joined.out == f"30 images, 2 of which failed. Features: {output}\n"


def test_wrong_calls_are_one_line(photos: Path, tmp_path: Path, ranktag: Callable) -> None:
    output = tmp_path / "c.h5"
    ranktag("extract-features", tmp_path / "nowhere", "-o", output, *OPTIONS).assert_refused("no such file or folder")
    ranktag("extract-features", photos, "-o", output, "--weights", "nowhere.pth").assert_refused(
        "no such file; choose imagenet, random"
    )
    ranktag("extract-features", photos, "-o", output, "--weights", "random:x").assert_refused("not a whole number")
    ranktag("extract-features", photos, "-o", output, *OPTIONS, "--device", "cuda:77").assert_refused(
        "there is no such device"
    )
    ranktag("join-features", output).assert_refused("no such folder of shards")
    # Nor is a folder left of shards that were never begun.
    assert not list(tmp_path.iterdir())


# --- single photos ------------------------------------------------------------------


def test_features_of_single_photos_are_those_of_the_cache(photos: Path, whole: Path) -> None:
    store = open_features(whole)
    paths = [photos / image_id for image_id in store.image_id]
    blocks = list(features_like(store.provenance, paths, config=SETTINGS))
    features, reasons = np.concatenate([f for f, _ in blocks]), [r for _, block in blocks for r in block]
    assert reasons == list(store.error)
    np.testing.assert_array_equal(features.astype(np.float16), store.features)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"backbone": "resnet"}, "which ranktag cannot compute"),
        ({"preprocessing": "{}"}, "prepared otherwise"),
        ({"weights": "my.pth"}, "say where they are with --weights FILE"),
    ],
)
def test_features_that_cannot_be_made_alike_are_refused(whole: Path, change: dict[str, str], words: str) -> None:
    provenance = Provenance(**{**vars(open_features(whole).provenance), **change})
    with pytest.raises(RanktagError, match=words):
        next(features_like(provenance, []))
