"""Pages of made-up photos."""

from __future__ import annotations

from pathlib import Path

import pytest
from browse_pages import made_up, write_made_up

from ranktag.tags.predictions import Predictions

MANY = 10_000


@pytest.fixture(scope="session")
def many() -> Predictions:
    return made_up(MANY)


@pytest.fixture(scope="session")
def many_page(many: Predictions, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_made_up(tmp_path_factory.mktemp("many") / "site", many)
