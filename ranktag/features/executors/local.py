"""This process computes the shards, one after the other."""

from __future__ import annotations

from collections.abc import Sequence

from ranktag.feature_cache.shards import Shard
from ranktag.features.compute_shards import compute_shards
from ranktag.features.job import Done, Job
from ranktag.features.progress import ExtractionProgress


def execute(job: Job, pending: Sequence[Shard], progress: ExtractionProgress) -> Done:
    """Write the pending shards of ``job``, telling ``progress``, and return what was done."""
    return compute_shards(job, pending, progress)
