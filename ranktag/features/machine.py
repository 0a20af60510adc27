"""This machine's share: where it computes, how many images at once, how many processes decode."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING

from ranktag.config import ExtractionConfig
from ranktag.features.place import integer
from ranktag.files.platform import processors

if TYPE_CHECKING:
    import torch

# Measured: on two cores 8 and 16 images are alike and 64 is slower; a GPU needs more to be busy.
BATCH_SIZE = {"cpu": 16, "cuda": 256, "mps": 32}

MOST_WORKERS = 16

COMPUTE_DTYPES = {"fp32": "float32", "bf16": "bfloat16", "fp16": "float16"}
PRECISION_OF = {dtype: precision for precision, dtype in COMPUTE_DTYPES.items()}


def device_of(config: ExtractionConfig) -> torch.device:
    """Where to compute: as set, else the GPU meant for this process, else the first, else the processor."""
    from ranktag.compute.device import choose_device

    return choose_device(config.device or _local_gpu(os.environ))


def _local_gpu(environment: Mapping[str, str]) -> str | None:
    import torch

    # torchrun's number of a process on its node, and srun's.
    name = next((name for name in ("LOCAL_RANK", "SLURM_LOCALID") if name in environment), None)
    if name is None or not torch.cuda.is_available():
        return None
    return f"cuda:{integer(environment, name, 0) % torch.cuda.device_count()}"


def compute_dtype_of(config: ExtractionConfig) -> str:
    """What is computed in here, as a cache records it: 'float32', 'bfloat16' or 'float16'."""
    from ranktag.compute.device import choose_dtype

    return str(choose_dtype(config.precision, device_of(config))).removeprefix("torch.")


def for_all_machines(config: ExtractionConfig, *, gpus: bool) -> ExtractionConfig:
    """The settings with all resolved here that each machine would choose for itself, and that changes features.

    gpus: whether the machines have GPUs. Without one here, they are taken to be fast in
    bfloat16, as those since 2020 are.
    """
    import torch

    if gpus and not torch.cuda.is_available():
        precision, batch_size = "bf16", BATCH_SIZE["cuda"]
    else:
        device = device_of(config)
        precision, batch_size = PRECISION_OF[compute_dtype_of(config)], choose_batch_size(config, device)
    return config.replace(
        precision=precision if config.precision == "auto" else config.precision,
        batch_size=config.batch_size or batch_size,
    )


def choose_batch_size(config: ExtractionConfig, device: torch.device) -> int:
    """Images computed at once: as set, else what keeps the device busy."""
    return config.batch_size or BATCH_SIZE.get(device.type, 32)


def choose_workers(config: ExtractionConfig, device: torch.device) -> int:
    """How many processes decode: as set, else a share of the task's processors."""
    return workers_of(config, device, processors() // max(1, integer(os.environ, "LOCAL_WORLD_SIZE", 1)))


def workers_of(config: ExtractionConfig, device: torch.device, cpus: int) -> int:
    """How many of a task's ``cpus`` processes decode: as set, else all, on a GPU but for one."""
    if config.workers is not None:
        return config.workers
    # Forking a process that uses Apple's libraries is not safe.
    if sys.platform == "darwin":
        return 0
    # A network on the processors waits while they decode.
    return max(1, min(MOST_WORKERS, cpus if device.type == "cpu" else cpus - 1))
