"""Shards on their way to the disk, while later ones are computed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Any

import numpy as np
import numpy.typing as npt

from ranktag.feature_cache.provenance import Provenance
from ranktag.feature_cache.shards import Shard, write_shard
from ranktag.feature_cache.store import FeatureStore
from ranktag.features.job import Job
from ranktag.features.put import put_shard
from ranktag.images.batches import Batch


class ShardWriter:
    """Collects features batch by batch; a shard that is full is written by a thread, while the next one is computed.

    images: how many are written. failures: row in the image list -> reason, of them. Left as a context, it waits for
    what is being written.
    """

    def __init__(self, job: Job, shards: Sequence[Shard], provenance: Provenance) -> None:
        self.images = 0
        self.failures: dict[int, str] = {}
        self._job, self._provenance = job, provenance
        self._pending = list(reversed(shards))
        self._thread = ThreadPoolExecutor(1, "writing")
        self._writing: Future[None] | None = None
        self._make_room()

    def __enter__(self) -> ShardWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self.wait()
        except Exception:
            # What went wrong first is what is told.
            if error is None:
                raise
        finally:
            self._thread.shutdown()

    @property
    def complete(self) -> bool:
        """Whether every shard is full."""
        return not self._pending

    def wait(self) -> None:
        """Until what is full is written. Raises what went wrong with it."""
        writing, self._writing = self._writing, None
        if writing is not None:
            writing.result()

    def _make_room(self) -> None:
        """Make room for the next shard."""
        rows = len(self._pending[-1]) if self._pending else 0
        self._features: npt.NDArray[Any] = np.empty((rows, self._job.width), self._job.config.dtype)
        self._errors, self._sha256 = [""] * rows, [""] * rows

    def add(self, batch: Batch, features: npt.NDArray[np.float32], failures: Mapping[int, str]) -> None:
        """Take the batch's (B, D) features. failures: row in the image list -> reason."""
        shard = self._pending[-1]
        with np.errstate(over="ignore"):
            self._features[batch.start - shard.start : batch.stop - shard.start] = features[: batch.stop - batch.start]
        for row, digest in batch.sha256.items():
            self._sha256[row - shard.start] = digest
        for row, reason in failures.items():
            self._features[row - shard.start] = np.nan
            self._errors[row - shard.start] = reason
        if batch.stop == shard.stop:
            # One at a time, or what waits would grow where the disk is slower than the network.
            self.wait()
            self._writing = self._thread.submit(self._write, shard, self._features, self._errors, self._sha256)
            self._pending.pop()
            self._make_room()

    def _write(self, shard: Shard, features: npt.NDArray[Any], errors: Sequence[str], sha256: Sequence[str]) -> None:
        job = self._job
        ids = job.listed.ids[shard.start : shard.stop]
        files = job.files.take(range(shard.start, shard.stop)).with_sha256(sha256)

        def write() -> FeatureStore:
            return write_shard(job.output, shard, ids, features, errors, self._provenance, len(job.listed), files)

        try:
            written = write()
        except OSError:
            # What is joined already takes room on the disk, which the shards need more.
            if job.joining is None or not job.joining.abandon():
                raise
            written = write()
        put_shard(job, shard)
        if job.joining is not None:
            job.joining.add(shard, written)
        self.images += len(shard)
        self.failures.update((shard.start + row, error) for row, error in enumerate(errors) if error)
