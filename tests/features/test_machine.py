"""Which worker this is, and how many processes decode."""

from __future__ import annotations

import os
import sys

import pytest
import torch

from ranktag.config import ExtractionConfig
from ranktag.errors import RanktagError
from ranktag.features.machine import choose_worker, choose_workers


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, (0, 1)),
        ({"RANK": "1", "WORLD_SIZE": "2"}, (1, 2)),
        (
            {
                "SLURM_ARRAY_TASK_ID": "3",
                "SLURM_ARRAY_TASK_COUNT": "40",
                "SLURM_ARRAY_TASK_MIN": "0",
                "SLURM_ARRAY_TASK_MAX": "39",
            },
            (3, 40),
        ),
        (
            {
                "SLURM_ARRAY_TASK_ID": "5",
                "SLURM_ARRAY_TASK_COUNT": "3",
                "SLURM_ARRAY_TASK_MIN": "1",
                "SLURM_ARRAY_TASK_STEP": "2",
            },
            (2, 3),
        ),
        (
            {
                "SLURM_ARRAY_TASK_ID": "1",
                "SLURM_ARRAY_TASK_COUNT": "2",
                "SLURM_ARRAY_TASK_MIN": "0",
                "RANK": "3",
                "WORLD_SIZE": "4",
            },
            (7, 8),
        ),
    ],
)
def test_workers_are_numbered_by_torchrun_and_slurm(environment: dict[str, str], expected: tuple[int, int]) -> None:
    assert choose_worker(ExtractionConfig(), environment) == expected
    assert choose_worker(ExtractionConfig(worker_index=4, worker_count=9), environment) == (4, 9)


@pytest.mark.parametrize(
    ("settings", "environment", "words"),
    [
        ({"worker_index": 1}, {}, "give both or neither"),
        ({"worker_index": 2, "worker_count": 2}, {}, "worker index 2 is not below the worker count 2"),
        ({}, {"RANK": "x", "WORLD_SIZE": "2"}, "RANK is 'x'"),
        (
            {},
            {"SLURM_ARRAY_TASK_ID": "9", "SLURM_ARRAY_TASK_COUNT": "2", "SLURM_ARRAY_TASK_MIN": "3"},
            "not evenly spaced",
        ),
    ],
)
def test_impossible_workers_are_refused(settings: dict[str, int], environment: dict[str, str], words: str) -> None:
    with pytest.raises(RanktagError, match=words):
        choose_worker(ExtractionConfig(**settings), environment)


def test_decoding_processes_fit_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(8)), raising=False)
    monkeypatch.setattr(sys, "platform", "linux")
    cpu, gpu = torch.device("cpu"), torch.device("cuda")
    assert choose_workers(ExtractionConfig(), cpu) == 8 and choose_workers(ExtractionConfig(), gpu) == 7
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "4")
    assert choose_workers(ExtractionConfig(), gpu) == 1
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "8")
    assert choose_workers(ExtractionConfig(), cpu) == 1
    assert choose_workers(ExtractionConfig(workers=0), gpu) == 0
