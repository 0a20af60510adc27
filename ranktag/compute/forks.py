"""Series of steps, done side by side by forks of this process, which change tensors in place, and by itself.

Python runs one thread at a time, so where a step is hundreds of operations of some microseconds, threads wait for each
other. Processes do not, but more of them than processors stand in each other's way: measured on VOC on two processors,
two took 284 steps a second, three 266 and four 226 (each of an LSTM of its own). So there are as many as processors,
whatever the number of series: who is free takes the step that waits longest.
"""

from __future__ import annotations

import contextlib
import gc
import mmap
import multiprocessing
import os
import signal
import struct
import sys
import warnings
import weakref
from collections.abc import Callable, Iterable, Iterator, Sequence
from multiprocessing import connection
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import NamedTuple

import torch
from torch import Tensor

from ranktag.errors import Outage

_NO_MORE = object()


def can_fork() -> bool:
    """Whether a fork of this process may compute: on macOS its libraries do not allow that, where there is a GPU torch
    computes no gradients in one, and a worker of ``multiprocessing`` that is to end with its parent may have none."""
    return (
        sys.platform == "linux"
        and not torch.accelerator.is_available()
        and not multiprocessing.current_process().daemon
    )


def shared_zeros_like(tensor: Tensor) -> Tensor:
    """Zeros of the shape, type and order in memory of a tensor that has no gaps there, which all forks share."""
    if not tensor.numel():
        return torch.zeros_like(tensor)
    # Not in /dev/shm, of which containers often have 64 MiB. The system fills in the zeros where they are first used.
    memory = mmap.mmap(-1, tensor.numel() * tensor.element_size())
    zeros = torch.frombuffer(memory, dtype=tensor.dtype, count=tensor.numel())
    return zeros.as_strided(tensor.shape, tensor.stride())


def share(tensors: Iterable[Tensor]) -> None:
    """Move the numbers of tensors, whose memory has no gaps, to memory that is the same in all forks."""
    for tensor in tensors:
        tensor.data = shared_zeros_like(tensor).copy_(tensor.detach())


class Step(NamedTuple):
    """A step of one of several series, which are done in rounds. All from 0; steps: how many the series has."""

    round: int
    series: int
    number: int
    steps: int


class Forks:
    """Processes, forked now, which take part in all rounds that come, each with one of torch's threads; ``start`` makes
    them.

    What ``do`` changes of the tensors that are shared shows everywhere, and nothing else does. ``close`` ends them; so
    do their being forgotten and, however it comes, the end of this process.
    """

    def __init__(self, do: Callable[[Step], None], count: int) -> None:
        context = multiprocessing.get_context("fork")
        self._line = _Line()
        # Series of this round that are not done.
        self._left = 0
        self._pipes: list[Connection] = []
        self._processes: list[BaseProcess] = []
        self.close = weakref.finalize(self, _end, self._line, self._pipes, self._processes)
        for _ in range(count):
            ours, theirs = context.Pipe()
            process = context.Process(target=_work, args=(self._line, theirs, do, os.getpid()), daemon=True)
            with warnings.catch_warnings():
                # Python 3.12 and later warn of forks in processes with threads; the child runs none of what they run.
                warnings.simplefilter("ignore", DeprecationWarning)
                process.start()
            theirs.close()
            self._pipes.append(ours)
            self._processes.append(process)

    @classmethod
    def start(cls, do: Callable[[Step], None], count: int) -> Forks | None:
        """Processes that have computed a gradient; None if one could not. Torch refuses that where this process has
        begun to compute gradients on a device, even one that is not used any more."""
        forks = cls(do, count)
        with _alive():
            if all(pipe.recv() for pipe in forks._pipes):
                return forks
        forks.close()
        return None

    def begin(self, round: int, series: int, steps: int) -> None:
        """Let them begin a round: all steps of all series, those of one in their order."""
        for number in range(series):
            self._line.put(Step(round, number, 0, steps))
        self._left = series if steps else 0

    def finish(self, do: Callable[[Step], None], beside: Iterator[None]) -> None:
        """Take part in the round that was begun, to its end.

        do: what was given before. beside: turns of something else, which are all taken here, each followed by a step.
        Raises what a step raised, after which there is no other round, and Outage if a process was killed.
        """
        more = True
        while more or self._left:
            more = more and next(beside, _NO_MORE) is not _NO_MORE
            for ready in connection.wait([self._line.out, *self._pipes], 0 if more or not self._left else None):
                if isinstance(ready, Connection):
                    with _alive():
                        answer = ready.recv()
                    if isinstance(answer, Exception):
                        raise answer
                    self._left -= 1
                elif (step := self._line.take()) is not None:
                    do(step)
                    self._left -= self._line.put_next(step)


class _Line:
    """Steps that wait, the longest first, in a pipe that all processes write and read: a byte string each, of a length
    that pipes neither mix nor part.

    out: a file descriptor that is ready when a step waits.
    """

    _FORMAT = struct.Struct("4I")

    def __init__(self) -> None:
        self.out, self._in = os.pipe()
        os.set_blocking(self.out, False)

    def put(self, step: Step) -> None:
        os.write(self._in, self._FORMAT.pack(*step))

    def put_next(self, step: Step) -> bool:
        """The step after this; whether there is none."""
        last = step.number + 1 == step.steps
        if not last:
            self.put(step._replace(number=step.number + 1))
        return last

    def take(self) -> Step | None:
        """None: another process was faster."""
        try:
            return Step(*self._FORMAT.unpack(os.read(self.out, self._FORMAT.size)))
        except BlockingIOError:
            return None

    def close(self) -> None:
        os.close(self.out)
        os.close(self._in)


@contextlib.contextmanager
def _alive() -> Iterator[None]:
    try:
        yield
    except (EOFError, OSError):
        raise Outage(
            "a process that trains died (killed for want of memory?); what is saved is kept: run the same command "
            "again with --resume"
        ) from None


def _end(line: _Line, pipes: Sequence[Connection], processes: Sequence[BaseProcess]) -> None:
    for pipe in pipes:
        pipe.close()
    for process in processes:
        process.terminate()
        process.join()
    line.close()


def _work(line: _Line, pipe: Connection, do: Callable[[Step], None], parent: int) -> None:
    """The forked child's part."""
    # Whoever stops the run stops the main process, which ends this one.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    # A look for garbage among what the main process made would copy all of it.
    gc.freeze()
    # Of torch's other threads a fork has none.
    torch.set_num_threads(1)
    pipe.send(_computes_gradients())
    while True:
        _stop_without(parent)
        step = line.take()
        if step is None:
            connection.wait([line.out], 1)
            continue
        try:
            do(step)
        except Exception as error:  # noqa: BLE001 (whatever it is, the parent raises it)
            pipe.send(error)
            continue
        if line.put_next(step):
            pipe.send(None)


def _computes_gradients() -> bool:
    try:
        torch.ones((), requires_grad=True).backward()
    except RuntimeError:
        return False
    return True


def _stop_without(parent: int) -> None:
    """End where the parent has ended: one that is killed with SIGKILL cannot end its children."""
    if os.getppid() != parent:
        os._exit(1)
