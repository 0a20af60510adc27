"""What is done already: a finished cache, or whole shards made as is asked for."""

from __future__ import annotations

import importlib.metadata
import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from ranktag.config import ExtractionConfig
from ranktag.errors import Mismatch, RanktagError
from ranktag.feature_cache.provenance import Provenance
from ranktag.feature_cache.shards import ALIKE, Shard, differences, folder_of, read_shard, shard_files
from ranktag.feature_cache.store import FeatureStore, open_features
from ranktag.feature_cache.verified import verified
from ranktag.features.backbone import Backbone
from ranktag.features.changes import Comparison, compare
from ranktag.features.job import Done, Job
from ranktag.features.machine import COMPUTE_DTYPES
from ranktag.features.progress import ExtractionProgress, ExtractionReport
from ranktag.features.weights import choose_weights
from ranktag.files.digest import sha256_file
from ranktag.images.listing import ImageList
from ranktag.version import __version__

# What must be alike for rows to lie in one cache.
MADE = tuple(name for name in ALIKE if name != "image_list_sha256")


def wanted_provenance(config: ExtractionConfig, backbone: Backbone, layer: str, listed: ImageList) -> Provenance:
    """The provenance of what is asked for, as far as it is known without torch; '' elsewhere."""
    weights = choose_weights(config.weights, backbone.published)
    wanted = Provenance(
        backbone=backbone.name,
        layer=layer,
        weights=weights.name,
        weights_sha256=sha256_file(weights.file) if weights.file else "",
        preprocessing=backbone.preprocessing.to_json(),
        compute_dtype=COMPUTE_DTYPES.get(config.precision, ""),
        image_list_sha256=listed.sha256(),
    )
    return versions_here(wanted)


def versions_here(provenance: Provenance) -> Provenance:
    """The same, made by what is installed here."""
    return replace(
        provenance,
        ranktag_version=__version__,
        torch_version=importlib.metadata.version("torch"),
        torchvision_version=importlib.metadata.version("torchvision"),
    )


def finished_report(job: Job) -> ExtractionReport | None:
    """The report of a cache that is there already and up to date; None if there is none, or there is something to do.

    Raises RanktagError for a cache that was made otherwise.
    """
    if not os.path.lexists(job.output) or job.config.overwrite:
        return None
    store = open_features(job.output)
    refuse_unlike(job.output, job, store)
    if not compare_with(job, [store]).up_to_date:
        return None
    rows = [row for shard in job.shards for row in range(shard.start, shard.stop)]
    failures = [(store.image_id[row], store.error[row]) for row in rows if not store.valid[row]]
    return ExtractionReport(job.output, len(store), len(rows), 0, failures, 0.0, job.output, job.worker)


def compare_with(job: Job, stores: Sequence[FeatureStore], fresh: int = 0) -> Comparison:
    """The job's images beside what is there, as its settings ask for."""
    content, retry = job.config.verify_content, job.config.retry_failed
    return compare(job.listed.ids, job.files, stores, content=content, retry_failed=retry, fresh=fresh)


def split_work(job: Job, progress: ExtractionProgress) -> tuple[Done, list[Shard]]:
    """What earlier runs have done of the job, and the shards that are left to do.

    Raises RanktagError for shards that were made otherwise or cut otherwise, unless they
    may be overwritten; those that are damaged are made again, and ``progress`` is told.
    """
    refuse_other_cut(job)
    images, sha256 = 0, job.kept.weights_sha256
    failures: dict[int, str] = {}
    pending = []
    known = verified(folder_of(job.output))
    for shard in job.shards:
        store = _whole_shard(job, shard, known, progress)
        if store is None:
            pending.append(shard)
            continue
        images += len(shard)
        sha256 = sha256 or store.provenance.weights_sha256
        failures.update((shard.start + row, store.error[row]) for row in np.flatnonzero(~store.valid).tolist())
    return Done(images, failures, sha256), pending


def refuse_other_cut(job: Job) -> None:
    """Shards of another number of shards are another run's, or this one's with another --shard-size."""
    count = job.shards[0].count if job.shards else 0
    for path in shard_files(folder_of(job.output)):
        if count and not path.name.endswith(f"-of-{count:05}.h5"):
            if not job.config.overwrite:
                raise Mismatch(
                    f"{path}: is not of {count} shards, as this run is cut; go on with the image list and "
                    "--shard-size of the run that made it, choose another output, or pass --overwrite"
                )
            path.unlink()


def _whole_shard(job: Job, shard: Shard, known: Mapping[str, str], progress: ExtractionProgress) -> FeatureStore | None:
    """The shard, if it is there, whole and made as asked for."""
    path = folder_of(job.output) / shard.name
    if not path.exists():
        return None
    try:
        store = read_shard(path, known)
    except RanktagError as error:
        progress.note(f"{error} (it is made again)")
        return None
    try:
        refuse_unlike(path, job, store)
    except RanktagError:
        if not job.config.overwrite:
            raise
        return None
    ids: Sequence[str] = job.listed.ids[shard.start : shard.stop]
    if int(store.attributes["row_start"]) != shard.start or list(store.image_id) != list(ids):
        progress.note(f"{path}: holds other images than its name says (it is made again)")
        return None
    return store


def refuse_unlike(path: Path, job: Job, store: FeatureStore) -> None:
    """Raise RanktagError for rows that were made otherwise than is asked for; of which images is another question."""
    unlike = differences(job.wanted, store.provenance, MADE)
    if store.features.dtype.name != job.config.dtype:
        unlike.append(f"dtype: '{job.config.dtype}' / '{store.features.dtype.name}'")
    if store.width != job.width:
        unlike.append(f"width: {job.width} / {store.width}")
    if unlike:
        raise Mismatch(
            f"{path}: was made otherwise (asked for / there: {'; '.join(unlike)}); "
            "choose another output, ask for the same, or pass --overwrite"
        )
