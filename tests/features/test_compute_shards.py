"""Computing shards: signals, disks that vanish or are full, and numbers that are no features."""

from __future__ import annotations

import errno
import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from extracting import OPTIONS, SETTINGS, assert_same, finished_shards, start, wait_for
from tiny_backbone import tiny_network
from torch import nn

from ranktag.compute import allocator
from ranktag.compute.cpu_layers import FewAtATime
from ranktag.errors import RanktagError
from ranktag.feature_cache import shards
from ranktag.feature_cache.store import open_features
from ranktag.features.backbones import vgg16
from ranktag.features.extract import extract_features
from ranktag.features.network import Network
from ranktag.features.progress import ExtractionProgress, Plan, Stopped
from ranktag.images.batches import Batch

pytestmark = pytest.mark.usefixtures("tiny")


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


def test_a_decoding_process_that_dies_is_one_line(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ranktag.images.batches.read_pixels", lambda *arguments: os.kill(os.getpid(), signal.SIGKILL))
    with pytest.raises(RanktagError, match="a process that decodes images died"):
        extract_features(photos, tmp_path / "c.h5", SETTINGS.replace(workers=1))


def test_a_full_disk_is_one_line_and_going_on_works(
    photos: Path, begun: Path, whole: Path, monkeypatch: pytest.MonkeyPatch, ranktag: Callable
) -> None:
    def full(self: object, data: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("ranktag.feature_cache.hdf5.KeepsFailure._write_some", full)
        outcome = ranktag("extract-features", photos, "-o", begun, *OPTIONS, "--quiet")
    outcome.assert_refused("No space left on device", "free some space and run it again", code=4)
    assert finished_shards(begun) == 2 and not list(shards.folder_of(begun).glob(".*"))
    extract_features(photos, begun, SETTINGS)
    assert_same(begun, whole)


class Vanishing(ExtractionProgress):
    """Moves a folder away once a shard of ``output`` is done."""

    def __init__(self, folder: Path, elsewhere: Path, output: Path) -> None:
        self.folder, self.elsewhere, self.output, self.images = folder, elsewhere, output, 0

    def batch(self, images: int, failures: int) -> None:
        self.images += images
        if self.images == 12:
            wait_for(lambda: finished_shards(self.output) == 1)
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
        extract_features(here, tmp_path / "c.h5", SETTINGS, Unmounting(here, away, tmp_path / "c.h5"))
    assert finished_shards(tmp_path / "c.h5") == 1
    if mount_point_left:
        here.rmdir()
    away.rename(here)
    assert extract_features(here, tmp_path / "c.h5", SETTINGS).computed == 22
    assert_same(tmp_path / "c.h5", whole)


def test_an_output_folder_that_vanishes_is_not_made_again(photos: Path, tmp_path: Path) -> None:
    output = tmp_path / "disk" / "c.h5"
    with pytest.raises(RanktagError, match="c.h5.shards: has vanished"):
        extract_features(photos, output, SETTINGS, Vanishing(output.parent, tmp_path / "away", output))
    assert not output.parent.exists()
    assert finished_shards(tmp_path / "away" / "c.h5") == 1


def test_features_that_do_not_fit_float16_fail_with_the_remedy(photos: Path, tmp_path: Path) -> None:
    report = extract_features(photos, tmp_path / "c.h5", SETTINGS, network=tiny_network(bias=70_000))
    assert len(report.failures) == 30
    assert "does not fit float16; store float32 (--dtype float32)" in dict(report.failures)["00.png"]
    assert np.isnan(open_features(tmp_path / "c.h5").features).all()
    extract_features(photos, tmp_path / "d.h5", SETTINGS.replace(dtype="float32"), network=tiny_network(bias=70_000))
    assert open_features(tmp_path / "d.h5").features[0].mean() == pytest.approx(70_000, rel=1e-3)


def test_numbers_that_are_not_finite_fail(photos: Path, tmp_path: Path) -> None:
    report = extract_features(photos, tmp_path / "c.h5", SETTINGS, network=tiny_network(bias=float("nan")))
    assert "gave numbers that are not finite" in dict(report.failures)["00.png"]


def test_freed_memory_is_kept_while_computing_and_not_while_a_caller_has_the_features(
    photos: Path, tmp_path: Path
) -> None:
    class Looking(ExtractionProgress):
        within: tuple[int, ...] = ()

        def start(self, plan: Plan) -> None:
            self.within += (allocator._within,)

        def batch(self, images: int, failures: int) -> None:
            self.within += (allocator._within,)

    looking = Looking()
    extract_features(photos, tmp_path / "c.h5", SETTINGS, looking)
    assert looking.within == (0, *[1] * 8) and allocator._within == 0
    pixels = np.zeros((4, 224, 224, 3), np.uint8)
    for _ in tiny_network().features_of([Batch(0, 4, pixels, {})]):
        assert allocator._within == 0


class Seen(nn.Module):
    """Lets through what it is given, and notes how many rows that is."""

    def __init__(self, then: Callable[[], None] = lambda: None) -> None:
        super().__init__()
        self.rows: list[int] = []
        self._then = then

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.rows.append(len(x))
        self._then()
        return x


def computing_together(convolutions: Seen, matrices: Seen) -> Network:
    """The tiny network in bfloat16, whose matrices take several batches."""
    few = FewAtATime(nn.Sequential(convolutions, nn.AvgPool2d(28), nn.Flatten()))
    layers = nn.Sequential(few, matrices, nn.Linear(3 * 64, 4096))
    return Network(layers, vgg16.BACKBONE.preprocessing, "0" * 64, torch.device("cpu"), torch.bfloat16)


def test_a_shards_batches_are_computed_together_and_with_no_others(photos: Path, tmp_path: Path) -> None:
    told: list[tuple[int, int, int]] = []
    matrices = Seen()

    class Looking(ExtractionProgress):
        def batch(self, images: int, failures: int) -> None:
            told.append((images, failures, len(matrices.rows)))

    extract_features(photos, tmp_path / "c.h5", SETTINGS, Looking(), network=computing_together(Seen(), matrices))
    # Of 30 photos in shards of 8 and batches of 4. Numbers 5 and 13 cannot be read.
    assert matrices.rows == [8, 8, 8, 8]
    # Each batch is told of by itself, before what comes after it is computed.
    expected = [(4, 0, 0), (4, 1, 1), (4, 0, 1), (4, 1, 2), (4, 0, 2), (4, 0, 3), (4, 0, 3), (2, 0, 4)]
    assert told == expected


def test_numbers_that_are_not_finite_are_told_of_once(photos: Path, tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []

    class Looking(ExtractionProgress):
        def batch(self, images: int, failures: int) -> None:
            told.append((images, failures))

    extract_features(photos, tmp_path / "c.h5", SETTINGS, Looking(), network=tiny_network(bias=float("nan")))
    assert [sum(numbers) for numbers in zip(*told)] == [30, 30]


def test_a_signal_does_not_wait_for_batches_that_would_be_computed_together(photos: Path, tmp_path: Path) -> None:
    convolutions = Seen(lambda: os.kill(os.getpid(), signal.SIGTERM) if sum(convolutions.rows) == 12 else None)
    matrices = Seen()
    settings = SETTINGS.replace(shard_size=30)
    with pytest.raises(Stopped, match="stopped by SIGTERM: 0 of 30 images are done"):
        extract_features(photos, tmp_path / "c.h5", settings, network=computing_together(convolutions, matrices))
    assert sum(convolutions.rows) == 12 and matrices.rows == [12]
