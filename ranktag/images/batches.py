"""Batches of pixels, decoded ahead of the network by processes of their own."""

from __future__ import annotations

import concurrent.futures
import math
import mmap
import multiprocessing
import os
import signal
import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from ranktag.errors import RanktagError
from ranktag.images.files import file_sha256
from ranktag.images.listing import ImageList
from ranktag.images.pixels import ImageError, Preprocessing, read_pixels

Pixels = npt.NDArray[np.uint8]

# Images a task: small enough that the processes share a batch, large enough that handing it over costs nothing.
TASK = 16

LOWEST_PRIORITY = 19


@dataclass(frozen=True)
class Batch:
    """Images start..stop of the list.

    pixels: (B, crop, crop, 3), always of the full batch size: places without an image,
    and images that cannot be read, are zeros. It is overwritten when the next batch
    is asked for. errors: number in the list -> reason. sha256: number in the list -> digest
    of the file, where digests were asked for.
    """

    start: int
    stop: int
    pixels: Pixels
    errors: dict[int, str]
    sha256: dict[int, str] = field(default_factory=dict)


# Errors and digests of some images, by number in the list.
Decoded = tuple[dict[int, str], dict[int, str]]


@contextmanager
def read_batches(
    images: ImageList,
    rows: Sequence[tuple[int, int]],
    batch_size: int,
    workers: int,
    preprocessing: Preprocessing,
    *,
    low_priority: bool = False,
    digests: bool = False,
) -> Iterator[Iterator[Batch]]:
    """Each (start, stop) of ``rows``, at most ``batch_size`` images, as a Batch, in order; decoding begins at once.

    workers: processes that decode; 0 decodes here. They are forked and write into
    memory shared with this process, so neither the list nor the pixels are copied.
    low_priority: they take processor time only where nothing else wants it. digests: take
    those of the files, too.

    Iterating raises RanktagError if a process dies (killed for want of memory, say).
    """
    if workers == 0:
        yield _read_here(images, rows, batch_size, preprocessing, digests)
        return
    # Enough slots that every process has a task while the network has a batch.
    slots = 2 + -(-2 * workers * TASK // batch_size)
    shape = (slots, batch_size, preprocessing.crop, preprocessing.crop, 3)
    # Private to this run and its children, unlike /dev/shm, which is tiny in containers.
    shared: Pixels = np.frombuffer(mmap.mmap(-1, math.prod(shape)), np.uint8).reshape(shape)
    executor = concurrent.futures.ProcessPoolExecutor(
        workers,
        multiprocessing.get_context("fork"),
        _start,
        (images, preprocessing, shared, os.getpid(), low_priority, digests),
    )
    try:
        yield _Ahead(executor, rows, shared)
    finally:
        executor.shutdown(cancel_futures=True)


def _read_here(
    images: ImageList, rows: Sequence[tuple[int, int]], batch_size: int, preprocessing: Preprocessing, digests: bool
) -> Iterator[Batch]:
    pixels = np.zeros((batch_size, preprocessing.crop, preprocessing.crop, 3), np.uint8)
    for start, stop in rows:
        yield Batch(start, stop, pixels, *_decode(images, start, stop, preprocessing, pixels, digests))


class _Ahead(Iterator[Batch]):
    """Keeps every slot of the shared memory but the reader's filled or being filled."""

    def __init__(self, executor: concurrent.futures.Executor, rows: Sequence[tuple[int, int]], shared: Pixels) -> None:
        self._executor, self._shared = executor, shared
        self._rows = enumerate(rows)
        self._waiting: deque[tuple[int, int, int, list[concurrent.futures.Future[Decoded]]]] = deque()
        for _ in range(len(shared) - 1):
            self._submit()

    def _submit(self) -> None:
        for number, (start, stop) in self._rows:
            slot = number % len(self._shared)
            tasks = [
                self._executor.submit(_fill, slot, start, first, min(first + TASK, stop))
                for first in range(start, stop, TASK)
            ]
            self._waiting.append((slot, start, stop, tasks))
            return

    def __next__(self) -> Batch:
        if not self._waiting:
            raise StopIteration
        slot, start, stop, tasks = self._waiting.popleft()
        errors: dict[int, str] = {}
        sha256: dict[int, str] = {}
        try:
            # The slot whose batch the reader had until now is free.
            self._submit()
            for task in tasks:
                failed, hashed = task.result()
                errors.update(failed)
                sha256.update(hashed)
        except BrokenProcessPool:
            raise RanktagError(
                "a process that decodes images died (killed for want of memory?); what is done is kept: "
                "run the same command again, with fewer --workers"
            ) from None
        self._shared[slot, stop - start :] = 0
        return Batch(start, stop, self._shared[slot], errors, sha256)


def _decode(
    images: ImageList, start: int, stop: int, preprocessing: Preprocessing, pixels: Pixels, digests: bool
) -> Decoded:
    """Fill ``pixels`` from its beginning with images start..stop; zeros elsewhere."""
    errors, sha256 = {}, {}
    for place, number in enumerate(range(start, stop)):
        if digests:
            # Before it is decoded: of a file that changes in between, the digest is the old one's, and it is seen.
            sha256[number] = file_sha256(images.path(number))
        try:
            pixels[place] = read_pixels(images.path(number), preprocessing)
        except ImageError as error:
            pixels[place] = 0
            errors[number] = str(error)
    pixels[stop - start :] = 0
    return errors, sha256


# In the processes that decode.
_images: ImageList
_preprocessing: Preprocessing
_shared: Pixels
_digests: bool


def _start(
    images: ImageList, preprocessing: Preprocessing, shared: Pixels, parent: int, low_priority: bool, digests: bool
) -> None:
    global _images, _preprocessing, _shared, _digests
    _images, _preprocessing, _shared, _digests = images, preprocessing, shared, digests
    # Whoever stops the run stops the main process, which lets the batch be finished.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if low_priority:
        os.nice(LOWEST_PRIORITY)
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()


def _end_with(parent: int) -> None:
    """A process killed with SIGKILL cannot end its children: they have to notice."""
    while os.getppid() == parent:
        time.sleep(1)
    os._exit(1)


def _fill(slot: int, start: int, first: int, last: int) -> Decoded:
    return _decode(_images, first, last, _preprocessing, _shared[slot, first - start : last - start], _digests)
