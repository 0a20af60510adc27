"""How many processes decode."""

from __future__ import annotations

import os
import sys

import pytest
import torch

from ranktag.config import ExtractionConfig
from ranktag.features.machine import choose_workers


def test_decoding_processes_fit_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(8)), raising=False)
    monkeypatch.setattr(sys, "platform", "linux")
    cpu, gpu = torch.device("cpu"), torch.device("cuda")
    assert choose_workers(ExtractionConfig(), cpu) == 8 and choose_workers(ExtractionConfig(), gpu) == 7
    monkeypatch.setenv("SLURM_CPUS_PER_TASK", "3")
    assert choose_workers(ExtractionConfig(), cpu) == 3 and choose_workers(ExtractionConfig(), gpu) == 2
    monkeypatch.delenv("SLURM_CPUS_PER_TASK")
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "4")
    assert choose_workers(ExtractionConfig(), gpu) == 1
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "8")
    assert choose_workers(ExtractionConfig(), cpu) == 1
    assert choose_workers(ExtractionConfig(workers=0), gpu) == 0
