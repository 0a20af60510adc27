"""Writes the manifest of the shards; whoever is given it computes them: a Slurm array, srun, Kubernetes."""

from __future__ import annotations

from collections.abc import Sequence

from ranktag.config import ExtractionConfig
from ranktag.errors import Usage
from ranktag.feature_cache.shards import Shard
from ranktag.features import engine
from ranktag.features.job import Job
from ranktag.features.machine import COMPUTE_DTYPES, for_all_machines
from ranktag.features.manifest import write_manifest
from ranktag.features.progress import ExtractionProgress


class Engine(engine.Engine):
    """Prepares the work of all workers, and does none of it."""

    def place(self, config: ExtractionConfig) -> tuple[int, int]:
        """All shards are to be in the manifest."""
        return 0, 1

    def prepare(self, job: Job, progress: ExtractionProgress) -> Job:
        """The job with the settings for all workers; ``device`` is theirs, so 'cuda' need not be here."""
        if job.config.worker_index is not None:
            raise Usage("--worker-index: --executor manifest is for all workers; --worker-count alone says how many")
        config = for_all_machines(job.config, gpus=(job.config.device or "").startswith("cuda"))
        return job.resolved(COMPUTE_DTYPES[config.precision], config=config)

    def execute(self, job: Job, pending: Sequence[Shard], progress: ExtractionProgress) -> None:
        """Write the manifest of ``job``; nothing is computed."""
        write_manifest(job, job.config.worker_count)
