"""Computing shards here: images decoded ahead, the network, and every shard written as soon as it is full."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from ranktag.errors import Mismatch, Outage
from ranktag.feature_cache.shards import Shard, folder_of
from ranktag.features.job import Done, Job
from ranktag.features.machine import choose_batch_size, choose_workers, device_of
from ranktag.features.progress import ExtractionProgress
from ranktag.features.shard_writer import ShardWriter
from ranktag.features.signals import signals_received, stopped
from ranktag.images.batches import Batch, read_batches
from ranktag.urls import is_url

if TYPE_CHECKING:
    import torch

    from ranktag.features.network import Network

# After so many batches freed memory goes back to the system. To get it again takes a fifth of a second: with two cores,
# once a minute.
BATCHES_KEPT = 64


def compute_shards(job: Job, shards: Sequence[Shard], progress: ExtractionProgress) -> Done:
    """Compute and write ``shards``, some of the job's.

    Raises RanktagError for weights that cannot be had or are not those of shards that are
    there, and where images or the output have vanished; Stopped after SIGINT or SIGTERM.
    """
    device = device_of(job.config)
    batch_size, workers = choose_batch_size(job.config, device), choose_workers(job.config, device)
    rows = batch_rows(shards, batch_size)
    preprocessing, on_cpu = job.backbone.preprocessing, device.type == "cpu"
    # Decoding starts, in processes forked while this one is small, before the network is loaded.
    with read_batches(job.listed, rows, batch_size, workers, preprocessing, in_turn=on_cpu, digests=True) as batches:
        network = job.network or _load(job, device)
        _refuse_other_weights(job, network)
        if job.joining is not None:
            job.joining.start()
        progress.start(job.plan(len(shards), str(device), batch_size, workers))
        began = time.monotonic()
        writer = ShardWriter(job, shards, replace(job.wanted, weights_sha256=network.weights_sha256))
        try:
            with writer:
                _compute(job, shards, network, batches, writer, progress)
        finally:
            progress.finish()
    return Done(writer.images, writer.failures, network.weights_sha256, time.monotonic() - began)


def batch_rows(shards: Sequence[Shard], batch_size: int) -> list[tuple[int, int]]:
    """(start, stop) of every batch: shards are cut at fixed rows, so what is computed together is always the same."""
    return [
        (start, min(start + batch_size, shard.stop))
        for shard in shards
        for start in range(shard.start, shard.stop, batch_size)
    ]


def _load(job: Job, device: torch.device) -> Network:
    from ranktag.features.network import load_network

    config = job.config
    return load_network(job.backbone, job.wanted.layer, config.weights, device=device, precision=config.precision)


def _refuse_other_weights(job: Job, network: Network) -> None:
    ours, theirs = network.weights_sha256, job.kept.weights_sha256
    if theirs and theirs != ours:
        raise Mismatch(
            f"{folder_of(job.output)}: its shards were made otherwise (weights_sha256: '{ours}' / '{theirs}'); "
            "choose another output, ask for the same weights, or pass --overwrite"
        )


def _compute(
    job: Job,
    shards: Sequence[Shard],
    network: Network,
    batches: Iterator[Batch],
    writer: ShardWriter,
    progress: ExtractionProgress,
) -> None:
    from ranktag.compute.allocator import give_back_memory, kept_memory

    with kept_memory(), signals_received() as received:
        looked_at = _looked_at(batches, progress, received)
        # A shard's features are the same whatever was computed before it.
        computed = network.features_of(looked_at, {shard.stop for shard in shards})
        for number, (batch, features) in enumerate(computed, 1):
            failures = failures_of(job, batch, features)
            if len(failures) > len(batch.errors):
                progress.batch(0, len(failures) - len(batch.errors))
            writer.add(batch, features, failures)
            if received and not writer.complete:
                writer.wait()
                raise stopped(received[0], job, writer.images)
            if number % BATCHES_KEPT == 0:
                give_back_memory()


def _looked_at(batches: Iterator[Batch], progress: ExtractionProgress, received: Sequence[int]) -> Iterator[Batch]:
    """The batches; each is told of when the network, which may compute several together, has had it.

    After a signal there are no more.
    """
    for batch in batches:
        yield batch
        progress.batch(batch.stop - batch.start, len(batch.errors))
        if received:
            return


def failures_of(job: Job, batch: Batch, features: npt.NDArray[np.float32]) -> dict[int, str]:
    """Row in the image list -> reason, of the batch's images that have no feature.

    Raises RanktagError if the images have vanished.
    """
    failures = dict(batch.errors)
    if len(failures) == batch.stop - batch.start and not _is_there(job.listed.folder):
        raise Outage(
            f"{job.listed.folder}: has vanished while its images were read; what is done is kept: "
            "bring it back and run the same command again"
        )
    dtype = job.config.dtype
    largest = np.abs(features).max(axis=1)
    for place in np.flatnonzero(~(largest <= np.finfo(dtype).max)):
        row = batch.start + int(place)
        if row >= batch.stop or row in failures:
            continue
        if np.isfinite(largest[place]):
            failures[row] = (
                f"its largest activation, {largest[place]:.6g}, does not fit {dtype}; store float32 (--dtype float32)"
            )
        else:
            failures[row] = (
                f"the network, computed in {job.wanted.compute_dtype}, gave numbers that are not finite; "
                "try --precision fp32"
            )
    return failures


def _is_there(folder: Path | str) -> bool:
    """Whether a folder exists and holds anything: the place where a disk was mounted is an empty one."""
    if is_url(folder):
        # A server that is not there has been told from images that are not.
        return True
    try:
        with os.scandir(folder) as entries:
            return next(entries, None) is not None
    except OSError:
        return False
