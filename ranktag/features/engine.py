"""What an engine is: the choices of ``--executor``, one module each in ``ranktag.features.executors``."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from ranktag.config import ExtractionConfig
from ranktag.feature_cache.shards import Shard
from ranktag.features.job import Done, Job
from ranktag.features.machine import compute_dtype_of
from ranktag.features.place import choose_worker
from ranktag.features.progress import ExtractionProgress


class Engine:
    """Computes the shards of a cache, or has others compute them.

    A module of ``ranktag.features.executors`` holds a subclass, ``Engine``, too. It has to say how it executes a job;
    all else is by default that of an engine that computes in this process. Its methods are called in this order.
    """

    @classmethod
    @contextmanager
    def begin(cls, config: ExtractionConfig) -> Iterator[Engine]:
        """The engine, as long as the block lasts. Raises RanktagError for settings that it has no use for."""
        yield cls()

    def place(self, config: ExtractionConfig) -> tuple[int, int]:
        """(index, count) of this process among the workers that share the shards; (0, 1): all of them are its."""
        return choose_worker(config, os.environ)

    def prepare(self, job: Job, progress: ExtractionProgress) -> Job:
        """The job with what only torch can tell of it (``Job.resolved``). Called where there is something to do."""
        return job.resolved(compute_dtype_of(job.config))

    def execute(self, job: Job, pending: Sequence[Shard], progress: ExtractionProgress) -> Done | None:
        """Write the pending shards of ``job``, telling ``progress``, and return what was done.

        None: nothing yet; the work was prepared for others. Raises RanktagError where shards could not be computed.
        """
        raise NotImplementedError
