"""Pieces of work side by side."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest
import torch

from ranktag.compute.threads import in_turns, side_by_side


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_answers_come_in_the_order_of_the_work(threads: int) -> None:
    later = threading.Event()

    def square(n: int) -> int:
        # The first piece waits for the second where there are two threads.
        if n == 0 and threads > 1:
            assert later.wait(timeout=30)
        if n == 1:
            later.set()
        return n * n

    assert list(side_by_side(square, range(7), threads)) == [0, 1, 4, 9, 16, 25, 36]


def test_each_piece_is_computed_by_one_of_torchs_threads_and_theirs_are_as_many_afterwards() -> None:
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(3)
        assert list(side_by_side(lambda _: torch.get_num_threads(), range(4), 2)) == [1, 1, 1, 1]
        counts: list[int] = []
        other = threading.Thread(target=lambda: counts.append(torch.get_num_threads()))
        other.start()
        other.join()
        assert torch.get_num_threads() == 3 and counts == [3]
    finally:
        torch.set_num_threads(before)


def test_no_more_is_read_ahead_than_there_are_threads_and_one() -> None:
    read = 0

    def work() -> Iterator[int]:
        nonlocal read
        while True:
            read += 1
            yield read

    answers = side_by_side(lambda n: n, work(), 2)
    for done in range(1, 20):
        assert next(answers) == done
        assert read <= done + 2
    answers.close()  # type: ignore[attr-defined]


def test_a_fault_comes_out_where_its_piece_stood() -> None:
    answers = side_by_side(lambda n: 6 // n, [3, 2, 0, 1], 2)
    assert [next(answers), next(answers)] == [2, 3]
    with pytest.raises(ZeroDivisionError):
        next(answers)


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_turns_give_each_iterators_values_in_their_order(threads: int) -> None:
    series = [iter(range(10 * n, 10 * n + length)) for n, length in enumerate((4, 0, 7))]
    assert in_turns(series, threads, 1) == [[0, 1, 2, 3], [], list(range(20, 27))]


def test_iterators_take_turns() -> None:
    # One thread and three iterators, so that the turns are known.
    turns: list[int] = []

    def count(n: int) -> Iterator[int]:
        for _ in range(4):
            turns.append(n)
            yield torch.get_num_threads()

    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        assert in_turns([count(n) for n in range(3)], 1, 2) == [[2] * 4] * 3
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)
    assert turns == [0, 1, 2] * 4


def test_an_iterator_that_fails_ends_the_others_after_their_step() -> None:
    begun, steps = threading.Event(), 0

    def long() -> Iterator[int]:
        nonlocal steps
        while True:
            begun.set()
            steps += 1
            yield steps

    def short() -> Iterator[int]:
        assert begun.wait(timeout=30)
        yield 1
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        in_turns([long(), short()], 2, 1)
    assert steps >= 1
