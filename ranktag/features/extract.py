"""Stage one: photos to a cache of features.

The image list is cut into shards at fixed rows and a shard into batches at fixed
rows, so that neither an interruption nor the number of workers changes what is
computed together: the file is the same to the bit. Torch is imported when there is
something to compute; that a cache is finished is said without it.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ranktag import registry
from ranktag.config import ExtractionConfig
from ranktag.errors import RanktagError
from ranktag.feature_cache.joining import Joining
from ranktag.feature_cache.shards import cut, folder_of, join_locked, lock_alone, lock_as_worker, lock_of, remove
from ranktag.features.backbone import find_backbone
from ranktag.features.changes import look_at
from ranktag.features.engine import Engine
from ranktag.features.job import Done, Job
from ranktag.features.manifest import manifest_of
from ranktag.features.progress import ExtractionProgress, ExtractionReport
from ranktag.features.put import extract_to_url, put_kept
from ranktag.features.resume import finished_report, split_work, wanted_provenance
from ranktag.features.update import SETTLING, settle, settling
from ranktag.files.mirror import Mirror
from ranktag.images.listing import list_images
from ranktag.urls import is_url

if TYPE_CHECKING:
    from ranktag.features.network import Network

EXECUTORS = "ranktag.features.executors"


def extract_features(
    images: str | Path,
    output: str | Path,
    config: ExtractionConfig | None = None,
    progress: ExtractionProgress | None = None,
    *,
    network: Network | None = None,
    mirror: Mirror | None = None,
) -> ExtractionReport:
    """Bring the cache ``output`` up to date with ``images`` (see ``ranktag.images.listing.list_images``), or make it.

    What is done already is kept: whole shards, and of a finished cache the rows of the
    images whose files are as they were (see ``ranktag.features.changes``). An image that
    cannot be read is a failed row. With several workers each makes its own shards, which
    ``ranktag.feature_cache.shards.join_shards`` joins.
    output: a path, or an fsspec URL: then all is made in a copy on this machine, and every shard is put there as
    soon as it is verified. network: the network ``config`` describes, if it is loaded already. mirror: of such a
    copy, which ``output`` is then the path of.

    Raises RanktagError: bad input, a cache or shards made otherwise (named), more images gone
    than may be, another process at work on the same; Stopped after SIGINT or SIGTERM.
    """
    progress, config = progress or ExtractionProgress(), config or ExtractionConfig()
    if is_url(output):

        def extract(mirror: Mirror) -> ExtractionReport:
            return extract_features(images, mirror.path, config, progress, network=network, mirror=mirror)

        return extract_to_url(str(output), config.executor, progress, extract)
    with _engine(config) as engine:
        job = _job(engine, images, Path(output), config, network, progress)
        return _bring_up_to_date(engine, replace(job, mirror=mirror), progress)


def _engine(config: ExtractionConfig) -> AbstractContextManager[Engine]:
    """What computes the shards, for as long as it is needed."""
    engine: type[Engine] = registry.load(EXECUTORS, config.executor).Engine
    return engine.begin(config)


def _bring_up_to_date(engine: Engine, job: Job, progress: ExtractionProgress) -> ExtractionReport:
    left_out = job.listed.left_out
    for sentence in left_out:
        progress.note(sentence)
    if (report := finished_report(job)) is not None:
        _tidy(job.output)
        return replace(report, left_out=left_out)
    job = engine.prepare(job, progress)
    with lock_of(job.output) as lock:
        try:
            with settling(lock):
                # It may have been finished while the lock was waited for.
                if (report := finished_report(job)) is None:
                    job = settle(job, lock, progress)
                    (lock_alone if job.worker[1] == 1 else lock_as_worker)(job.output, lock)
            if report is None:
                return replace(_extract(engine, job, progress), left_out=left_out)
        except BaseException:
            # A call that fails before anything is done leaves no trace; other workers may be about to write there, and
            # another process may be the one at work.
            if job.worker[1] == 1 and not any(folder_of(job.output).glob("*.h5")) and lock.acquire(0, SETTLING + 1):
                remove(job.output)
            raise
    _tidy(job.output)
    return replace(report, left_out=left_out)


def _tidy(output: Path) -> None:
    """Remove what a process that was killed between joining and removing has left, unless somebody is at work on it."""
    if folder_of(output).is_dir():
        with lock_of(output) as lock:
            if lock.acquire(0, SETTLING + 1):
                remove(output)


def _job(
    engine: Engine,
    images: str | Path,
    output: Path,
    config: ExtractionConfig,
    network: Network | None,
    progress: ExtractionProgress,
) -> Job:
    """What is wanted, as far as it is known without torch."""
    if output.is_dir():
        raise RanktagError(f"{output}: is a folder; name the file to be written, say {output / 'features.h5'}")
    index, count = engine.place(config)
    backbone = find_backbone(config.backbone).with_crops(config.crops)
    layer = backbone.choose_layer(config.layer)
    listed = list_images(images, id_from=config.id_from, progress=progress)
    wanted = wanted_provenance(config, backbone, layer, listed)
    files = look_at(listed, content=config.verify_content, progress=progress)
    mine = cut(len(listed), config.shard_size)[index::count]
    return Job(listed, output, config, backbone, (index, count), mine, wanted, files, network=network)


def _extract(engine: Engine, job: Job, progress: ExtractionProgress) -> ExtractionReport:
    """What is left is computed by the engine; the last step of a worker who is alone is joining."""
    kept, pending = split_work(job, progress)
    put_kept(job, pending)
    job = replace(job, kept=kept)
    done: Done | None = Done()
    joined = None
    if pending:
        # Beside the computing, if that is done in this process.
        alone = job.worker[1] == 1
        with Joining(job.output, job.listed.ids, job.shards, pending) if alone else nullcontext() as joining:
            done = engine.execute(replace(job, joining=joining), pending, progress)
            if joining is not None:
                joined = joining.finish(progress)
    if done is None or job.worker[1] != 1:
        manifest = manifest_of(job.output) if done is None else None
        done = done or Done()
        failed = {**kept.failures, **done.failures}
        failures = [(job.listed.ids[row], failed[row]) for row in sorted(failed)]
        return ExtractionReport(
            job.output,
            len(job.listed),
            job.images,
            done.images,
            failures,
            done.seconds,
            None,
            job.worker,
            job.changes,
            manifest=manifest,
        )
    if joined is not None:
        remove(job.output)
    store = joined or join_locked(job.output, progress)
    failures = [(store.image_id[row], store.error[row]) for row in np.flatnonzero(~store.valid).tolist()]
    return ExtractionReport(
        job.output, len(store), len(store), done.images, failures, done.seconds, job.output, job.worker, job.changes
    )
