"""Features of single photos are made as those of a cache were."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from extracting import SETTINGS

from ranktag.errors import RanktagError
from ranktag.feature_cache.provenance import Provenance
from ranktag.feature_cache.store import open_features
from ranktag.features.in_memory import features_like

pytestmark = pytest.mark.usefixtures("tiny")


def test_features_of_single_photos_are_those_of_the_cache(photos: Path, whole: Path) -> None:
    store = open_features(whole)
    paths = [photos / image_id for image_id in store.image_id]
    blocks = list(features_like(store.provenance, paths, config=SETTINGS))
    features, reasons = np.concatenate([f for f, _ in blocks]), [r for _, block in blocks for r in block]
    assert reasons == list(store.error)
    np.testing.assert_array_equal(features.astype(np.float16), store.features)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"backbone": "resnet"}, "which ranktag cannot compute"),
        ({"preprocessing": "{}"}, "prepared otherwise"),
        ({"weights": "my.pth"}, "say where they are with --weights FILE"),
    ],
)
def test_features_that_cannot_be_made_alike_are_refused(whole: Path, change: dict[str, str], words: str) -> None:
    provenance = Provenance(**{**vars(open_features(whole).provenance), **change})
    with pytest.raises(RanktagError, match=words):
        next(features_like(provenance, []))
