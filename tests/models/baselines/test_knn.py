"""Neighbours, held to scikit-learn's and to values by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from learnable import D2, make, random_examples, scorer
from sklearn.neighbors import NearestNeighbors

from ranktag.models.baselines import _shared, knn
from ranktag.models.baselines._shared import targets


@pytest.mark.parametrize("k", [1, 3, 40])
def test_neighbours_are_scikit_learns(k: int) -> None:
    training, validation = random_examples(40, 20, seed=2), random_examples(15, 20, seed=3)
    model, _ = knn.fit(training, validation, scorer(validation))
    # What is kept is float16: its neighbours are the true ones where no two are as near as its rounding.
    kept = model.directions.float()
    reference = NearestNeighbors(n_neighbors=k, metric="cosine", algorithm="brute").fit(kept.numpy())
    distance, expected = reference.kneighbors(validation.features.numpy())
    cosine, number = model.nearest(validation.features, k)
    np.testing.assert_allclose(kept.norm(dim=1), 1, atol=1e-3)
    norm = kept.norm(dim=1)[number]
    np.testing.assert_allclose(cosine / norm, 1 - distance, atol=2e-3)
    agree = (number.numpy() == expected).mean()
    assert agree > 0.95, agree
    for sharpness in knn.SHARPNESS:
        gain, presence = model.vote(cosine, number, sharpness)
        weight = np.exp(sharpness * cosine.numpy())
        weight /= weight.sum(1, keepdims=True)
        np.testing.assert_allclose(gain, np.einsum("nk,nkv->nv", weight, model.gain.numpy()[number]), atol=1e-5)
        np.testing.assert_allclose(presence, np.einsum("nk,nkv->nv", weight, model.presence.numpy()[number]), atol=1e-5)


def test_neighbours_by_hand() -> None:
    model = knn.Model(knn.KnnConfig(2, 4, images=3, neighbours=2, sharpness=0.0))
    model.directions = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.6, 0.8]], dtype=torch.float16)
    model.gain = torch.tensor([[1, D2, 0, 0], [0, 0, 1, 0], [0, 1, 0, D2]])
    model.presence = (model.gain > 0).float()
    found = model.predict(torch.tensor([[3.0, 0.1], [0.0, 9.0]]))
    # The first is nearest to images 0 and 2, the second to 1 and 2; how long a feature is makes no difference.
    np.testing.assert_allclose(found.gain, [[0.5, (D2 + 1) / 2, 0, D2 / 2], [0, 0.5, 0.5, D2 / 2]], rtol=1e-6)
    np.testing.assert_allclose(found.length, [2.0, 1.5], rtol=1e-6)


def test_a_constant_image_and_fewer_images_than_neighbours() -> None:
    training = make([[["a"]], [["b"]]], torch.tensor([[1.0, 0.0], [0.0, 1.0]]))
    model, attempts = knn.fit(training, training, scorer(training))
    assert model.config.neighbours == 2 and len(attempts) == len(knn.SHARPNESS)
    found = model.predict(torch.zeros(1, 2))
    assert bool(found.gain.isfinite().all())


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 50), st.integers(1, 12), st.integers(0, 100))
def test_neighbours_do_not_depend_on_the_block_size(block: int, k: int, seed: int) -> None:
    training, unseen = random_examples(30, 6, seed), random_examples(9, 6, seed + 1)
    model = knn.Model(knn.KnnConfig(6, 4, images=30, neighbours=k, sharpness=8.0))
    model.directions = torch.nn.functional.normalize(training.features).half()
    model.gain, model.presence = targets(training)
    whole, nearest = model.predict(unseen.features), model.nearest(unseen.features, k)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_shared, "BLOCK", block)
        parts, nearest_in_parts = model.predict(unseen.features), model.nearest(unseen.features, k)
    torch.testing.assert_close(nearest[0], nearest_in_parts[0], rtol=0, atol=1e-6)
    torch.testing.assert_close(whole.gain, parts.gain, rtol=0, atol=1e-5)
    torch.testing.assert_close(whole.presence, parts.presence, rtol=0, atol=1e-5)


def test_fitting_does_not_depend_on_the_block_size(monkeypatch: pytest.MonkeyPatch) -> None:
    training, validation = random_examples(30, 12, seed=4), random_examples(10, 12, seed=5)
    whole, attempts = knn.fit(training, validation, scorer(validation))
    monkeypatch.setattr(_shared, "BLOCK", 7)
    parts, attempts_in_parts = knn.fit(training, validation, scorer(validation))
    assert whole.config == parts.config and [t.setting for t in attempts] == [t.setting for t in attempts_in_parts]
    assert [t.score for t in attempts] == pytest.approx([t.score for t in attempts_in_parts], abs=1e-6)


def test_the_best_setting_is_kept() -> None:
    training, validation = random_examples(60, 8, seed=6), random_examples(30, 8, seed=7)
    model, attempts = knn.fit(training, validation, scorer(validation))
    best = max(attempts, key=lambda attempt: attempt.score)
    assert best.setting == f"neighbours={model.config.neighbours}, sharpness={model.config.sharpness:g}"
    assert scorer(validation)(model.predict(validation.features).gain) == pytest.approx(best.score, abs=1e-9)
