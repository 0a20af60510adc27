"""Has the nodes of a Ray cluster compute the shards (extra ray): tasks of some minutes each, tried again elsewhere."""

from __future__ import annotations

import dataclasses
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Any

from ranktag.config import ExtractionConfig
from ranktag.errors import NotInstalled, Outage, RanktagError, Usage, kind_called
from ranktag.feature_cache.shards import Shard, folder_of
from ranktag.features import engine
from ranktag.features.executors._cluster import Cluster, Lost, started
from ranktag.features.executors._runs import Runs
from ranktag.features.job import Done, Job
from ranktag.features.machine import PRECISION_OF
from ranktag.features.manifest import for_workers, manifest_of, open_manifest, write_manifest
from ranktag.features.progress import ExtractionProgress
from ranktag.features.signals import signals_received, stopped

# The number of the request that has a network loaded; runs are numbered from 1.
LOADING = 0


class Engine(engine.Engine):
    """One extraction by a cluster.

    This process never imports torch: the nodes load the network while it waits for the first of them.
    """

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster

    @classmethod
    @contextmanager
    def begin(cls, config: ExtractionConfig) -> Iterator[Engine]:
        """The engine, connected to nothing yet; Ray's import runs beside what else is done before it is needed."""
        if config.worker_index is not None or config.worker_count is not None:
            raise Usage("--worker-index, --worker-count: --executor ray shares the work out itself; leave them out")
        if find_spec("ray") is None:
            raise NotInstalled("--executor ray needs Ray: pip install 'ranktag[ray]', here and on every node")
        with started(config) as cluster:
            yield cls(cluster)

    def place(self, config: ExtractionConfig) -> tuple[int, int]:
        """The nodes share the shards, not the commands."""
        return 0, 1

    def prepare(self, job: Job, progress: ExtractionProgress) -> Job:
        """The job as the first node that has loaded the network chose the settings for all, with the weights' digest.

        All that are to compute load it, beside each other. What an earlier run has chosen stays.

        Raises RanktagError: no cluster, or no node that can load the network.
        """
        config = _as_begun(job)
        request = {"load": for_workers(config).to_dict(), "wanted": dataclasses.asdict(job.wanted)}
        reason = ""
        try:
            self._cluster.connect(progress)
            for _ in range(1 + config.retries):
                waiting = min(max(1, sum(self._cluster.usable.values())), len(job.shards))
                for _ in range(waiting):
                    self._cluster.submit(LOADING, request)
                while waiting:
                    for _, result in self._cluster.listen(progress):
                        if (sha256 := result.get("weights_sha256")) is not None:
                            dtype, batch_size = result["compute_dtype"], result["batch_size"]
                            config = config.replace(precision=PRECISION_OF[dtype], batch_size=batch_size)
                            return job.resolved(dtype, config=config, weights_sha256=sha256)
                        reason = self._cluster.failed(result, progress)
                        waiting -= 1
                if not self._cluster.usable:
                    break
        except Lost as lost:
            raise Outage(f"{lost}; run the same command again with a cluster that does") from None
        raise kind_called(self._cluster.kind)(f"no node of the Ray cluster could load the network ({reason})")

    def execute(self, job: Job, pending: Sequence[Shard], progress: ExtractionProgress) -> Done:
        """Have the pending shards computed.

        Raises RanktagError: a cluster that has vanished; shards that failed on every try, by
        number; Stopped after SIGINT or SIGTERM.
        """
        began = time.monotonic()
        work = _Work(job, str(write_manifest(job)), Runs(pending, job.config.retries), self._cluster, progress)
        with signals_received() as received:
            work.until_done(received)
        images = sum(len(shard) for shard in pending)
        return Done(images, work.failures, job.wanted.weights_sha256, time.monotonic() - began)


def _as_begun(job: Job) -> ExtractionConfig:
    """The settings, with what an earlier run of the same has resolved, for nodes need not be alike."""
    config = job.config
    try:
        begun = open_manifest(manifest_of(job.output)).config
    except RanktagError:
        return config
    precision = begun.precision if config.precision == "auto" else config.precision
    return config.replace(precision=precision, batch_size=config.batch_size or begun.batch_size)


class _Work:
    """The shards on their way through the cluster. failures: row in the image list -> reason, of what is done."""

    def __init__(self, job: Job, manifest: str, runs: Runs, cluster: Cluster, progress: ExtractionProgress) -> None:
        self.failures: dict[int, str] = {}
        self._job, self._manifest, self._runs, self._cluster, self._progress = job, manifest, runs, cluster, progress

    def until_done(self, received: Sequence[int]) -> None:
        """Until every shard is done, or nothing can be done any more."""
        batch_size, nodes = self._job.config.batch_size or 0, len(self._cluster.slots)
        self._progress.start(self._job.plan(self._runs.count, "Ray", batch_size, nodes=nodes))
        try:
            while True:
                self._submit()
                if self._runs.ended:
                    break
                for number, result in self._cluster.listen(self._progress):
                    self._hear(number, result)
                self._progress.at_work(len(self._cluster.slots))
                self._look_at_shards()
                if received:
                    raise stopped(received[0], self._job, self._runs.images_done)
        except Lost as lost:
            raise Outage(f"{lost}; {self._kept()} with a cluster that does") from None
        finally:
            self._progress.finish()
        if self._runs.given_up:
            raise self._given_up()

    def _hear(self, number: int, result: dict[str, Any]) -> None:
        if number == LOADING:
            # Of a node that was not the first to answer.
            if "weights_sha256" not in result:
                self._cluster.failed(result, self._progress)
            return
        run = self._runs.in_flight[number]
        if "images" in result:
            self.failures.update((int(row), reason) for row, reason in result["failures"])
            self._advance(self._runs.done(run, result["images"], result["seconds"]), len(result["failures"]))
            return
        message = self._cluster.failed(result, self._progress)
        there = [shard for shard in run.shards if self._exists(shard)]
        self._runs.failed(run, there, message, result.get("node"))

    def _submit(self) -> None:
        """Keep the nodes busy, with a task waiting for each that is at work; never more."""
        usable = self._cluster.usable
        if self._cluster.slots and not usable:
            self._runs.give_up()
            return
        while (run := self._runs.next(sum(usable.values()))) is not None:
            run.there = {shard.number for shard in run.shards if self._exists(shard)}
            self._cluster.submit(run.number, {"manifest": self._manifest, "shards": run.text}, run.avoid)

    def _look_at_shards(self) -> None:
        """Tell of shards of unfinished runs that are there."""
        for run in list(self._runs.in_flight.values()):
            for shard in run.shards:
                if shard.number not in run.there and shard.number not in self._runs.seen:
                    if not self._exists(shard):
                        break
                    self._advance(self._runs.see([shard]), 0)

    def _advance(self, images: int, failures: int) -> None:
        if images or failures:
            self._progress.batch(images, failures)

    def _exists(self, shard: Shard) -> bool:
        return os.path.exists(folder_of(self._job.output) / shard.name)

    def _kept(self) -> str:
        done = self._job.kept.images + self._runs.images_done
        return (
            f"{done:,} of {self._job.images:,} images are done and kept in {folder_of(self._job.output)}: "
            "run the same command again"
        )

    def _given_up(self) -> RanktagError:
        """The error that names the shards that nobody could compute."""
        shown, missing = self._runs.given_up_text, len(self._runs.given_up)
        return kind_called(self._cluster.kind)(
            f"{'shard' if missing == 1 else 'shards'} {shown} of {self._runs.count_of_list} could not be computed "
            f"({self._runs.reason}); {self._kept()}"
        )
