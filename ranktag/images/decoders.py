"""Processes that decode photos. One that crashes costs the photo it was at, and is replaced.

Each is two: a keeper, which stays small and has one thread, so that it may fork at any
time, and the process it keeps for the work. Where that one crashes, it is started anew and
does its task again; the photo at which it crashes twice is left out. So a crash is told
from an accident, and neither the others' photos nor their order depend on it.
"""

from __future__ import annotations

import contextlib
import faulthandler
import gc
import mmap
import multiprocessing
import os
import queue
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any

import numpy as np
import numpy.typing as npt

from ranktag.errors import Outage
from ranktag.files.isolation import CRASHES

# How often a photo may end its process before it is taken to be the photo's fault.
CRASHES_OF_A_PHOTO = 2

# (1,) int64: the number of the photo that is being decoded.
At = npt.NDArray[np.int64]
NONE = -1

# Called as work(task, left_out, at): left_out are the photos that may not be touched, number -> reason.
Work = Callable[[Any, dict[int, str], At], Any]

# Forking a process that uses Apple's libraries is not safe; other systems have no fork at all.
CAN_FORK = hasattr(os, "fork") and sys.platform != "darwin"


class Decoders:
    """``count`` processes, forked now, that do tasks of ``work``, several at a time."""

    def __init__(self, count: int, work: Work) -> None:
        context = multiprocessing.get_context("fork")
        self._free: queue.SimpleQueue[Connection] = queue.SimpleQueue()
        self._processes = []
        self._engaged = count
        for _ in range(count):
            ours, theirs = context.Pipe()
            process = context.Process(target=_keep, args=(theirs, work, os.getpid()))
            process.start()
            theirs.close()
            self._processes.append(process)
            self._free.put(ours)

    def do(self, task: Any) -> Any:
        """What ``work`` returns for the task, by a process that is free; may be called by several threads.

        Raises what ``work`` raises, and Outage if the processes are killed.
        """
        pipe = self._free.get()
        try:
            pipe.send(task)
            answer = pipe.recv()
        except (EOFError, OSError):
            raise _killed() from None
        finally:
            self._free.put(pipe)
        if isinstance(answer, Exception):
            raise answer
        return answer

    def dismiss(self) -> None:
        """Let the processes end, which do nothing any more, beside whatever comes next."""
        while self._engaged:
            self._engaged -= 1
            with self._free.get() as pipe, contextlib.suppress(OSError):
                pipe.send(None)

    def close(self) -> None:
        """Let the processes end, and wait until they have."""
        self.dismiss()
        for process in self._processes:
            process.join()


def _killed() -> Outage:
    return Outage(
        "a process that decodes images died (killed for want of memory?); what is done is kept: "
        "run the same command again, with fewer --workers"
    )


def _keep(pipe: Connection, work: Work, parent: int) -> None:
    """The keeper: hands tasks on, and starts the process that does them anew where it has ended."""
    # Whoever stops the run stops the main process, which lets the batch be finished.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    # A look for garbage among what the main process made would copy all of it: measured, 0.17 s of each process.
    gc.freeze()
    at: At = np.frombuffer(mmap.mmap(-1, 8), np.int64)
    left_out: dict[int, str] = {}
    ends: Counter[int] = Counter()
    child = _Child(work, at)
    while (task := _received(pipe, parent)) is not None:
        while True:
            at[0] = NONE
            try:
                child.pipe.send((task, left_out))
                answer = _received(child.pipe, parent)
                break
            except (EOFError, OSError):
                code, number = child.exit_code(), int(at[0])
            child = _Child(work, at)
            ends[number] += 1
            if ends[number] < CRASHES_OF_A_PHOTO:
                continue
            # Whoever is killed has not crashed, and without a photo it is no photo's fault.
            if code == -signal.SIGKILL or number == NONE:
                answer = _killed()
                break
            left_out[number] = _how_it_ended(code)
        pipe.send(answer)
    child.end()


def _received(pipe: Connection, parent: int) -> Any:
    """What comes; a process killed with SIGKILL cannot end its children, so they have to notice."""
    while not pipe.poll(1):
        if os.getppid() != parent:
            os._exit(1)
    return pipe.recv()


def _how_it_ended(code: int) -> str:
    how = signal.Signals(-code).name if code < 0 else f"exit code {code}"
    return f"its decoder crashes ({how}); convert it with another program"


class _Child:
    """The process that does the work, and the keeper's end of the pipe to it."""

    def __init__(self, work: Work, at: At) -> None:
        context = multiprocessing.get_context("fork")
        self.pipe, theirs = context.Pipe()
        self._process = context.Process(target=self._work, args=(theirs, work, at, os.getpid()))
        self._process.start()
        theirs.close()

    def _work(self, pipe: Connection, work: Work, at: At, keeper: int) -> None:
        self.pipe.close()
        _let_crashes_end_it()
        threading.Thread(target=_end_with, args=(keeper,), daemon=True).start()
        while (received := pipe.recv()) is not None:
            task, left_out = received
            try:
                answer = work(task, left_out, at)
            except Exception as error:  # noqa: BLE001 (it is raised where the task was given)
                answer = error
            pipe.send(answer)

    def exit_code(self) -> int:
        """How it ended: minus the signal, or its exit code."""
        self.pipe.close()
        self._process.join()
        return self._process.exitcode or 0

    def end(self) -> None:
        """End it, as it has nothing to do."""
        self.pipe.send(None)
        self._process.join()


def _let_crashes_end_it() -> None:
    """No report on stderr and no core dump: the main process has the one line to say."""
    import resource

    faulthandler.disable()
    for number in CRASHES:
        signal.signal(number, signal.SIG_DFL)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _end_with(keeper: int) -> None:
    while os.getppid() == keeper:
        time.sleep(1)
    os._exit(1)
