"""What version 0.1.0 made of tiny inputs (``before/``, by ``fingerprints.py``), and what this version makes of them.

Digests are equal on one machine only, so here numbers are compared to float32's rounding:
whoever must know that not a bit has changed runs ``fingerprints.py`` before and after.
"""

from __future__ import annotations

from pathlib import Path

import fingerprints
import numpy as np
import pandas as pd
import pytest
import torch

from ranktag import evaluate
from ranktag.config import EvaluationConfig
from ranktag.feature_cache.store import open_features

BEFORE = Path(__file__).parent / "before"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("made")
    fingerprints.make(folder)
    return folder


@pytest.fixture(scope="module")
def predicted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the models of before say of the cache of before."""
    folder = tmp_path_factory.mktemp("predicted")
    fingerprints.predict(folder, BEFORE / "cache.h5", BEFORE / "runs")
    return folder / "predictions"


@pytest.mark.parametrize("name", sorted(path.name for path in (BEFORE / "predictions").iterdir()))
def test_models_and_caches_of_before_give_the_same_predictions(predicted: Path, name: str) -> None:
    then, now = pd.read_csv(BEFORE / "predictions" / name), pd.read_csv(predicted / name)
    assert len(then) > fingerprints.IMAGES - 1
    # A column that came later; the others are what they were.
    assert list(now.columns) == [*then.columns, "split"]
    pd.testing.assert_frame_equal(now[then.columns], then, rtol=1e-4, atol=1e-6)


def test_the_same_features_are_extracted(made: Path) -> None:
    then, now = open_features(BEFORE / "cache.h5"), open_features(made / "cache.h5")
    assert (now.provenance.image_list_sha256, list(now.error)) == (then.provenance.image_list_sha256, list(then.error))
    assert now.provenance.differences(then.provenance) == []
    np.testing.assert_array_equal(now.valid, then.valid)
    np.testing.assert_allclose(now.features[now.valid], then.features[then.valid], rtol=2e-3, atol=1e-3)


# Of LSTMs since then others: batches are dealt by length, and dropped features rest (tests/training/test_member.py).
@pytest.mark.parametrize("model", fingerprints.MODELS[2:])
def test_the_same_weights_are_learned(made: Path, model: str) -> None:
    then, now = fingerprints.weights(BEFORE / "runs" / model), fingerprints.weights(made / "runs" / model)
    # What baselines know of tags that stand together came later.
    assert {name for name in now if not name.startswith("together.")} == then.keys()
    for name, weight in then.items():
        torch.testing.assert_close(now[name], weight, rtol=2e-3, atol=2e-3)


def test_the_same_report_is_written(tmp_path: Path) -> None:
    predictions = sorted((BEFORE / "predictions").glob("*-mbr.csv"))
    config = EvaluationConfig(resamples=200, split="all")
    evaluate(predictions, BEFORE / "tags.csv", tmp_path / "report", config)
    for path in (BEFORE / "report").iterdir():
        # As text, so that not a digit differs; columns that came later are left away.
        then, now = (pd.read_csv(p, dtype=str) for p in (path, tmp_path / "report" / path.name))
        pd.testing.assert_frame_equal(now[then.columns], then)


def test_made_twice_it_is_the_same_to_the_bit(made: Path, tmp_path: Path) -> None:
    fingerprints.make(tmp_path / "again")
    assert fingerprints.digests(tmp_path / "again") == fingerprints.digests(made)
