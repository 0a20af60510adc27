"""Shared by the tests of evaluation."""

from __future__ import annotations

from pathlib import Path

import pytest
from comparing import write_example


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Path]:
    """'tags', 'good' and 'poor' (see ``comparing.write_example``)."""
    return write_example(tmp_path)
