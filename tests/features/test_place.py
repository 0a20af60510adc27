"""Which worker a process is: as Slurm, Kubernetes and torchrun number them, and whatever part is submitted again."""

from __future__ import annotations

import pytest

from ranktag.config import ExtractionConfig
from ranktag.errors import Usage
from ranktag.features.place import choose_worker

TORCHRUN = {"RANK": "3", "WORLD_SIZE": "4"}
SRUN = {"SLURM_PROCID": "2", "SLURM_NTASKS": "8", "SLURM_STEP_ID": "0"}


def array(task: int, first: int = 0, last: int = 39, count: int = 40) -> dict[str, str]:
    """The variables of a task of a Slurm array as it was submitted."""
    values = {"ID": task, "MIN": first, "MAX": last, "COUNT": count, "STEP": 1}
    return {f"SLURM_ARRAY_TASK_{name}": str(value) for name, value in values.items()}


@pytest.mark.parametrize(
    ("environment", "count", "expected"),
    [
        ({}, None, (0, 1)),
        (TORCHRUN, None, (3, 4)),
        (SRUN, None, (2, 8)),
        # A step of fewer tasks than the job has.
        ({**SRUN, "SLURM_STEP_NUM_TASKS": "4"}, None, (2, 4)),
        # An interactive shell, a batch script of one task, an allocation: one process, alone.
        ({"SLURM_PROCID": "0", "SLURM_NTASKS": "1", "ENVIRONMENT": "BATCH"}, None, (0, 1)),
        ({"SLURM_NTASKS": "8"}, None, (0, 1)),
        # The whole array, and parts of it that are submitted again.
        (array(7), 40, (7, 40)),
        (array(7, 7, 7, 1), 40, (7, 40)),
        (array(7, 3, 7, 2), 40, (7, 40)),
        (array(2, 0, 2, 3), 40, (2, 40)),
        # Within a task: what was started together shares what is the task's.
        ({**array(1), **TORCHRUN}, 40, (7, 160)),
        ({**array(1), **SRUN}, 40, (10, 320)),
        ({"JOB_COMPLETION_INDEX": "5"}, 6, (5, 6)),
        # torchrun over all of srun's tasks, and one for itself in each of them.
        ({**SRUN, **TORCHRUN, "GROUP_WORLD_SIZE": "8"}, None, (3, 4)),
        ({**SRUN, **TORCHRUN, "GROUP_WORLD_SIZE": "1"}, None, (11, 32)),
        # The number is right, and said again.
        (SRUN, 8, (2, 8)),
    ],
)
def test_a_worker_knows_its_place(environment: dict[str, str], count: int | None, expected: tuple[int, int]) -> None:
    assert choose_worker(ExtractionConfig(worker_count=count), environment) == expected
    assert choose_worker(ExtractionConfig(worker_index=4, worker_count=9), environment) == (4, 9)


def test_a_manifest_knows_how_many_tasks_there_are() -> None:
    assert choose_worker(ExtractionConfig(), array(7, 7, 7, 1), planned=12) == (7, 12)
    assert choose_worker(ExtractionConfig(worker_count=40), array(7), planned=12) == (7, 40)
    # Processes that were started together divide it among themselves, whatever it was divided for.
    assert choose_worker(ExtractionConfig(), SRUN, planned=12) == (2, 8)


@pytest.mark.parametrize(
    ("settings", "environment", "words"),
    [
        ({"worker_index": 1}, {}, "give both or neither"),
        ({"worker_count": 2}, {}, "give both or neither"),
        ({"worker_index": 2, "worker_count": 2}, {}, "worker index 2 is not below the worker count 2"),
        ({}, {"RANK": "x", "WORLD_SIZE": "2"}, "RANK is 'x'"),
        ({}, {"RANK": "2", "WORLD_SIZE": "2"}, "worker 2 of 2"),
        ({}, array(7, 7, 7, 1), "task 7 of a Slurm array.*--worker-count"),
        ({}, array(0), "task 0 of a Slurm array.*--worker-count"),
        ({}, {"JOB_COMPLETION_INDEX": "0"}, "pod 0 of an indexed job.*--worker-count"),
        ({"worker_count": 40}, array(40, 1, 40), "task 40 .* numbered from 0: submit 0-39"),
        ({"worker_count": 3}, SRUN, "8 processes were started together"),
        ({}, {"SLURM_PROCID": "0", "SLURM_NTASKS": "8", "ENVIRONMENT": "BATCH"}, "batch script of a job of 8 tasks"),
    ],
)
def test_a_worker_that_cannot_know_its_place_is_refused(
    settings: dict[str, int], environment: dict[str, str], words: str
) -> None:
    with pytest.raises(Usage, match=words):
        choose_worker(ExtractionConfig(**settings), environment)
