"""Work side by side in processes of their own, which are forked with all that it needs and change tensors in place.

Python runs one thread at a time, so where a step is hundreds of operations of some microseconds, threads wait for each
other: measured on VOC on two processors, 34 epochs of three LSTMs took 15.3 s by two threads and 12.2 s by three
processes.
"""

from __future__ import annotations

import contextlib
import mmap
import multiprocessing
import os
import signal
import sys
import warnings
import weakref
from collections.abc import Callable, Iterable, Iterator, Sequence
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor

from ranktag.errors import Outage

T = TypeVar("T")
R = TypeVar("R")


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


class Forks(Generic[T, R]):
    """A process for each piece of work, forked now, which does it for every task that comes, with one of torch's
    threads; ``start`` makes them.

    What it changes of the tensors that are shared shows here, and nothing else but the results. ``close`` ends them;
    so do their being forgotten and, however it comes, the end of this process.
    """

    def __init__(self, work: Sequence[Callable[[T], Iterator[R]]]) -> None:
        context = multiprocessing.get_context("fork")
        self._pipes: list[Connection] = []
        self._processes: list[BaseProcess] = []
        self.close = weakref.finalize(self, _end, self._pipes, self._processes)
        for one in work:
            ours, theirs = context.Pipe()
            process = context.Process(target=_work, args=(theirs, one, os.getpid()), daemon=True)
            with warnings.catch_warnings():
                # Python 3.12 and later warn of forks in processes with threads; the child runs none of what they run.
                warnings.simplefilter("ignore", DeprecationWarning)
                process.start()
            theirs.close()
            self._pipes.append(ours)
            self._processes.append(process)

    @classmethod
    def start(cls, work: Sequence[Callable[[T], Iterator[R]]]) -> Forks[T, R] | None:
        """Processes that have computed a gradient; None if one could not. Torch refuses that where this process has
        begun to compute gradients on a device, even one that is not used any more."""
        forks = cls(work)
        with _alive():
            if all(pipe.recv() for pipe in forks._pipes):
                return forks
        forks.close()
        return None

    def begin(self, task: T) -> None:
        """Let all work begin on a task, when the one before has been waited for. Raises Outage if one was killed."""
        for pipe in self._pipes:
            with _alive():
                pipe.send(task)

    def results(self) -> list[list[R]]:
        """What each work gave, when all have come to its end. Raises what one raised, and Outage if one was killed."""
        answers = []
        for pipe in self._pipes:
            with _alive():
                answers.append(pipe.recv())
        for answer in answers:
            if isinstance(answer, Exception):
                raise answer
        return answers


@contextlib.contextmanager
def _alive() -> Iterator[None]:
    try:
        yield
    except (EOFError, OSError):
        raise Outage(
            "a process that trains died (killed for want of memory?); what is saved is kept: run the same command "
            "again with --resume"
        ) from None


def _end(pipes: Sequence[Connection], processes: Sequence[BaseProcess]) -> None:
    for pipe in pipes:
        pipe.close()
    for process in processes:
        process.terminate()
        process.join()


def _work(pipe: Connection, work: Callable[[Any], Iterator[Any]], parent: int) -> None:
    """The forked child's part."""
    # Whoever stops the run stops the main process, which ends this one.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    # Of torch's other threads a fork has none.
    torch.set_num_threads(1)
    pipe.send(_computes_gradients())
    while True:
        while not pipe.poll(1):
            _stop_without(parent)
        try:
            task = pipe.recv()
        except EOFError:
            return
        answer: Any = []
        try:
            for result in work(task):
                _stop_without(parent)
                answer.append(result)
        except Exception as error:  # noqa: BLE001 (whatever it is, the parent raises it)
            answer = error
        pipe.send(answer)


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
