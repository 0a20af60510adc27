"""Pieces of work side by side.

Torch shares every product out among its threads and waits for all of them. Where products are as small as those of
a list's next tag, that costs more than it gains: measured, lists were followed at 1,150 images/s by two threads
together, at 1,960 by one. Whole batches side by side do not wait for each other, and what a product sums to does not
depend on the number of threads.
"""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from typing import TypeVar

import torch

T = TypeVar("T")
R = TypeVar("R")


def side_by_side(do: Callable[[T], R], work: Iterable[T], threads: int) -> Iterator[R]:
    """``do`` of every piece of work, in their order, by so many threads; one piece more is waiting for them.

    It leaves torch with as many threads as there were.
    """
    before = torch.get_num_threads()
    # Torch's number is each thread's own, but new ones begin with the one set last.
    pool = ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,))
    waiting: deque[Future[R]] = deque()
    try:
        for piece in work:
            waiting.append(pool.submit(do, piece))
            if len(waiting) > threads:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)
        torch.set_num_threads(before)


@contextmanager
def one_thread() -> Iterator[int]:
    """Within, torch computes in this thread alone. Gives how many threads there were."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield before
    finally:
        torch.set_num_threads(before)


def in_turns(series: Sequence[Iterator[T]], threads: int, torch_threads: int) -> list[list[T]]:
    """All that each of several iterators gives, by so many threads of ``torch_threads`` of torch's each.

    A thread takes the one that has waited longest a step on, so that they come to their ends together. If one raises,
    or somebody interrupts, the others are left after the step that they are at. It leaves torch with as many threads
    as there were.
    """
    before = torch.get_num_threads()
    given: list[list[T]] = [[] for _ in series]
    waiting, stopped = deque(enumerate(series)), False

    def take_turns() -> None:
        while not stopped:
            try:
                number, one = waiting.popleft()
            except IndexError:
                # The others have the rest of them in hand.
                return
            for value in itertools.islice(one, 1):
                given[number].append(value)
                waiting.append((number, one))

    with ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(torch_threads,)) as pool:
        try:
            working = [pool.submit(take_turns) for _ in range(threads)]
            finished, _ = wait(working, return_when=FIRST_EXCEPTION)
        finally:
            stopped = True
            torch.set_num_threads(before)
    for one in finished:
        one.result()
    return given
