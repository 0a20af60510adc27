"""Batches of pixels, decoded ahead of the network by processes of their own."""

from __future__ import annotations

import concurrent.futures
import math
import mmap
import os
import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from ranktag.errors import Outage
from ranktag.images.decode import ImageError, Unreachable
from ranktag.images.decoders import CAN_FORK, At, Decoders
from ranktag.images.files import file_sha256
from ranktag.images.listing import ImageList
from ranktag.images.pixels import Preprocessing, read_pixels

Pixels = npt.NDArray[np.uint8]

# Images a task: small enough that the processes share a batch, large enough that handing it over costs nothing.
TASK = 16

# (slot, first image of the batch, first and last image of the task)
Task = tuple[int, int, int, int]

# Seconds between the tries to read an image that the disk or the network does not give.
WAITS = (0.2, 1.0, 3.0)


@dataclass(frozen=True)
class Batch:
    """Images start..stop of the list.

    pixels: (B, crop, crop, 3), or for ten crops (B, 5, crop, crop, 3), always of the full
    batch size: places without an image, and images that cannot be read, are zeros. It is
    overwritten when the next batch is asked for. errors: number in the list -> reason. sha256:
    number in the list -> digest of the file, where digests were asked for.
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

    workers: processes that decode ahead; with 0 an image is decoded when its batch is asked for.
    They are forked and write into memory shared with this process, so neither the list nor
    the pixels are copied. An image whose decoder crashes is an error of that image; with 0
    workers, too, as one process decodes apart wherever it can be forked.
    low_priority: they take processor time only where nothing else wants it. digests: take
    those of the files, too.

    Iterating raises Outage if the disk or the network does not give an image, tried several
    times, and if a process is killed (for want of memory, say).
    """
    if not (workers or CAN_FORK):
        yield _read_here(images, rows, batch_size, preprocessing, digests)
        return
    # Enough slots that every process has a task while the network has a batch.
    slots = 2 + -(-2 * workers * TASK // batch_size) if workers else 1
    shape = (slots, batch_size, *preprocessing.shape)
    # Private to this run and its children, unlike /dev/shm, which is tiny in containers.
    shared: Pixels = np.frombuffer(mmap.mmap(-1, math.prod(shape)), np.uint8).reshape(shape)

    def fill(task: Task, left_out: dict[int, str], at: At) -> Decoded:
        slot, start, first, last = task
        pixels = shared[slot, first - start : last - start]
        return _decode(images, first, last, preprocessing, pixels, digests, left_out, at)

    decoders = Decoders(workers or 1, fill, low_priority)
    # A thread of each process waits for it.
    executor = concurrent.futures.ThreadPoolExecutor(workers or 1)
    try:
        yield _Ahead(executor, decoders, rows, shared)
    finally:
        executor.shutdown(cancel_futures=True)
        decoders.close()


def _read_here(
    images: ImageList, rows: Sequence[tuple[int, int]], batch_size: int, preprocessing: Preprocessing, digests: bool
) -> Iterator[Batch]:
    pixels = np.zeros((batch_size, *preprocessing.shape), np.uint8)
    for start, stop in rows:
        with _outages():
            decoded = _decode(images, start, stop, preprocessing, pixels, digests, {}, np.zeros(1, np.int64))
        yield Batch(start, stop, pixels, *decoded)


class _Ahead(Iterator[Batch]):
    """Keeps every slot of the shared memory but the reader's filled or being filled."""

    def __init__(
        self,
        executor: concurrent.futures.Executor,
        decoders: Decoders,
        rows: Sequence[tuple[int, int]],
        shared: Pixels,
    ) -> None:
        self._executor, self._decoders, self._shared = executor, decoders, shared
        self._rows = enumerate(rows)
        self._waiting: deque[tuple[int, int, int, list[concurrent.futures.Future[Decoded]]]] = deque()
        for _ in range(len(shared) - 1):
            self._submit()

    def _submit(self) -> None:
        for number, (start, stop) in self._rows:
            slot = number % len(self._shared)
            tasks = [
                self._executor.submit(self._decoders.do, (slot, start, first, min(first + TASK, stop)))
                for first in range(start, stop, TASK)
            ]
            self._waiting.append((slot, start, stop, tasks))
            return

    def __next__(self) -> Batch:
        # The slot whose batch the reader had until now is free.
        self._submit()
        if not self._waiting:
            raise StopIteration
        slot, start, stop, tasks = self._waiting.popleft()
        errors: dict[int, str] = {}
        sha256: dict[int, str] = {}
        with _outages():
            for task in tasks:
                failed, hashed = task.result()
                errors.update(failed)
                sha256.update(hashed)
        self._shared[slot, stop - start :] = 0
        return Batch(start, stop, self._shared[slot], errors, sha256)


@contextmanager
def _outages() -> Iterator[None]:
    """What the disk or the network does not give ends the run; it is no image's fault."""
    try:
        yield
    except Unreachable as error:
        raise Outage(
            f"{error}, tried {len(WAITS) + 1} times; what is done is kept: bring the disk or the network back and run "
            "the same command again (if it is this file alone, move it away)"
        ) from None


def _decode(
    images: ImageList,
    start: int,
    stop: int,
    preprocessing: Preprocessing,
    pixels: Pixels,
    digests: bool,
    left_out: dict[int, str],
    at: At,
) -> Decoded:
    """Fill ``pixels`` from its beginning with images start..stop; zeros elsewhere.

    left_out: images that are not touched, with their reasons. at: is told which image is decoded.
    """
    errors: dict[int, str] = {}
    sha256: dict[int, str] = {}
    for place, number in enumerate(range(start, stop)):
        if number in left_out:
            pixels[place] = 0
            errors[number] = left_out[number]
            continue
        at[0] = number
        if digests:
            # Before it is decoded: of a file that changes in between, the digest is the old one's, and it is seen.
            sha256[number] = file_sha256(images.path(number))
        try:
            pixels[place] = _read_patiently(images.path(number), preprocessing)
        except ImageError as error:
            pixels[place] = 0
            errors[number] = str(error)
    pixels[stop - start :] = 0
    return errors, sha256


def _read_patiently(path: bytes, preprocessing: Preprocessing) -> Pixels:
    """``read_pixels``, tried again where the disk or the network fails. Raises Unreachable, with the path, at last."""
    for wait in WAITS:
        try:
            return read_pixels(path, preprocessing)
        except Unreachable:
            time.sleep(wait)
    try:
        return read_pixels(path, preprocessing)
    except Unreachable as error:
        raise Unreachable(f"{os.fsdecode(path)}: {error}") from None
