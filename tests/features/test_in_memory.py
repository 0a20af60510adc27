"""Features of single photos are made as those of a cache were."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from extracting import SETTINGS

from ranktag.errors import RanktagError
from ranktag.feature_cache.provenance import Provenance
from ranktag.feature_cache.store import open_features
from ranktag.features.in_memory import FeatureMaker
from ranktag.images.pixels import read_pixels

pytestmark = pytest.mark.usefixtures("tiny")


def test_features_of_single_photos_are_those_of_the_cache(photos: Path, whole: Path) -> None:
    store = open_features(whole)
    paths = [photos / image_id for image_id in store.image_id]
    blocks = list(FeatureMaker(store.provenance, config=SETTINGS).of_paths(paths))
    features, reasons = np.concatenate([f for f, _ in blocks]), [r for _, block in blocks for r in block]
    assert reasons == list(store.error)
    np.testing.assert_array_equal(features.astype(np.float16), store.features)


def test_a_lone_photo_has_the_features_it_has_in_a_batch(photos: Path, whole: Path) -> None:
    store = open_features(whole)
    maker = FeatureMaker(store.provenance, config=SETTINGS)
    good = [photos / image_id for image_id, valid in zip(store.image_id, store.valid) if valid][:5]
    pixels = np.stack([read_pixels(path, maker.preprocessing) for path in good])
    together = maker.of_pixels(pixels).copy()
    for row, one in enumerate(pixels):
        np.testing.assert_allclose(maker.of_pixels(one[None])[0], together[row], atol=1e-5 * together.max(), rtol=0)


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
        FeatureMaker(provenance)
