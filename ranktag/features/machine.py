"""This machine's share: which worker this is, where it computes, how many images at once, how many processes decode."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING

from ranktag.config import ExtractionConfig
from ranktag.errors import Usage
from ranktag.files.platform import processors

if TYPE_CHECKING:
    import torch

# Measured: on two cores 8 and 16 images are alike and 64 is slower; a GPU needs more to be busy.
BATCH_SIZE = {"cpu": 16, "cuda": 256, "mps": 32}

MOST_WORKERS = 16


def choose_worker(config: ExtractionConfig, environment: Mapping[str, str]) -> tuple[int, int]:
    """(index, count) of this worker: as set, else from torchrun's and Slurm's array variables, else (0, 1).

    torchrun within the tasks of a Slurm array: every process of every task is a worker.
    """
    index, count = config.worker_index, config.worker_count
    if (index is None) != (count is None):
        raise Usage("--worker-index and --worker-count belong together; give both or neither")
    if index is None or count is None:
        index, count = _slurm_task(environment)
        if "RANK" in environment and "WORLD_SIZE" in environment:
            world = _integer(environment, "WORLD_SIZE", 1)
            index, count = index * world + _integer(environment, "RANK", 0), count * world
    if not 0 <= index < count:
        raise Usage(f"worker index {index} is not below the worker count {count}; workers are numbered from 0")
    return index, count


def _slurm_task(environment: Mapping[str, str]) -> tuple[int, int]:
    """(index, count) of this task of a Slurm array; (0, 1) outside of one."""
    if "SLURM_ARRAY_TASK_ID" not in environment or "SLURM_ARRAY_TASK_COUNT" not in environment:
        return 0, 1
    first = _integer(environment, "SLURM_ARRAY_TASK_MIN", 0)
    step = max(1, _integer(environment, "SLURM_ARRAY_TASK_STEP", 1))
    index = (_integer(environment, "SLURM_ARRAY_TASK_ID", 0) - first) // step
    count = _integer(environment, "SLURM_ARRAY_TASK_COUNT", 1)
    if not 0 <= index < count:
        raise Usage(
            f"this is task {environment['SLURM_ARRAY_TASK_ID']} of a Slurm array of {count} that is not evenly spaced; "
            "give --worker-index and --worker-count"
        )
    return index, count


def _integer(environment: Mapping[str, str], name: str, default: int) -> int:
    text = environment.get(name, str(default))
    try:
        return int(text)
    except ValueError:
        raise Usage(
            f"the environment variable {name} is '{text}', not a whole number; "
            "unset it or give --worker-index and --worker-count"
        ) from None


def device_of(config: ExtractionConfig) -> torch.device:
    """Where to compute: as set, else the GPU torchrun meant for this process, else the first, else the processor."""
    from ranktag.compute.device import choose_device

    return choose_device(config.device or _local_gpu(os.environ))


def _local_gpu(environment: Mapping[str, str]) -> str | None:
    import torch

    if "LOCAL_RANK" not in environment or not torch.cuda.is_available():
        return None
    return f"cuda:{_integer(environment, 'LOCAL_RANK', 0) % torch.cuda.device_count()}"


def compute_dtype_of(config: ExtractionConfig) -> str:
    """What is computed in here, as a cache records it: 'float32', 'bfloat16' or 'float16'."""
    from ranktag.compute.device import choose_dtype

    return str(choose_dtype(config.precision, device_of(config))).removeprefix("torch.")


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
    cpus = processors() // max(1, _integer(os.environ, "LOCAL_WORLD_SIZE", 1))
    # A network on the processors waits while they decode.
    return max(1, min(MOST_WORKERS, cpus if device.type == "cpu" else cpus - 1))
