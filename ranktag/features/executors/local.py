"""This process computes the shards, one after the other."""

from __future__ import annotations

from collections.abc import Sequence

from ranktag.feature_cache.shards import Shard
from ranktag.features import engine
from ranktag.features.compute_shards import compute_shards
from ranktag.features.job import Done, Job
from ranktag.features.progress import ExtractionProgress


class Engine(engine.Engine):
    """Needs nothing but this machine."""

    def execute(self, job: Job, pending: Sequence[Shard], progress: ExtractionProgress) -> Done:
        """Compute the pending shards in their order."""
        return compute_shards(job, pending, progress)
