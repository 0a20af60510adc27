"""Writes the manifest of the shards; whoever is given it computes them: a Slurm array, srun, Kubernetes."""

from __future__ import annotations

from collections.abc import Sequence

from ranktag.config import ExtractionConfig
from ranktag.errors import Usage
from ranktag.feature_cache.shards import Shard
from ranktag.features.job import Job
from ranktag.features.machine import for_all_machines
from ranktag.features.manifest import write_manifest
from ranktag.features.progress import ExtractionProgress


def prepare(job: Job, progress: ExtractionProgress) -> tuple[ExtractionConfig, str]:
    """The settings for all workers; ``device`` is theirs, so 'cuda' need not be here."""
    config = job.config
    if config.worker_index is not None:
        raise Usage("--worker-index: --executor manifest is for all workers; --worker-count alone says how many")
    return for_all_machines(config, gpus=(config.device or "").startswith("cuda")), job.wanted.weights_sha256


def execute(job: Job, pending: Sequence[Shard], progress: ExtractionProgress) -> None:
    """Write the manifest of ``job``; nothing is computed."""
    write_manifest(job, job.config.worker_count)
