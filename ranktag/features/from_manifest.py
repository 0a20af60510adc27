"""A worker's part of an extraction that was listed by somebody else: shards of a manifest."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from ranktag.config import ExtractionConfig
from ranktag.errors import Mismatch, Usage
from ranktag.feature_cache.provenance import Provenance
from ranktag.feature_cache.shards import Shard, differences, lock_as_worker, lock_of
from ranktag.features.canary import refuse_blind_machine
from ranktag.features.compute_shards import compute_shards
from ranktag.features.job import Done, Job
from ranktag.features.manifest import Manifest, open_manifest
from ranktag.features.place import choose_worker
from ranktag.features.progress import ExtractionProgress, ExtractionReport
from ranktag.features.resume import split_work, versions_here

if TYPE_CHECKING:
    from ranktag.features.network import Network


def extract_from_manifest(
    manifest: str | Path,
    shards: str | None = None,
    config: ExtractionConfig | None = None,
    progress: ExtractionProgress | None = None,
) -> ExtractionReport:
    """Compute what is missing of some shards of a manifest: several numbers, '3' or '0-7,12', or this worker's.

    config: of it, device, workers, worker_index and worker_count are looked at; where it says
    nothing, the place among the workers is taken from the environment (see
    ``ranktag.features.place``). Two workers with the same shards do no harm.

    Raises RanktagError: no manifest, a place that cannot be known, a machine that does not see
    the photos or has other versions or weights, somebody who is joining.
    """
    opened, config, progress = open_manifest(manifest), config or ExtractionConfig(), progress or ExtractionProgress()
    if shards is None:
        index, count = choose_worker(config, os.environ, opened.workers)
        job = opened.job(opened.shards[index::count], config, (index, count))
    else:
        job = opened.job(parse_shards(shards, opened.shards), config, (0, 1))
    with lock_of(job.output) as lock:
        lock_as_worker(job.output, lock)
        kept, done = compute_missing(opened, job, progress)
    failed = {**kept.failures, **done.failures}
    failures = [(job.listed.ids[row], failed[row]) for row in sorted(failed)]
    return ExtractionReport(
        job.output, len(job.listed), job.images, done.images, failures, done.seconds, None, job.worker
    )


def compute_missing(
    manifest: Manifest, job: Job, progress: ExtractionProgress, network_of: Callable[[Job], Network] | None = None
) -> tuple[Done, Done]:
    """Compute the job's shards that are not there; returned is what was done before, and what now.

    network_of: gives the network if there is something to compute; None: it is loaded for this.
    """
    refuse_other_versions(manifest.wanted, str(manifest.path))
    job = replace(job, wanted=versions_here(job.wanted))
    kept, pending = split_work(job, progress)
    if not pending:
        return kept, Done()
    refuse_blind_machine(job, pending)
    if network_of is not None:
        job = replace(job, network=network_of(job))
    return kept, compute_shards(job, pending, progress)


def parse_shards(text: str, shards: Sequence[Shard]) -> list[Shard]:
    """The shards that '0-7,12' names, in order. Raises RanktagError for what is no such text, or not there."""
    if not re.fullmatch(r"[0-9]+(-[0-9]+)?(,[0-9]+(-[0-9]+)?)*", text):
        raise Usage(f"--shards {text}: write numbers and ranges of shards, '3' or '0-7,12'")
    numbers: set[int] = set()
    for part in text.split(","):
        first, _, last = part.partition("-")
        if not int(first) <= int(last or first) < len(shards):
            raise Usage(f"--shards {part}: the shards are numbered from 0 to {len(shards) - 1}, first to last")
        numbers.update(range(int(first), int(last or first) + 1))
    return [shards[number] for number in sorted(numbers)]


def refuse_other_versions(wanted: Provenance, asked_by: str) -> None:
    """Raise Mismatch if this machine makes features of other versions than ``asked_by`` says."""
    if unlike := differences(wanted, versions_here(wanted), ()):
        raise Mismatch(
            f"{asked_by}: this machine has other versions (asked for / here: {'; '.join(unlike)}); "
            "install the same on all"
        )
