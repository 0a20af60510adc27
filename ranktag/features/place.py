"""Which of the workers this process is, as it was told or as torchrun, Slurm or Kubernetes say.

Two kinds of numbers are told apart. Processes that were started together (torchrun's, srun's)
know how many they are. The tasks of a Slurm array and the pods of an indexed job do not: when
some of them are submitted again, Slurm counts only those. So their number counts on its own,
and how many there are in all must be said, or be in the manifest.
"""

from __future__ import annotations

from collections.abc import Mapping

from ranktag.config import ExtractionConfig
from ranktag.errors import Usage

# What numbers a task of a whole of unknown size -> what such a task is called.
TASKS = {
    "SLURM_ARRAY_TASK_ID": "task {} of a Slurm array",
    "JOB_COMPLETION_INDEX": "pod {} of an indexed job",
}


def choose_worker(
    config: ExtractionConfig, environment: Mapping[str, str], planned: int | None = None
) -> tuple[int, int]:
    """(index, count) of this worker: as set, else from the variables of Slurm, Kubernetes and torchrun, else (0, 1).

    planned: how many tasks the manifest was divided for. Processes that were started together
    within a task share what is the task's.

    Raises RanktagError for a worker that cannot know its place, with the words that help.
    """
    index, count = config.worker_index, config.worker_count
    if index is not None:
        if count is None:
            raise Usage("--worker-index and --worker-count belong together; give both or neither")
        if not index < count:
            raise Usage(f"worker index {index} is not below the worker count {count}; workers are numbered from 0")
        return index, count
    rank, world = _together(environment)
    for variable, name in TASKS.items():
        if variable in environment:
            task = integer(environment, variable, 0)
            return _task(name.format(task), task, count or planned, rank, world)
    if count is not None and count != world:
        raise Usage(
            f"--worker-count {count}: {world} processes were started together; leave it out"
            if world > 1
            else "--worker-index and --worker-count belong together; give both or neither"
        )
    return rank, world


def _task(name: str, task: int, count: int | None, rank: int, world: int) -> tuple[int, int]:
    if count is None:
        raise Usage(
            f"this is {name}, and how many tasks there are in all is not known (some may be submitted again): "
            "give --worker-count, the number of all tasks, which are numbered from 0 (where each task has images and "
            "an output of its own: --worker-index 0 --worker-count 1)"
        )
    if not task < count:
        raise Usage(
            f"this is {name}, but the worker count is {count}; tasks are numbered from 0: submit 0-{count - 1}, "
            "or give another --worker-count"
        )
    return task * world + rank, count * world


def _together(environment: Mapping[str, str]) -> tuple[int, int]:
    """(rank, world) among the processes that torchrun or srun started together with this one; (0, 1) if none did."""
    rank, world = _srun(environment)
    if "RANK" in environment and "WORLD_SIZE" in environment:
        own, size = integer(environment, "RANK", 0), integer(environment, "WORLD_SIZE", 1)
        # A torchrun that knows of no other, in each of srun's tasks; else its numbers go through all of them.
        alone = world > 1 and environment.get("GROUP_WORLD_SIZE") == "1"
        rank, world = (rank * size + own, world * size) if alone else (own, size)
    if not 0 <= rank < world:
        raise Usage(
            f"worker {rank} of {world}, as the environment says, cannot be; give --worker-index and --worker-count"
        )
    return rank, world


def _srun(environment: Mapping[str, str]) -> tuple[int, int]:
    if "SLURM_PROCID" not in environment:
        return 0, 1
    count = integer(environment, "SLURM_STEP_NUM_TASKS", integer(environment, "SLURM_NTASKS", 1))
    if environment.get("ENVIRONMENT") == "BATCH" and "SLURM_STEP_ID" not in environment and count > 1:
        raise Usage(
            f"this is the batch script of a job of {count} tasks, and none of its tasks: start it with srun, or give "
            "--worker-index and --worker-count (0 and 1 to work alone)"
        )
    return integer(environment, "SLURM_PROCID", 0), count


def integer(environment: Mapping[str, str], name: str, default: int) -> int:
    """The number in a variable. Raises RanktagError if it is none."""
    text = environment.get(name, str(default))
    try:
        return int(text)
    except ValueError:
        raise Usage(
            f"the environment variable {name} is '{text}', not a whole number; "
            "unset it or give --worker-index and --worker-count"
        ) from None
