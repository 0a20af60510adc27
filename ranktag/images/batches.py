"""Batches of pixels, decoded ahead of the network by processes of their own."""

from __future__ import annotations

import concurrent.futures
import contextlib
import functools
import math
import mmap
import os
import stat
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np
import numpy.typing as npt
from PIL import Image

from ranktag.errors import Outage
from ranktag.files.contents import fetched
from ranktag.files.locations import shown
from ranktag.images.decode import ImageError, Unreachable
from ranktag.images.decoders import CAN_FORK, At, Decoders
from ranktag.images.files import file_sha256
from ranktag.images.listing import ImageList
from ranktag.images.pixels import Preprocessing, read_pixels

T = TypeVar("T")

Pixels = npt.NDArray[np.uint8]

# Images a task: small enough that the processes share a batch, large enough that handing it over costs nothing.
TASK = 16

# Images decoded in one go where the network waits for them: to wake the processes takes as long as twenty images.
TURN = 256

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
    in_turn: bool = False,
    digests: bool = False,
) -> Iterator[Iterator[Batch]]:
    """Each (start, stop) of ``rows``, at most ``batch_size`` images, as a Batch, in order; decoding begins at once.

    workers: processes that decode ahead; with 0 an image is decoded when its batch is asked for.
    They are forked and write into memory shared with this process, so neither the list nor
    the pixels are copied. An image whose decoder crashes is an error of that image; with 0
    workers, too, as one process decodes apart wherever it can be forked.
    in_turn: several batches are decoded when the first of them is asked for, by all processes
    together, and only their files are read before: a network on the processors, which waits
    for its slowest thread, loses more by sharing them. digests: take those of the files, too.

    Iterating raises Outage if the disk or the network does not give an image, tried several
    times, and if a process is killed (for want of memory, say).
    """
    if not (workers or CAN_FORK):
        yield _read_here(images, rows, batch_size, preprocessing, digests)
        return
    # Enough slots that every process has a task while the network has a batch, or for a turn.
    slots = 2 + -(-2 * workers * TASK // batch_size) if workers else 1
    task = TASK
    if in_turn and workers:
        slots = max(1, TURN // batch_size)
        task = max(1, min(TASK, slots * batch_size // (4 * workers)))
    shape = (slots, batch_size, *preprocessing.shape)
    # Private to this run and its children, unlike /dev/shm, which is tiny in containers.
    shared: Pixels = np.frombuffer(mmap.mmap(-1, math.prod(shape)), np.uint8).reshape(shape)

    def fill(task: Task, left_out: dict[int, str], at: At) -> Decoded:
        slot, start, first, last = task
        pixels = shared[slot, first - start : last - start]
        return _decode(images, first, last, preprocessing, pixels, digests, left_out, at)

    # Once, and not by every process that is forked here.
    Image.preinit()
    decoders = Decoders(workers or 1, fill)
    # A thread of each process waits for it, and one reads ahead.
    executor = concurrent.futures.ThreadPoolExecutor((workers or 1) + 1)
    try:
        yield (_InTurn if in_turn or not workers else _Ahead)(executor, decoders, images, rows, shared, task)
    finally:
        executor.shutdown(cancel_futures=True)
        decoders.close()


def _read_here(
    images: ImageList, rows: Sequence[tuple[int, int]], batch_size: int, preprocessing: Preprocessing, digests: bool
) -> Iterator[Batch]:
    pixels = np.zeros((batch_size, *preprocessing.shape), np.uint8)
    for start, stop in rows:
        with outages():
            decoded = _decode(images, start, stop, preprocessing, pixels, digests, {}, np.zeros(1, np.int64))
        yield Batch(start, stop, pixels, *decoded)


class _Ahead(Iterator[Batch]):
    """Keeps every slot of the shared memory but the reader's filled or being filled."""

    def __init__(
        self,
        executor: concurrent.futures.Executor,
        decoders: Decoders,
        images: ImageList,
        rows: Sequence[tuple[int, int]],
        shared: Pixels,
        task: int,
    ) -> None:
        self._executor, self._decoders, self._images = executor, decoders, images
        self._rows, self._shared, self._task = rows, shared, task
        self._next = 0
        self._waiting: deque[tuple[int, int, int, list[concurrent.futures.Future[Decoded]]]] = deque()
        self._begin()

    def _begin(self) -> None:
        for _ in range(len(self._shared) - 1):
            self._submit()

    def _submit(self) -> None:
        if self._next == len(self._rows):
            return
        slot, (start, stop) = self._next % len(self._shared), self._rows[self._next]
        tasks = [
            self._executor.submit(self._decoders.do, (slot, start, first, min(first + self._task, stop)))
            for first in range(start, stop, self._task)
        ]
        self._waiting.append((slot, start, stop, tasks))
        self._next += 1

    def __next__(self) -> Batch:
        # The slot whose batch the reader had until now is free.
        self._submit()
        return self._first()

    def _first(self) -> Batch:
        """The batch that is waited for longest, decoded."""
        if not self._waiting:
            raise StopIteration
        slot, start, stop, tasks = self._waiting.popleft()
        errors: dict[int, str] = {}
        sha256: dict[int, str] = {}
        with outages():
            for task in tasks:
                failed, hashed = task.result()
                errors.update(failed)
                sha256.update(hashed)
        if self._next == len(self._rows) and not self._waiting:
            self._decoders.dismiss()
        self._shared[slot, stop - start :] = 0
        return Batch(start, stop, self._shared[slot], errors, sha256)


class _InTurn(_Ahead):
    """Fills every slot, and then again when all have been used; for the first time while the network is loaded."""

    def _begin(self) -> None:
        for _ in self._shared:
            self._submit()

    def __next__(self) -> Batch:
        if not self._waiting:
            self._begin()
        concurrent.futures.wait([task for *_, tasks in self._waiting for task in tasks])
        batch = self._first()
        if not self._waiting:
            after = self._rows[self._next : self._next + len(self._shared)]
            self._executor.submit(_fetch, [self._images.path(n) for start, stop in after for n in range(start, stop)])
        return batch


def _fetch(paths: Sequence[bytes]) -> None:
    """Let the system read files into its memory. What is wrong with a file is said where it is decoded."""
    if not hasattr(os, "posix_fadvise"):
        return
    for path in paths:
        with contextlib.suppress(OSError, ValueError):
            if not stat.S_ISREG(os.stat(path).st_mode):
                continue
            descriptor = os.open(path, os.O_RDONLY)
            try:
                os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_WILLNEED)
            finally:
                os.close(descriptor)


@contextmanager
def outages() -> Iterator[None]:
    """What the disk or the network does not give ends the run; it is no image's fault."""
    try:
        yield
    except Unreachable as error:
        remedy, unless = (
            error.remedy or "bring the disk or the network back",
            " (if it is this file alone, move it away)",
        )
        raise Outage(
            f"{error}; what is done is kept: {remedy} and run the same command again{'' if error.remedy else unless}"
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
    with fetched([images.path(number) for number in range(start, stop) if number not in left_out]):
        for place, number in enumerate(range(start, stop)):
            if number in left_out:
                pixels[place] = 0
                errors[number] = left_out[number]
                continue
            at[0] = number
            path = images.path(number)
            if digests:
                # Before it is decoded: of a file that changes in between, the digest is the old one's, and it is seen.
                sha256[number] = file_sha256(path)
            try:
                pixels[place] = read_patiently(path, functools.partial(read_pixels, path, preprocessing))
            except ImageError as error:
                pixels[place] = 0
                errors[number] = str(error)
    pixels[stop - start :] = 0
    return errors, sha256


def read_patiently(path: bytes, read: Callable[[], T]) -> T:
    """What ``read`` makes of the file, tried again where the disk or the network fails.

    Raises Unreachable, with the path, at last.
    """
    tries = 0
    while True:
        try:
            return read()
        except Unreachable as error:
            tries += 1
            if error.remedy:
                raise Unreachable(f"{shown(path)}: {error}", error.remedy) from None
            if tries > len(WAITS):
                raise Unreachable(f"{shown(path)}: {error}, tried {tries} times") from None
            time.sleep(WAITS[tries - 1])
