"""A simulation of stage one on machines that are lost now and then: what many images cost on many GPUs.

The shards are handed out, and out again, by the account that ``--executor ray`` keeps
(``ranktag.features.executors._runs``); machines, their speed and their losses are made up as
the settings say. Nothing is computed.
"""

from __future__ import annotations

import heapq
import random
from dataclasses import dataclass, field

from ranktag.config import ClusterBenchmarkConfig
from ranktag.feature_cache.shards import Shard, cut
from ranktag.features.executors._runs import Run, Runs


@dataclass(frozen=True)
class ClusterBenchmark:
    """What a simulated extraction took.

    hours: from the first to the last shard. gpu_hours: that all machines were rented for. ideal_hours: of nothing but
    computing, on all GPUs at once. lost: machines that were lost. wasted: share of the computing that was done twice.
    given_up: shards that failed too often.
    """

    gpus: int
    hours: float
    gpu_hours: float
    ideal_hours: float
    lost: int
    wasted: float
    given_up: int


@dataclass(order=True)
class _Event:
    """A machine's run ends, or the driver hears that it was lost, or a new machine is there."""

    time: float
    machine: int
    run: Run | None = field(default=None, compare=False)
    whole: bool = field(default=True, compare=False)


class _Simulation:
    def __init__(self, gpus: int, config: ClusterBenchmarkConfig) -> None:
        self._gpus, self._config, self._random = gpus, config, random.Random(config.seed)
        self.runs = Runs(cut(config.images, config.shard_size), config.retries)
        self._there: set[int] = set()
        self._loaded: set[int] = set()
        self._events = [_Event(0.0, machine) for machine in range(gpus)]
        self._dies = [self._lifetime() for _ in range(gpus)]
        self._idle: list[int] = []
        self.now, self.lost, self.computed, self.absent = 0.0, 0, 0, 0.0

    def _lifetime(self) -> float:
        rate = self._config.losses / 3600
        return self._random.expovariate(rate) if rate else float("inf")

    def play(self) -> None:
        while self._events and not self.runs.ended:
            event = heapq.heappop(self._events)
            self.now = event.time
            if event.run is not None:
                self._end(event)
            if event.whole:
                self._idle.append(event.machine)
            waiting, self._idle = self._idle, []
            for machine in waiting:
                self._start(machine)

    def _start(self, machine: int) -> None:
        """The machine takes a run; it ends well, or the machine is lost in the middle of it."""
        run = self.runs.next(self._gpus)
        if run is None:
            self._idle.append(machine)
            return
        config = self._config
        missing = [shard for shard in run.shards if shard.number not in self._there]
        # The network stays loaded from one run to the next.
        begun = self.now + (0.0 if machine in self._loaded else config.start)
        self._loaded.add(machine)
        ends = begun + sum(map(len, missing)) / config.rate
        if ends <= self._dies[machine]:
            self._there.update(shard.number for shard in missing)
            self.computed += sum(map(len, missing))
            heapq.heappush(self._events, _Event(ends, machine, run))
            return
        dies = max(self._dies[machine], self.now)
        images = max(0.0, dies - begun) * config.rate
        self.computed += int(images)
        for shard in missing:
            if images < len(shard):
                break
            images -= len(shard)
            self._there.add(shard.number)
        self.lost += 1
        self._loaded.discard(machine)
        self._dies[machine] = dies + config.replacement + self._lifetime()
        self.absent += config.replacement
        heapq.heappush(self._events, _Event(dies + config.silence, machine, run, whole=False))
        heapq.heappush(self._events, _Event(dies + config.replacement, machine))

    def _end(self, event: _Event) -> None:
        run = event.run
        assert run is not None
        if event.whole:
            images = sum(map(len, run.shards))
            self.runs.done(run, images, images / self._config.rate)
            return
        there: list[Shard] = [shard for shard in run.shards if shard.number in self._there]
        self.runs.failed(run, there, "lost")


def benchmark_cluster(gpus: int, config: ClusterBenchmarkConfig) -> ClusterBenchmark:
    """Simulate an extraction on so many GPUs, a machine each."""
    simulation = _Simulation(gpus, config)
    simulation.play()
    return ClusterBenchmark(
        gpus,
        simulation.now / 3600,
        (gpus * simulation.now - simulation.absent) / 3600,
        config.images / config.rate / gpus / 3600,
        simulation.lost,
        1 - config.images / max(1, simulation.computed),
        len(simulation.runs.given_up),
    )
