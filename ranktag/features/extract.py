"""Stage one: photos to a cache of features.

The image list is cut into shards at fixed rows and a shard into batches at fixed
rows, so that neither an interruption nor the number of workers changes what is
computed together: the file is the same to the bit. Torch is imported when there is
something to compute; that a cache is finished is said without it.
"""

from __future__ import annotations

import dataclasses
import importlib.metadata
import json
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from ranktag.config import ExtractionConfig
from ranktag.errors import RanktagError
from ranktag.feature_cache.provenance import Provenance
from ranktag.feature_cache.shards import (
    Shard,
    cut,
    differences,
    folder_of,
    join_locked,
    lock_of,
    read_shard,
    remove,
    write_shard,
)
from ranktag.feature_cache.store import FEATURE_DIM, FeatureStore, open_features
from ranktag.features.weights import IMAGENET, choose_weights
from ranktag.files.digest import sha256_file
from ranktag.images.batches import Batch, read_batches
from ranktag.images.listing import ImageList, list_images
from ranktag.images.pixels import PREPROCESSING
from ranktag.version import __version__

if TYPE_CHECKING:
    import torch

    from ranktag.features.backbone import Backbone


# Measured: on two cores 8 and 16 images are alike and 64 is slower; a GPU needs more to be busy.
BATCH_SIZE = {"cpu": 16, "cuda": 256, "mps": 32}


MOST_WORKERS = 16


COMPUTE_DTYPES = {"fp32": "float32", "bf16": "bfloat16", "fp16": "float16"}


@dataclass(frozen=True)
class Plan:
    """What a run is about to do. Counts are of this worker's images; ``total`` is the whole list."""

    output: Path
    total: int
    images: int
    done: int
    failed: int
    shards: int
    device: str
    compute_dtype: str
    batch_size: int
    workers: int
    worker: tuple[int, int]


class Progress:
    """Told what a run is doing; does nothing with it."""

    def note(self, text: str) -> None:
        """Something the user should know."""

    def start(self, plan: Plan) -> None:
        """Computing begins."""

    def batch(self, images: int, failures: int) -> None:
        """So many more images are computed, so many of which failed."""

    def finish(self) -> None:
        """Computing has ended, one way or the other."""


@dataclass(frozen=True)
class ExtractionReport:
    """What a run did.

    images: this worker's. computed: of them, now. failures: (image id, reason) of
    this worker's images, whenever they were computed. seconds: of computing.
    cache: the joined file; None while other workers' shards are to be joined.
    """

    output: Path
    total: int
    images: int
    computed: int
    failures: Sequence[tuple[str, str]]
    seconds: float
    cache: Path | None
    worker: tuple[int, int] = (0, 1)


class Stopped(RanktagError):
    """SIGINT or SIGTERM came; the exit code is the shell's for it."""

    def __init__(self, number: int, message: str) -> None:
        super().__init__(message)
        self.exit_code = 128 + number


def extract_features(
    images: Path,
    output: Path,
    config: ExtractionConfig | None = None,
    progress: Progress | None = None,
    *,
    backbone: Backbone | None = None,
) -> ExtractionReport:
    """Write the features of ``images`` (see ``ranktag.images.listing.list_images``) to the cache ``output``.

    What an earlier run of the same call has done is kept: whole shards, or the
    finished cache. An image that cannot be read is a failed row. With several
    workers each makes its own shards, which ``ranktag.feature_cache.shards.join_shards`` joins.
    backbone: the network ``config`` describes, if it is loaded already.

    Raises RanktagError: bad input, a cache or shards made otherwise (named), another
    process at work on the same; Stopped after SIGINT or SIGTERM.
    """
    output, config, progress = Path(output), config or ExtractionConfig(), progress or Progress()
    if output.is_dir():
        raise RanktagError(f"{output}: is a folder; name the file to be written, say {output / 'features.h5'}")
    worker = choose_worker(config, os.environ)
    listed = list_images(Path(images))
    wanted = _wanted(config, listed)
    shards = cut(len(listed), config.shard_size)
    if (report := _finished(output, wanted, config, worker, shards)) is not None:
        return report
    mine = shards[worker[0] :: worker[1]]
    with lock_of(output) as lock:
        for shard in mine:
            if not lock.acquire(shard.number):
                raise RanktagError(
                    f"{output}: another process is at work on it (shard {shard.number} of {shard.count}); wait for it, "
                    "or share the work with --worker-index and --worker-count"
                )
        # It may have been finished while the lock was waited for.
        if (report := _finished(output, wanted, config, worker, shards)) is not None:
            remove(output)
            return report
        try:
            run = _Run(listed, output, config, wanted, mine, worker, progress, backbone)
            run.compute()
        except BaseException:
            # A call that fails before anything is done leaves no trace; other workers may be about to write there.
            if worker[1] == 1 and not any(folder_of(output).glob("*.h5")):
                remove(output)
            raise
        cache = None
        if worker[1] == 1:
            join_locked(output)
            cache = output
        failures = [(listed.ids[row], run.failures[row]) for row in sorted(run.failures)]
        return ExtractionReport(output, len(listed), run.images, run.computed, failures, run.seconds, cache, worker)


def features_like(
    provenance: Provenance, paths: Sequence[Path], *, weights: str | None = None, config: ExtractionConfig | None = None
) -> Iterator[tuple[npt.NDArray[np.float32], list[str]]]:
    """Features of the images at ``paths``, made as those of a cache were, in memory: ((B, 4096), B reasons) a batch, in order.

    A row with a reason (why the image could not be read) is NaN. weights: where they
    are, if ``provenance`` names a file. config: device, precision, batch size and
    workers.

    Raises RanktagError if the features were made by something else than ranktag's
    networks, in another way, or with weights of another SHA-256.
    """
    config = config or ExtractionConfig()
    if provenance.backbone not in IMAGENET or not provenance.layer:
        raise RanktagError(
            f"the features are of {provenance.backbone}, which ranktag cannot compute; write them with ranktag.cache_features and use export-tags"
        )
    if provenance.preprocessing != json.dumps(PREPROCESSING):
        raise RanktagError(
            f"the features were made of images prepared otherwise ({provenance.preprocessing}); extract them again with this ranktag and train on them"
        )
    if weights is None:
        weights = provenance.weights
        if weights != IMAGENET[provenance.backbone] and not weights.startswith("random:"):
            raise RanktagError(
                f"the features were made with the weights '{weights}'; say where they are with --weights FILE"
            )

    from ranktag.features.backbone import load_backbone

    backbone = load_backbone(
        provenance.backbone,
        provenance.layer,
        weights,
        device=config.device,
        precision=config.precision,
        expected_sha256=provenance.weights_sha256,
    )
    images = ImageList.of(Path(), [str(number) for number in range(len(paths))], [os.fsencode(path) for path in paths])
    batch_size = choose_batch_size(config, backbone.device)
    rows = [(start, min(start + batch_size, len(paths))) for start in range(0, len(paths), batch_size)]
    # A handful of photos is decoded sooner than processes are started.
    workers = 0 if len(paths) <= batch_size else choose_workers(config, backbone.device)
    with read_batches(images, rows, batch_size, workers, yielding=backbone.device.type == "cpu") as batches:
        for batch, computed in backbone.features_of(batches):
            features = computed[: batch.stop - batch.start].copy()
            reasons = [batch.errors.get(number, "") for number in range(batch.start, batch.stop)]
            features[[bool(reason) for reason in reasons]] = np.nan
            yield features, reasons


def choose_worker(config: ExtractionConfig, environment: Mapping[str, str]) -> tuple[int, int]:
    """(index, count) of this worker: as set, else from torchrun's and Slurm's array variables, else (0, 1).

    torchrun within the tasks of a Slurm array: every process of every task is a worker.
    """
    index, count = config.worker_index, config.worker_count
    if (index is None) != (count is None):
        raise RanktagError("--worker-index and --worker-count belong together; give both or neither")
    if index is None or count is None:
        index, count = 0, 1
        if "SLURM_ARRAY_TASK_ID" in environment and "SLURM_ARRAY_TASK_COUNT" in environment:
            first, step = (
                _integer(environment, "SLURM_ARRAY_TASK_MIN", 0),
                max(1, _integer(environment, "SLURM_ARRAY_TASK_STEP", 1)),
            )
            index, count = (
                (_integer(environment, "SLURM_ARRAY_TASK_ID", 0) - first) // step,
                _integer(environment, "SLURM_ARRAY_TASK_COUNT", 1),
            )
            if not 0 <= index < count:
                raise RanktagError(
                    f"this is task {environment['SLURM_ARRAY_TASK_ID']} of a Slurm array of {count} that is not evenly spaced; "
                    "give --worker-index and --worker-count"
                )
        if "RANK" in environment and "WORLD_SIZE" in environment:
            world = _integer(environment, "WORLD_SIZE", 1)
            index, count = index * world + _integer(environment, "RANK", 0), count * world
    if not 0 <= index < count:
        raise RanktagError(f"worker index {index} is not below the worker count {count}; workers are numbered from 0")
    return index, count


def _integer(environment: Mapping[str, str], name: str, default: int) -> int:
    text = environment.get(name, str(default))
    try:
        return int(text)
    except ValueError:
        raise RanktagError(
            f"the environment variable {name} is '{text}', not a whole number; unset it or give --worker-index and --worker-count"
        ) from None


def _wanted(config: ExtractionConfig, listed: ImageList) -> Provenance:
    """The provenance of what is asked for, as far as it is known without torch; '' elsewhere."""
    weights = choose_weights(config.weights, config.backbone)
    return Provenance(
        backbone=config.backbone,
        layer=config.layer,
        weights=weights.name,
        weights_sha256=sha256_file(weights.file) if weights.file else "",
        preprocessing=json.dumps(PREPROCESSING),
        compute_dtype=COMPUTE_DTYPES.get(config.precision, ""),
        image_list_sha256=listed.sha256(),
        ranktag_version=__version__,
        torch_version=importlib.metadata.version("torch"),
        torchvision_version=importlib.metadata.version("torchvision"),
    )


def _finished(
    output: Path, wanted: Provenance, config: ExtractionConfig, worker: tuple[int, int], shards: Sequence[Shard]
) -> ExtractionReport | None:
    """The report of a cache that is there already; None if there is none, or it is to be replaced."""
    if not os.path.lexists(output) or config.overwrite:
        return None
    store = open_features(output)
    _refuse_unlike(output, wanted, store, config)
    rows = [row for shard in shards[worker[0] :: worker[1]] for row in range(shard.start, shard.stop)]
    failures = [(store.image_id[row], store.error[row]) for row in rows if not store.valid[row]]
    return ExtractionReport(output, len(store), len(rows), 0, failures, 0.0, output, worker)


def _refuse_unlike(path: Path, wanted: Provenance, store: FeatureStore, config: ExtractionConfig) -> None:
    unlike = differences(wanted, store.provenance)
    if store.features.dtype.name != config.dtype:
        unlike.append(f"dtype: '{config.dtype}' / '{store.features.dtype.name}'")
    if unlike:
        raise RanktagError(
            f"{path}: was made otherwise (asked for / there: {'; '.join(unlike)}); choose another output, ask for the same, or pass --overwrite"
        )


class _Run:
    """One worker's shards: those that are there, and computing the others."""

    def __init__(
        self,
        listed: ImageList,
        output: Path,
        config: ExtractionConfig,
        wanted: Provenance,
        mine: Sequence[Shard],
        worker: tuple[int, int],
        progress: Progress,
        backbone: Backbone | None,
    ) -> None:
        from ranktag.compute.device import choose_device, choose_dtype

        self.listed, self.output, self.config, self.worker, self.progress = listed, output, config, worker, progress
        self.backbone = backbone
        self.images = sum(shard.stop - shard.start for shard in mine)
        self.computed = 0
        self.seconds = 0.0
        self.failures: dict[int, str] = {}  # row in the list -> reason
        self.device = choose_device(config.device or _local_device(os.environ))
        dtype = str(choose_dtype(config.precision, self.device)).removeprefix("torch.")
        self.wanted = dataclasses.replace(wanted, compute_dtype=dtype)
        self.kept_sha256 = ""
        self._refuse_other_cut(mine)
        self.pending = [shard for shard in mine if not self._keep(shard)]

    def _refuse_other_cut(self, mine: Sequence[Shard]) -> None:
        """Shards of another number of shards are another run's, or this one's with another --shard-size."""
        for path in sorted(folder_of(self.output).glob("*.h5")):
            if mine and not path.name.endswith(f"-of-{mine[0].count:05}.h5"):
                if not self.config.overwrite:
                    raise RanktagError(
                        f"{path}: is not of {mine[0].count} shards, as this run is cut; go on with the image list and --shard-size of the run "
                        "that made it, choose another output, or pass --overwrite"
                    )
                path.unlink()

    def _keep(self, shard: Shard) -> bool:
        """Whether the shard is there, whole and made as asked for."""
        path = folder_of(self.output) / shard.name
        if not path.exists():
            return False
        try:
            store = read_shard(path)
        except RanktagError as error:
            self.progress.note(f"{error} (it is made again)")
            return False
        try:
            _refuse_unlike(path, self.wanted, store, self.config)
        except RanktagError:
            if not self.config.overwrite:
                raise
            return False
        ids = self.listed.ids[shard.start : shard.stop]
        if int(store.attributes["row_start"]) != shard.start or list(store.image_id) != list(ids):
            self.progress.note(f"{path}: holds other images than its name says (it is made again)")
            return False
        self.kept_sha256 = self.kept_sha256 or store.provenance.weights_sha256
        self.failures.update((shard.start + row, store.error[row]) for row in np.flatnonzero(~store.valid).tolist())
        return True

    def compute(self) -> None:
        """Compute and write the pending shards."""
        if not self.pending:
            return
        config = self.config
        batch_size = choose_batch_size(config, self.device)
        workers = choose_workers(config, self.device)
        rows = [
            (a, min(a + batch_size, shard.stop))
            for shard in self.pending
            for a in range(shard.start, shard.stop, batch_size)
        ]
        # Decoding starts, in processes forked while this one is small, before the network is loaded.
        with read_batches(self.listed, rows, batch_size, workers, yielding=self.device.type == "cpu") as batches:
            backbone = self._load()
            done = self.images - sum(shard.stop - shard.start for shard in self.pending)
            self.progress.start(
                Plan(
                    self.output,
                    len(self.listed),
                    self.images,
                    done,
                    len(self.failures),
                    len(self.pending),
                    str(self.device),
                    self.wanted.compute_dtype,
                    batch_size,
                    workers,
                    self.worker,
                )
            )
            began = time.monotonic()
            try:
                with _signals() as received:
                    self._compute(backbone.features_of(batches), received)
            finally:
                self.seconds = time.monotonic() - began
                self.progress.finish()

    def _load(self) -> Backbone:
        from ranktag.features.backbone import load_backbone

        config = self.config
        backbone = self.backbone or load_backbone(
            config.backbone, config.layer, config.weights, device=self.device, precision=config.precision
        )
        if self.kept_sha256 and self.kept_sha256 != backbone.weights_sha256:
            raise RanktagError(
                f"{folder_of(self.output)}: its shards were made otherwise (weights_sha256: '{backbone.weights_sha256}' / '{self.kept_sha256}'); "
                "choose another output, ask for the same weights, or pass --overwrite"
            )
        self.wanted = dataclasses.replace(self.wanted, weights_sha256=backbone.weights_sha256)
        return backbone

    def _compute(self, results: Iterator[tuple[Batch, npt.NDArray[np.float32]]], received: list[int]) -> None:
        pending = iter(self.pending)
        shard = next(pending)
        features, errors = self._empty(shard)
        for batch, computed in results:
            place = slice(batch.start - shard.start, batch.stop - shard.start)
            reasons = self._reasons(batch, computed)
            with np.errstate(over="ignore"):
                features[place] = computed[: batch.stop - batch.start]
            for number, reason in reasons.items():
                features[number - shard.start] = np.nan
                errors[number - shard.start] = reason
            self.progress.batch(batch.stop - batch.start, len(reasons))
            if batch.stop == shard.stop:
                self._write(shard, features, errors)
                if batch.stop == self.pending[-1].stop:
                    return
                shard = next(pending)
                features, errors = self._empty(shard)
            if received:
                done = self.images - sum(s.stop - s.start for s in self.pending) + self.computed
                raise Stopped(
                    received[0],
                    f"stopped by {signal.Signals(received[0]).name}: {done:,} of {self.images:,} images are done and kept in "
                    f"{folder_of(self.output)}; the same command goes on from there",
                )

    def _empty(self, shard: Shard) -> tuple[npt.NDArray[Any], list[str]]:
        rows = shard.stop - shard.start
        return np.empty((rows, FEATURE_DIM), self.config.dtype), [""] * rows

    def _reasons(self, batch: Batch, computed: npt.NDArray[np.float32]) -> dict[int, str]:
        """Number -> reason of the batch's images that have no feature."""
        reasons = dict(batch.errors)
        if len(reasons) == batch.stop - batch.start and not _is_there(self.listed.folder):
            raise RanktagError(
                f"{self.listed.folder}: has vanished while its images were read; what is done is kept: bring it back and run the same command again"
            )
        largest = np.abs(computed).max(axis=1)
        for place in np.flatnonzero(~(largest <= np.finfo(self.config.dtype).max)):
            number = batch.start + int(place)
            if number < batch.stop and number not in reasons:
                if np.isfinite(largest[place]):
                    reasons[number] = (
                        f"its largest activation, {largest[place]:.6g}, does not fit {self.config.dtype}; store float32 (--dtype float32)"
                    )
                else:
                    reasons[number] = (
                        f"the network, computed in {self.wanted.compute_dtype}, gave numbers that are not finite; try --precision fp32"
                    )
        return reasons

    def _write(self, shard: Shard, features: npt.NDArray[Any], errors: Sequence[str]) -> None:
        ids = self.listed.ids[shard.start : shard.stop]
        write_shard(self.output, shard, ids, features, errors, self.wanted, len(self.listed))
        self.computed += shard.stop - shard.start
        self.failures.update((shard.start + row, error) for row, error in enumerate(errors) if error)


def _is_there(folder: Path) -> bool:
    """Whether a folder exists and holds anything: the place where a disk was mounted is an empty one."""
    try:
        with os.scandir(folder) as entries:
            return next(entries, None) is not None
    except OSError:
        return False


def _local_device(environment: Mapping[str, str]) -> str | None:
    """The GPU torchrun meant for this process, if there are GPUs."""
    import torch

    if "LOCAL_RANK" not in environment or not torch.cuda.is_available():
        return None
    return f"cuda:{_integer(environment, 'LOCAL_RANK', 0) % torch.cuda.device_count()}"


def choose_batch_size(config: ExtractionConfig, device: torch.device) -> int:
    """Images computed at once: as set, else what keeps the device busy."""
    return config.batch_size or BATCH_SIZE.get(device.type, 32)


def choose_workers(config: ExtractionConfig, device: torch.device) -> int:
    """How many processes decode: as set, else a share of the machine's processors."""
    if config.workers is not None:
        return config.workers
    # Forking a process that uses Apple's libraries is not safe.
    if sys.platform == "darwin":
        return 0
    cpus = len(os.sched_getaffinity(0)) // max(1, _integer(os.environ, "LOCAL_WORLD_SIZE", 1))
    # A network on the processors takes far more time than decoding; but when it waits for pixels, two processes use both of two cores.
    wanted = max(min(2, cpus), cpus // 8) if device.type == "cpu" else cpus - 1
    return max(1, min(MOST_WORKERS, wanted))


@contextmanager
def _signals() -> Iterator[list[int]]:
    """SIGINT and SIGTERM are put into the list instead of ending the process; a second one acts at once."""
    received: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield received
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    def receive(number: int, frame: object) -> None:
        received.append(number)
        restore()

    for number in before:
        signal.signal(number, receive)
    try:
        yield received
    finally:
        restore()
