"""Has the nodes of a Ray cluster compute the shards (extra ray): tasks of some minutes each, tried again elsewhere."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from typing import Any

from ranktag.config import ExtractionConfig
from ranktag.errors import DiskFull, NoMemory, NotFound, NotInstalled, Outage, RanktagError, Usage, kind_called
from ranktag.feature_cache.shards import Shard, folder_of
from ranktag.features.compute_shards import signals_received, stopped
from ranktag.features.executors._lines import Lines
from ranktag.features.executors._runs import Runs
from ranktag.features.job import Done, Job
from ranktag.features.machine import for_all_machines
from ranktag.features.manifest import open_manifest, write_manifest
from ranktag.features.progress import ExtractionProgress, Plan

# Seconds without a word of the connection to Ray, which speaks every other second.
SILENCE, WAIT = 30.0, 0.5
GIGABYTE = 10**9

# What the disk, the network or want of memory did to one shard; all else would happen to any shard on that machine.
OUTAGES = (Outage.code, DiskFull.code, NoMemory.code)


def prepare(config: ExtractionConfig) -> ExtractionConfig:
    """The settings for all nodes."""
    if config.worker_index is not None or config.worker_count is not None:
        raise Usage("--worker-index, --worker-count: --executor ray shares the work out itself; leave them out")
    if find_spec("ray") is None:
        raise NotInstalled("--executor ray needs Ray: pip install 'ranktag[ray]', here and on every node")
    return for_all_machines(config, gpus=config.gpus_per_task > 0)


def execute(job: Job, pending: Sequence[Shard], progress: ExtractionProgress) -> Done:
    """Have the pending shards computed.

    Raises RanktagError: no cluster, or one that has vanished; shards that failed on every try,
    by number; Stopped after SIGINT or SIGTERM.
    """
    began = time.monotonic()
    with _connection(job.config) as ray:
        manifest = write_manifest(job)
        engine = _Engine(job, str(manifest), Runs(pending, job.config.retries), ray, progress)
        sha256 = open_manifest(manifest).wanted.weights_sha256
        with signals_received() as received:
            engine.work(received)
    images = sum(len(shard) for shard in pending)
    return Done(images, engine.failures, sha256, time.monotonic() - began)


@contextmanager
def _connection(config: ExtractionConfig) -> Iterator[subprocess.Popen[bytes]]:
    """The process that talks to Ray; it ends with the block, and the cluster's tasks with it."""
    settings = {
        "address": config.ray_address,
        "cpus": config.cpus_per_task,
        "gpus": config.gpus_per_task,
        "memory": config.memory_per_task and int(config.memory_per_task * GIGABYTE),
    }
    command = [sys.executable, "-m", "ranktag.features.executors._ray_driver", json.dumps(settings)]
    process = subprocess.Popen(
        command,
        # Not this folder, where one called ranktag would be taken for the package.
        cwd=os.sep,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        # Not of our group: Ctrl-C is for us, and we tell it.
        start_new_session=True,
    )
    try:
        yield process
    finally:
        assert process.stdin is not None
        with suppress(BrokenPipeError):
            process.stdin.close()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


class _Engine:
    """One extraction by the cluster. failures: row in the image list -> reason, of what is done."""

    def __init__(
        self, job: Job, manifest: str, runs: Runs, ray: subprocess.Popen[bytes], progress: ExtractionProgress
    ) -> None:
        self.failures: dict[int, str] = {}
        self._job, self._manifest, self._runs, self._ray, self._progress = job, manifest, runs, ray, progress
        assert ray.stdout is not None
        self._lines = Lines(ray.stdout.fileno())
        self._slots: dict[str, int] = {}
        self._avoided: set[str] = set()
        self._kind = Outage.code
        self._started = False

    def work(self, received: Sequence[int]) -> None:
        """Until every shard is done, or nothing can be done any more."""
        # Counted by waiting: while this process was suspended, so was the other.
        silence = 0.0
        try:
            while not self._runs.ended:
                lines = self._lines.read(WAIT)
                silence = 0.0 if lines else silence + WAIT
                for line in lines:
                    self._hear(json.loads(line))
                if self._lines.ended or silence > SILENCE:
                    raise Outage(f"the Ray cluster does not answer any more; {self._kept()} with a cluster that does")
                self._look_at_shards()
                if received:
                    raise stopped(received[0], self._job, self._runs.images_done)
                self._submit()
        finally:
            if self._started:
                self._progress.finish()
        if self._runs.given_up:
            raise self._given_up()

    def _hear(self, said: dict[str, Any]) -> None:
        if "fault" in said and self._started:
            raise Outage(f"the Ray cluster has failed ({said['fault'][:200]}); {self._kept()}")
        if "fault" in said:
            where = self._job.config.ray_address
            raise NotFound(
                f"{f'--ray-address {where}: ' if where else ''}there is no Ray cluster ({said['fault'][:200]}); start "
                "one with 'ray start --head', or give --ray-address HOST:PORT"
            )
        if "cluster" in said:
            self._slots = said["cluster"]["slots"]
            self._start()
            self._progress.at_work(len(self._slots))
            return
        run, result = self._runs.in_flight[said["id"]], said["result"]
        if "images" in result:
            self.failures.update((int(row), reason) for row, reason in result["failures"])
            self._advance(self._runs.done(run, result["images"], result["seconds"]), len(result["failures"]))
            return
        host, message = result.get("host", "a node"), result.get("message") or result["lost"]
        self._kind = result.get("error", Outage.code)
        outage = self._kind in OUTAGES and not result.get("blind")
        if not outage and result["node"] not in self._avoided:
            # Of the machine, whatever it is given.
            self._avoided.add(result["node"])
            self._progress.note(f"{host} gets no more work: {message}")
        there = [shard for shard in run.shards if self._exists(shard)]
        self._runs.failed(run, there, message, result.get("node"))

    def _start(self) -> None:
        """Announce the work, once it is known who does it."""
        if self._started:
            return
        self._started = True
        job = self._job
        self._progress.start(
            Plan(
                output=job.output,
                total=len(job.listed),
                images=job.images,
                done=job.kept.images,
                failed=len(job.kept.failures),
                shards=self._runs.count,
                device="Ray",
                compute_dtype=job.wanted.compute_dtype,
                batch_size=job.config.batch_size or 0,
                workers=0,
                worker=job.worker,
                nodes=len(self._slots),
            )
        )

    def _submit(self) -> None:
        """Keep the nodes busy, with a task waiting for each that is at work; never more."""
        if not self._started:
            return
        usable = {node: count for node, count in self._slots.items() if node not in self._avoided}
        if self._slots and not usable:
            self._runs.give_up()
            return
        slots = sum(usable.values())
        while (run := self._runs.next(slots)) is not None:
            avoid = self._avoided | (run.avoid if not set(usable) <= run.avoid else set())
            call = {"id": run.number, "manifest": self._manifest, "shards": run.text, "avoid": sorted(avoid)}
            run.there = {shard.number for shard in run.shards if self._exists(shard)}
            assert self._ray.stdin is not None
            try:
                self._ray.stdin.write(json.dumps(call).encode() + b"\n")
                self._ray.stdin.flush()
            except BrokenPipeError:
                # It has ended, as reading from it will tell.
                return

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
        return kind_called(self._kind)(
            f"{'shard' if missing == 1 else 'shards'} {shown} of {self._runs.count_of_list} could not be computed "
            f"({self._runs.reason}); {self._kept()}"
        )
