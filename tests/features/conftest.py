"""What the tests of stage one start from: photos, their cache, and half a run."""

from __future__ import annotations

from pathlib import Path

import pytest
from extracting import SETTINGS, make_photos, use_tiny_network
from tiny_backbone import tiny_network

from ranktag.features.extract import extract_features


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    """The tiny network in VGG's place."""
    use_tiny_network(monkeypatch)


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """30 photos, two of which cannot be read: numbers 5 and 13."""
    return make_photos(tmp_path_factory.mktemp("photos"))


@pytest.fixture(scope="module")
def whole(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The cache of the photos, made in one go."""
    output = tmp_path_factory.mktemp("whole") / "cache.h5"
    extract_features(photos, output, SETTINGS, network=tiny_network())
    return output


@pytest.fixture
def begun(photos: Path, tmp_path: Path) -> Path:
    """The output of a run of which shards 0 and 2 of 4 are done."""
    output = tmp_path / "c.h5"
    extract_features(photos, output, SETTINGS.replace(worker_index=0, worker_count=2))
    return output
