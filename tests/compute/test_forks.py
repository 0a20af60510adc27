"""Work in forked processes."""

from __future__ import annotations

import gc
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ranktag.compute.forks import Forks, Step, can_fork, share
from ranktag.errors import Outage, RanktagError

pytestmark = pytest.mark.skipif(not can_fork(), reason="a fork cannot compute here")


def started(do: Callable[[Step], None], count: int = 1) -> Forks:
    forks = Forks.start(do, count)
    if forks is None:
        pytest.skip("this process has computed gradients on a device before, so its forks cannot")
    return forks


def shared(*shape: int) -> torch.Tensor:
    zeros = torch.zeros(shape, dtype=torch.int64)
    share([zeros])
    return zeros


@given(
    series=st.integers(1, 5),
    steps=st.integers(1, 6),
    count=st.integers(1, 3),
    rounds=st.integers(1, 3),
    turns=st.integers(0, 9),
)
@settings(max_examples=20, deadline=None)
def test_every_step_is_done_once_and_a_series_in_its_order(
    series: int, steps: int, count: int, rounds: int, turns: int
) -> None:
    done, in_order, own = shared(rounds, series, steps), shared(rounds, series, steps), torch.zeros(1)

    def do(step: Step) -> None:
        assert step.steps == steps
        place = step.round, step.series, step.number
        # All before it are done, and none after it.
        in_order[place] = torch.equal(done[place[:2]], (torch.arange(steps) < step.number).long())
        done[place] += 1
        own.add_(1)

    taken = []
    forks = started(do, count)
    for round in range(rounds):
        forks.begin(round, series, steps)
        forks.finish(do, (taken.append(turn) for turn in range(turns)))
        assert torch.equal(done[: round + 1], torch.ones(round + 1, series, steps))
    forks.close()
    assert torch.equal(done, in_order) and taken == list(range(turns)) * rounds
    # What is not shared is each process's own.
    assert own <= done.numel()


def test_all_take_part_and_nobody_does_two_steps_of_a_series_at_once() -> None:
    who, at_work, alone = shared(3, 20), shared(3), shared(3, 20)

    def do(step: Step) -> None:
        at_work[step.series] += 1
        time.sleep(0.01)
        who[step.series, step.number], alone[step.series, step.number] = os.getpid(), at_work[step.series]
        at_work[step.series] -= 1

    forks = started(do)
    forks.begin(0, 3, 20)
    forks.finish(do, iter(()))
    forks.close()
    processes = set(who.flatten().tolist())
    assert len(processes) == 2 and os.getpid() in processes
    # Two processes, three series: each takes steps of several.
    assert all(len(set(of_one.tolist())) == 2 for of_one in who)
    assert torch.equal(alone, torch.ones(3, 20))


@pytest.mark.parametrize("shape", [(), (3,), (2, 3), (0, 4)])
def test_shared_tensors_are_what_they_were(shape: tuple[int, ...]) -> None:
    for tensor in (torch.randn(shape), torch.nn.Parameter(torch.randn(shape).t())):
        before, view = tensor.detach().clone(), tensor.stride()
        share([tensor])
        assert torch.equal(tensor, before) and tensor.stride() == view


def test_a_fork_computes_with_one_thread_and_is_not_this_process() -> None:
    threads, pid, frozen = shared(2), shared(2), shared(2)

    def do(step: Step) -> None:
        x = torch.randn(300, 300, requires_grad=True)
        (x @ x).sum().backward()
        time.sleep(0.5)
        if os.getpid() != here:
            threads[step.series], pid[step.series] = torch.get_num_threads(), os.getpid()
            # Of what was there before, which it would copy, it looks at nothing for garbage.
            frozen[step.series] = gc.get_freeze_count()

    gc.unfreeze()
    here, there = os.getpid(), len(gc.get_objects())
    # Products and gradients by several threads here do not stand in the way.
    x = torch.randn(300, 300, requires_grad=True)
    (x @ x).sum().backward()
    forks = started(do)
    forks.begin(0, 2, 1)
    forks.finish(do, iter(()))
    forks.close()
    assert sorted(threads.tolist()) == [0, 1] and pid.max() > 0
    assert frozen.max() > 0.9 * there > 0


@pytest.mark.parametrize("where", ["fork", "here"])
def test_what_a_step_raises_comes_out(where: str) -> None:
    here = os.getpid()

    def do(step: Step) -> None:
        time.sleep(0.01)
        if (os.getpid() == here) == (where == "here"):
            raise RanktagError("x.jpg: is no number")

    forks = started(do)
    with pytest.raises(RanktagError, match="x.jpg: is no number"):
        forks.begin(0, 2, 1000)
        forks.finish(do, iter(()))
    forks.close()


def test_one_that_is_killed_is_an_outage_and_its_siblings_end() -> None:
    here, who, killed, steps = os.getpid(), shared(3, 1000), shared(1), 0

    def do(step: Step) -> None:
        nonlocal steps
        who[step.series, step.number] = os.getpid()
        time.sleep(0.1)
        steps += 1
        # As many series as processes, so that nobody goes without a step.
        if steps == 3 and os.getpid() != here and not killed:
            killed[0] = 1
            os.kill(os.getpid(), signal.SIGKILL)

    forks = started(do, 2)
    with pytest.raises(Outage, match="a process that trains died"):
        forks.begin(0, 3, 1000)
        forks.finish(do, iter(()))
    forks.close()
    pids = set(who.flatten().tolist()) - {0}
    assert len(pids) == 3 and [pid for pid in pids if is_running(pid)] == [here]


@pytest.mark.parametrize("series", [0, 3])
def test_they_end_with_the_process_that_made_them_waiting_or_within_a_step(series: int) -> None:
    # As a program of its own that is killed outright. Of three series two forks take no more than two.
    program = f"""
import os, signal, time
from ranktag.compute.forks import Forks

def do(step):
    if os.getpid() == here:
        time.sleep(1.0)
        os.kill(here, signal.SIGKILL)
    time.sleep(2.0)

here = os.getpid()
forks = Forks.start(do, 2)
print(here, *(process.pid for process in forks._processes), flush=True)
forks.begin(0, {series}, 1000)
forks.finish(do, iter(()))
os.kill(here, signal.SIGKILL)
"""
    ran = subprocess.run([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True, check=False, timeout=120)
    pids = {int(line) for line in ran.stdout.split()}
    assert ran.returncode == -signal.SIGKILL and len(pids) == 3
    end = time.monotonic() + 30
    while any(is_running(pid) for pid in pids):
        assert time.monotonic() < end, "still there"
        time.sleep(0.1)


def test_where_torch_refuses_gradients_there_are_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ranktag.compute.forks._computes_gradients", lambda: False)
    assert Forks.start(lambda step: None, 2) is None


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
