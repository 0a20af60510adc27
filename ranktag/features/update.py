"""Bringing a cache up to date: what holds of it is kept, the rest is a smaller job.

The finished cache stands until the new one is whole. What is kept, of it and of
shards of an interrupted run, is first written to ``kept.h5`` beside the shards (see
``ranktag.feature_cache.shards``), in one piece; only then are shards of other images
removed. So a process that is killed at any moment loses at most a shard's work.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace

import numpy as np

from ranktag.errors import Damaged, Locked, Mismatch, RanktagError
from ranktag.feature_cache.digest import content_sha256
from ranktag.feature_cache.gather import NOWHERE, write_gathered
from ranktag.feature_cache.provenance import utc_now
from ranktag.feature_cache.shards import (
    KEPT,
    PARTS,
    PENDING,
    cut,
    differences,
    folder_of,
    pending_rows,
    read_kept,
    read_shard,
    shard_files,
)
from ranktag.feature_cache.store import FeatureStore, open_features, open_own
from ranktag.features.changes import Changes, Comparison, refuse_removals
from ranktag.features.job import Done, Job
from ranktag.features.progress import ExtractionProgress
from ranktag.features.resume import MADE, compare_with, refuse_unlike
from ranktag.files.atomic import atomic_path
from ranktag.files.lock import FileLock
from ranktag.images.files import picked

# The part of the lock that is held while a process looks at what is there, behind those of the work itself.
SETTLING = PARTS

# Seconds that another process may need for it, comparing a hundred million images on a slow disk.
PATIENCE = 1800.0


@contextmanager
def settling(lock: FileLock) -> Iterator[None]:
    """Within, no other process decides what is kept; one that does is waited for. Raises Locked after half an hour."""
    until = time.monotonic() + PATIENCE
    while not lock.acquire(SETTLING):
        if time.monotonic() > until:
            raise Locked(
                f"{lock.path}: another process has looked at what is there for half an hour; wait for it (if its "
                "machine died and none is at work, remove this file)"
            )
        time.sleep(0.05)
    try:
        yield
    finally:
        lock.release(SETTLING)


def settle(job: Job, lock: FileLock, progress: ExtractionProgress) -> Job:
    """The job without what is done already; as it is, if the shards that are there are of its very images.

    Raises RanktagError for what was made otherwise, if more images are gone than may be, and if another process is
    at work on the images as they were.
    """
    shards = _shards_there(job)
    if job.config.overwrite:
        (folder_of(job.output) / KEPT).unlink(missing_ok=True)
        for shard in shards:
            if not _follows(job, shard):
                shard.path.unlink()
        return job
    base = read_kept(job.output)
    done = open_features(job.output) if os.path.lexists(job.output) else None
    earlier = [store for store in (base, done) if store is not None]
    if not earlier and all(_follows(job, shard) for shard in shards):
        return job
    for store in (*earlier, *shards):
        refuse_unlike(store.path, job, store)
    if base is not None and (remaining := _begun(job, base, done, shards)) is not None:
        progress.note(f"The update that was begun goes on: {remaining.changes}.")
        return remaining
    shards = [read_shard(shard.path) for shard in shards]
    found = compare_with(job, [*shards, *earlier], len(shards))
    if not job.config.allow_removals:
        refuse_removals(found.changes, job.listed.folder, job.output)
    _say(found.changes, done, progress)
    return _remaining(job, _keep(job, lock, shards, earlier, found), found.changes)


def _shards_there(job: Job) -> list[FeatureStore]:
    """The shards that can be opened; damaged ones are for those who make them again to tell of."""
    stores = []
    for path in shard_files(folder_of(job.output)):
        with suppress(RanktagError):
            stores.append(open_features(path))
    return [store for store in stores if "row_start" in store.attributes]


def _follows(job: Job, shard: FeatureStore) -> bool:
    """Whether a shard holds rows of the job's list, and the files are still those that they were computed of."""
    start, count = int(shard.attributes["row_start"]), int(shard.attributes["row_count"])
    rows = range(start, start + len(shard))
    if count != len(job.listed) or shard.provenance.image_list_sha256 != job.wanted.image_list_sha256:
        return False
    if list(job.listed.ids[rows.start : rows.stop]) != list(shard.image_id):
        return False
    ours = replace(job, listed=picked(job.listed, np.array(rows)), files=job.files.take(rows))
    return bool((compare_with(ours, [shard], 1).source != NOWHERE).all())


def _begun(job: Job, base: FeatureStore, done: FeatureStore | None, shards: Sequence[FeatureStore]) -> Job | None:
    """What remains of the update that ``base`` was kept for; None if its images are not those of the job."""
    if list(base.image_id) != list(job.listed.ids):
        return None
    pending = pending_rows(base)
    held = compare_with(job, [base])
    if np.flatnonzero(held.source == NOWHERE).tolist() != pending or not held.as_recorded:
        return None
    found = compare_with(job, [base] if done is None else [base, done])
    remaining = _remaining(job, base, found.changes)
    return remaining if all(_follows(remaining, shard) for shard in shards) else None


def _remaining(job: Job, base: FeatureStore, changes: Changes) -> Job:
    """The job of the images that ``base`` lacks."""
    rows = np.array(pending_rows(base), np.int64)
    index, count = job.worker
    return replace(
        job,
        listed=picked(job.listed, rows),
        files=job.files.take(rows),
        shards=cut(len(rows), job.config.shard_size)[index::count],
        kept=Done(weights_sha256=base.provenance.weights_sha256),
        changes=changes,
    )


def _say(changes: Changes, done: FeatureStore | None, progress: ExtractionProgress) -> None:
    if changes.unknown:
        progress.note(
            f"{changes.unknown:,} rows are of an earlier ranktag, which did not write down of which files: "
            "they are kept, and from now on changes are seen (--verify-content computes them again)"
        )
    if done is None:
        progress.note(
            f"The images have changed since this run was begun: {len(changes.kept):,} are done and kept, "
            f"{len(changes.changed):,} changed, {len(changes.gone):,} gone, "
            f"{len(changes.new):,} new or not reached yet"
        )
    else:
        progress.note(f"{changes}.")


def _keep(
    job: Job, lock: FileLock, shards: Sequence[FeatureStore], earlier: Sequence[FeatureStore], found: Comparison
) -> FeatureStore:
    """Write what holds of ``shards`` and ``earlier`` to ``kept.h5``, and remove the shards; returned is what is kept.

    Raises RanktagError if another process is at work, or something is damaged.
    """
    if not lock.acquire(0, SETTLING):
        raise Locked(
            f"{job.output}: the images have changed while another process is at work on it; "
            "wait for it, then run the same command again"
        )
    stores = [*shards, *earlier]
    provenance = stores[-1].provenance
    for store in stores:
        if unlike := differences(provenance, store.provenance, MADE):
            raise Mismatch(f"{store.path}: was made otherwise than {stores[-1].path} ({'; '.join(unlike)})")
    for store in earlier:
        if "content_sha256" in store.attributes and content_sha256(store) != store.attributes["content_sha256"]:
            raise Damaged(
                f"{store.path}: damaged: its content is not what was written; see 'ranktag inspect', "
                "and compute it again with --overwrite"
            )
    path = folder_of(job.output) / KEPT
    provenance = replace(provenance, image_list_sha256=job.wanted.image_list_sha256, created=utc_now())
    with atomic_path(path) as temporary:
        where = (found.source, found.row)
        write_gathered(
            temporary, job.listed.ids, stores, *where, provenance, files=found.files, missing=PENDING
        )  # fmt: skip
    for shard in shards:
        shard.path.unlink()
    lock.release(0, SETTLING)
    return open_own(path)
