"""Features and lists as a model takes them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from making import make_cache, make_data, tiny

from ranktag.compute.device import choose_device
from ranktag.feature_cache.store import open_features
from ranktag.training_data.load import load_training_data


def test_standardisation_is_that_of_the_training_rows(tmp_path: Path) -> None:
    cache, tags = make_data(tmp_path)
    features = np.array(open_features(cache).features, dtype=np.float64)
    features[:, 3] = 0.25  # never varies
    cache = make_cache(tmp_path / "flat.h5", [f"{n:03}.jpg" for n in range(30)], features, dtype="float32")
    data = load_training_data(cache, tags, tiny(), choose_device("cpu"))
    rows = features.astype(np.float32).astype(np.float64)[[n for n in range(30) if n % 10 < 7]]
    np.testing.assert_allclose(data.mean, rows.mean(0), rtol=1e-5, atol=1e-6)
    expected = rows.std(0)
    expected[3] = 1.0
    np.testing.assert_allclose(data.scale, expected, rtol=1e-5)
