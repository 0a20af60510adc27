"""A decoder that crashes costs its photo, and an accident is no verdict on one."""

from __future__ import annotations

import errno
import gc
import multiprocessing
import os
import signal
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from drawing import BLUE, RED, VGG, saved
from extracting import wait_for
from PIL import Image

from ranktag.errors import Outage
from ranktag.images import batches
from ranktag.images.batches import read_batches
from ranktag.images.decode import Unreachable
from ranktag.images.decoders import Decoders
from ranktag.images.listing import list_images
from ranktag.images.pixels import read_pixels

READ = "ranktag.images.batches.read_pixels"


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Twenty photos, every other one red."""
    for number in range(20):
        saved(tmp_path / f"{number:02}.png", Image.new("RGB", (9, 9), (RED, BLUE)[number % 2]))
    return tmp_path


def read_all(
    photos: Path, workers: int, batch_size: int = 8, in_turn: bool = False
) -> tuple[np.ndarray, dict[int, str]]:
    """The pixels of every photo, and the errors."""
    images = list_images(photos)
    rows = [(start, min(start + batch_size, len(images))) for start in range(0, len(images), batch_size)]
    pixels, errors = [], {}
    with read_batches(images, rows, batch_size, workers, VGG, in_turn=in_turn) as read:
        for batch in read:
            pixels.append(batch.pixels[: batch.stop - batch.start].copy())
            errors.update(batch.errors)
    return np.concatenate(pixels), errors


def does(photo: str, action: Callable[[], object]) -> Callable[..., np.ndarray]:
    """``read_pixels`` that does something else at one photo."""

    def read(path: bytes, *arguments: object) -> np.ndarray:
        if path.endswith(photo.encode()):
            action()
        return read_pixels(path, *arguments)

    return read


@pytest.mark.parametrize("turn", [1, 8, 20, 128])
@pytest.mark.parametrize("batch_size", [1, 8, 32])
@pytest.mark.parametrize("workers", [0, 3])
def test_batches_in_turn_are_those_read_ahead(
    photos: Path, monkeypatch: pytest.MonkeyPatch, workers: int, batch_size: int, turn: int
) -> None:
    (photos / "05.png").write_bytes(b"no image")
    os.remove(photos / "11.png")
    (photos / "11.png").symlink_to("nowhere")
    monkeypatch.setattr("ranktag.images.batches.TURN", turn)
    ahead, errors = read_all(photos, workers, batch_size)
    in_turn, same = read_all(photos, workers, batch_size, in_turn=True)
    assert np.array_equal(in_turn, ahead) and same == errors and sorted(errors) == [5, 11]
    assert [tuple(ahead[number, 0, 0]) for number in (4, 5, 6, 7)] == [RED, (0, 0, 0), RED, BLUE]


@pytest.mark.parametrize("workers", [0, 1, 3])
@pytest.mark.parametrize("number", [0, 7, 19])
def test_a_crash_costs_the_photo_alone(
    photos: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], workers: int, number: int
) -> None:
    whole, _ = read_all(photos, workers)
    crash = does(f"{number:02}.png", lambda: os.kill(os.getpid(), signal.SIGSEGV))
    monkeypatch.setattr(READ, crash)
    pixels, errors = read_all(photos, workers)
    assert errors == {number: "its decoder crashes (SIGSEGV); convert it with another program"}
    assert not pixels[number].any()
    whole[number] = 0
    assert np.array_equal(pixels, whole)
    assert capfd.readouterr().err == ""


def test_several_crashes_in_one_task_and_a_decoder_that_ends_its_process(
    photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def read(path: bytes, *arguments: object) -> np.ndarray:
        if path.endswith((b"02.png", b"03.png")):
            os.abort()
        if path.endswith(b"05.png"):
            os._exit(3)
        return read_pixels(path, *arguments)

    monkeypatch.setattr(READ, read)
    _, errors = read_all(photos, 1)
    assert {number: reason.split(";")[0] for number, reason in errors.items()} == {
        2: "its decoder crashes (SIGABRT)",
        3: "its decoder crashes (SIGABRT)",
        5: "its decoder crashes (exit code 3)",
    }


@pytest.mark.parametrize("in_turn", [False, True])
def test_processes_end_while_the_last_batch_is_computed(photos: Path, in_turn: bool) -> None:
    with read_batches(list_images(photos), [(0, 8), (8, 16), (16, 20)], 8, 2, VGG, in_turn=in_turn) as read:
        assert len(multiprocessing.active_children()) == 2
        for batch in read:
            if batch.stop == 20:
                wait_for(lambda: not multiprocessing.active_children())
                assert tuple(batch.pixels[3, 0, 0]) == BLUE


def test_a_process_that_crashes_once_is_an_accident(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def crash_once() -> None:
        if not (photos / "crashed").exists():
            (photos / "crashed").touch()
            os.kill(os.getpid(), signal.SIGKILL)

    monkeypatch.setattr(READ, does("04.png", crash_once))
    assert read_all(photos, 2)[1] == {} and (photos / "crashed").exists()


@pytest.mark.parametrize("workers", [0, 2])
def test_a_process_that_is_killed_again_ends_the_run(
    photos: Path, monkeypatch: pytest.MonkeyPatch, workers: int
) -> None:
    monkeypatch.setattr(READ, does("04.png", lambda: os.kill(os.getpid(), signal.SIGKILL)))
    with pytest.raises(Outage, match="died .killed for want of memory.*run the same command again"):
        read_all(photos, workers)


def test_a_defect_of_ours_is_raised(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> None:
        raise ZeroDivisionError("ours")

    monkeypatch.setattr(READ, does("04.png", fail))
    with pytest.raises(ZeroDivisionError, match="ours"):
        read_all(photos, 2)


def failing(kind: int, times: int, marks: Path) -> Callable[[], None]:
    """Fail so many times, whichever process is asked."""

    def fail() -> None:
        if len(list(marks.glob("try*"))) < times:
            (marks / f"try{len(list(marks.glob('try*')))}").touch()
            raise OSError(kind, os.strerror(kind))

    return fail


@pytest.mark.parametrize("kind", [errno.EIO, errno.ESTALE, errno.ETIMEDOUT, errno.EHOSTDOWN, errno.ENOTCONN])
@pytest.mark.parametrize("workers", [0, 2])
def test_an_error_of_the_disk_that_passes_changes_nothing(
    photos: Path, monkeypatch: pytest.MonkeyPatch, kind: int, workers: int
) -> None:
    whole, _ = read_all(photos, workers)
    fail = failing(kind, 3, photos)
    monkeypatch.setattr("ranktag.images.decode._refuse_no_file", lambda path: fail() if b"04" in path else None)
    monkeypatch.setattr(batches, "WAITS", (0.0, 0.0, 0.0))
    pixels, errors = read_all(photos, workers)
    assert errors == {} and np.array_equal(pixels, whole) and len(list(photos.glob("try*"))) == 3


@pytest.mark.parametrize("workers", [0, 2])
def test_an_error_of_the_disk_that_stays_ends_the_run_and_names_the_photo(
    photos: Path, monkeypatch: pytest.MonkeyPatch, workers: int
) -> None:
    fail = failing(errno.EIO, 1000, photos)
    monkeypatch.setattr("ranktag.images.decode._refuse_no_file", lambda path: fail() if b"04" in path else None)
    monkeypatch.setattr(batches, "WAITS", (0.0, 0.0, 0.0))
    with pytest.raises(Outage, match=r"04\.png: Input/output error, tried 4 times; what is done is kept"):
        read_all(photos, workers)
    assert len(list(photos.glob("try*"))) == 4


def test_an_error_that_a_decoder_takes_for_damage_is_the_disks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Libtiff reads by itself: what fails there is seen when the file is read again."""
    photo = saved(tmp_path / "a.png", Image.new("RGB", (9, 9), RED))
    real = batches.read_pixels(photo, VGG)

    def damaged(*arguments: object, **named: object) -> None:
        raise OSError("decoder error -2")

    def fail(path: bytes) -> bytes:
        raise OSError(errno.EIO, "Input/output error")

    opened = Image.open
    monkeypatch.setattr(Image, "open", lambda file, **named: damaged() if hasattr(file, "name") else opened(file))
    assert np.array_equal(read_pixels(photo, VGG), real)
    monkeypatch.setattr("ranktag.images.decode._content", fail)
    with pytest.raises(Unreachable, match="Input/output error"):
        read_pixels(photo, VGG)


def test_a_process_never_looks_for_garbage_among_what_was_there_before() -> None:
    # It would copy all of the main process's objects.
    gc.unfreeze()
    there = len(gc.get_objects())
    decoders = Decoders(1, lambda task, left_out, at: (gc.get_freeze_count(), gc.isenabled()))
    try:
        frozen, enabled = decoders.do(0)
    finally:
        decoders.close()
    assert frozen > 0.9 * there > 0 and enabled
