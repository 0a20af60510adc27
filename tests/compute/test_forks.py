"""Work in forked processes."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch

from ranktag.compute.forks import Forks, can_fork, share
from ranktag.errors import Outage, RanktagError

pytestmark = pytest.mark.skipif(not can_fork(), reason="a fork cannot compute here")


def started(work: list[Callable[[int], Iterator[Any]]]) -> Forks[int, Any]:
    forks = Forks.start(work)
    if forks is None:
        pytest.skip("this process has computed gradients on a device before, so its forks cannot")
    return forks


def test_each_does_every_task_and_changes_what_is_shared() -> None:
    numbers, own = torch.zeros(2, 3), torch.zeros(2)
    share([numbers])

    def work(row: int) -> Iterator[float]:
        for _ in range(2):
            numbers[row] += 1.0
            own[row] += 1.0
            yield float(numbers[row].sum())

    forks = started([lambda n: (n * k for k in (1, 2)), lambda n: work(0), lambda n: work(1)])
    for task, sums in ((5, [3.0, 6.0]), (7, [9.0, 12.0])):
        forks.begin(task)
        assert forks.results() == [[task, 2 * task], sums, sums]
    forks.close()
    assert torch.equal(numbers, torch.full((2, 3), 4.0)) and torch.equal(own, torch.zeros(2))


@pytest.mark.parametrize("shape", [(), (3,), (2, 3), (0, 4)])
def test_shared_tensors_are_what_they_were(shape: tuple[int, ...]) -> None:
    for tensor in (torch.randn(shape), torch.nn.Parameter(torch.randn(shape).t())):
        before, view = tensor.detach().clone(), tensor.stride()
        share([tensor])
        assert torch.equal(tensor, before) and tensor.stride() == view


def test_a_fork_computes_with_one_thread_and_is_not_this_process() -> None:
    def work(_: int) -> Iterator[tuple[int, int]]:
        x = torch.randn(300, 300, requires_grad=True)
        (x @ x).sum().backward()
        yield torch.get_num_threads(), os.getpid()

    # Products and gradients by several threads here do not stand in the way.
    x = torch.randn(300, 300, requires_grad=True)
    (x @ x).sum().backward()
    forks = started([work, work])
    forks.begin(0)
    (one,), (other,) = forks.results()
    forks.close()
    assert one[0] == other[0] == 1 and len({one[1], other[1], os.getpid()}) == 3


def test_what_one_raises_comes_out_and_the_next_task_is_done() -> None:
    def work(n: int) -> Iterator[int]:
        yield n
        if n == 0:
            raise RanktagError("x.jpg: is no number")

    forks = started([work, lambda n: iter([n])])
    forks.begin(0)
    with pytest.raises(RanktagError, match="x.jpg: is no number"):
        forks.results()
    forks.begin(1)
    assert forks.results() == [[1], [1]]
    forks.close()


def test_one_that_is_killed_is_an_outage_and_its_siblings_end() -> None:
    def work(n: int) -> Iterator[int]:
        yield os.getpid()

    def dies(n: int) -> Iterator[int]:
        if n:
            os.kill(os.getpid(), signal.SIGKILL)
        yield os.getpid()

    forks = started([work, dies])
    forks.begin(0)
    pids = [pid for (pid,) in forks.results()]
    forks.begin(1)
    with pytest.raises(Outage, match="a process that trains died"):
        forks.results()
    forks.close()
    assert not any(is_running(pid) for pid in pids)


def test_they_end_with_the_process_that_made_them_even_within_a_task() -> None:
    # As a program of its own that is killed outright while one fork works and the other waits.
    program = """
import os, signal, time
from ranktag.compute.forks import Forks

def works(_):
    os.write(1, b"%d\\n" % os.getpid())
    while True:
        time.sleep(0.05)
        yield 0

def waits(_):
    os.write(1, b"%d\\n" % os.getpid())
    yield 0

forks = Forks.start([works, waits])
forks.begin(0)
time.sleep(1.0)
os.kill(os.getpid(), signal.SIGKILL)
"""
    ran = subprocess.run([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True, check=False, timeout=120)
    pids = [int(line) for line in ran.stdout.split()]
    assert ran.returncode == -signal.SIGKILL and len(pids) == 2
    end = time.monotonic() + 30
    while any(is_running(pid) for pid in pids):
        assert time.monotonic() < end, "still there"
        time.sleep(0.1)


def test_where_torch_refuses_gradients_there_are_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ranktag.compute.forks._computes_gradients", lambda: False)
    assert Forks.start([lambda n: iter([n])] * 2) is None


def test_a_daemon_does_without(capfd: pytest.CaptureFixture[str]) -> None:
    context = multiprocessing.get_context("fork")
    for daemon in (False, True):
        process = context.Process(target=lambda: print(can_fork(), flush=True), daemon=daemon)
        process.start()
        process.join()
    assert capfd.readouterr().out.split() == ["True", "False"]


def is_running(pid: int) -> bool:
    """Whether there is such a process that has not ended."""
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False
