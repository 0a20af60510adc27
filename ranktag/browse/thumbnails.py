"""Small WebP images of photos, made by processes of their own.

An image's name follows from the photo's id, size and time and from the settings, so a photo that
has been done, by this run or by one that was killed, is known by its file, and one that has changed
gets another. A photo that cannot be read is an outcome; one that crashes its decoder, too.
"""

from __future__ import annotations

import concurrent.futures
import functools
import hashlib
import os
import threading
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ranktag.config import BrowseConfig
from ranktag.files.locations import within
from ranktag.files.platform import processors
from ranktag.images.batches import outages, read_patiently
from ranktag.images.decode import ImageError
from ranktag.images.decoders import CAN_FORK, At, Decoders
from ranktag.images.pixels import read_small
from ranktag.progress import Progress

ENDING = ".webp"
# Images a task: few, so that the bar moves.
TASK = 8
# Changed when the same photo would be made otherwise.
VERSION = 1


def thumbnail_name(image_id: str, path: bytes, config: BrowseConfig) -> str:
    """Where below the folder the image of a photo lies: 'ab/cdef....webp'."""
    photo = within(path)
    try:
        found = os.stat(path if photo is None else photo.archive)
        state = (found.st_size, found.st_mtime_ns)
    except (OSError, ValueError):
        state = (0, 0)
    text = repr((VERSION, image_id, state, config.size, config.quality))
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
    return f"{digest[:2]}/{digest[2:20]}{ENDING}"


def make_thumbnails(
    paths: Sequence[bytes], names: Sequence[str], folder: Path, config: BrowseConfig, progress: Progress
) -> dict[int, str]:
    """Make the images of photos below ``folder``; those that are there already are kept.

    names: see ``thumbnail_name``. Returns number -> reason of the photos that cannot be read.
    Raises Outage where the disk or the network does not give a photo, and OSError where an image
    cannot be written; what is done is kept.
    """
    missing = [number for number, name in enumerate(names) if not is_whole(folder / name)]
    tasks = [missing[start : start + TASK] for start in range(0, len(missing), TASK)]

    def work(task: Sequence[int], left_out: dict[int, str], at: At) -> dict[int, str]:
        errors = {}
        for number in task:
            if number in left_out:
                errors[number] = left_out[number]
                continue
            at[0] = number
            try:
                _make(paths[number], folder / names[number], config)
            except ImageError as error:
                errors[number] = str(error)
        return errors

    failed: dict[int, str] = {}
    with progress.working("Thumbnails", len(names), "photos"), outages():
        progress.advance(len(names) - len(missing))
        if not tasks:
            return failed
        if not CAN_FORK:
            for task in tasks:
                failed |= work(task, {}, np.zeros(1, np.int64))
                progress.advance(len(task))
            return failed
        count = min(config.workers or processors(), len(tasks))
        decoders = Decoders(count, work)
        # A thread of each process waits for it.
        executor = concurrent.futures.ThreadPoolExecutor(count)
        try:
            for task, errors in zip(tasks, executor.map(decoders.do, tasks)):
                failed |= errors
                progress.advance(len(task))
        finally:
            executor.shutdown(cancel_futures=True)
            decoders.close()
    return failed


def _make(photo: bytes, place: Path, config: BrowseConfig) -> None:
    image = read_patiently(photo, functools.partial(read_small, photo, config.size))
    place.parent.mkdir(parents=True, exist_ok=True)
    temporary = place.with_name(f".{place.name}.{os.getpid()}.{threading.get_ident()}.tmp")
    # Not synced to the disk one by one, which would take longer than all else: see ``is_whole``.
    image.save(temporary, "WEBP", quality=config.quality)
    os.replace(temporary, place)


def is_whole(path: Path) -> bool:
    """Whether a WebP image is there as long as it says itself: one cut short by a power failure is made anew."""
    try:
        with open(path, "rb") as file:
            head = file.read(12)
            size = os.fstat(file.fileno()).st_size
    except OSError:
        return False
    return head[:4] == b"RIFF" and head[8:] == b"WEBP" and int.from_bytes(head[4:8], "little") + 8 == size


def remove_others(folder: Path, names: Sequence[str]) -> None:
    """Remove images of photos that are no longer shown, and what killed runs left."""
    kept = set(names)
    for below in folder.iterdir():
        for path in list(below.iterdir()) if below.is_dir() else []:
            if f"{below.name}/{path.name}" not in kept and (path.suffix == ENDING or path.suffix == ".tmp"):
                path.unlink(missing_ok=True)
