"""Where the tests of computing on a GPU compute."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from fake_gpu import FakeGpu, fake_gpu


@pytest.fixture
def fake() -> Iterator[FakeGpu]:
    """Two GPUs that are not there."""
    with fake_gpu() as gpu:
        yield gpu


@pytest.fixture(params=["fake", "real"] if torch.cuda.is_available() else ["fake"])
def device(request: pytest.FixtureRequest) -> str:
    """A GPU: the second of two that are not there, so that what takes the first one unasked fails; and a real one."""
    if request.param == "real":
        return "cuda:0"
    request.getfixturevalue("fake")
    return "cuda:1"
