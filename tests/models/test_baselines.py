"""The baselines, held to scikit-learn and to values by hand."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import Ridge as SklearnRidge
from sklearn.neighbors import NearestNeighbors
from torch import Tensor

from ranktag.models import baselines
from ranktag.models.baselines import BaselineConfig, Neighbours, fit_neighbours, fit_popularity, fit_ridge, targets
from ranktag.models.ranking import best_five
from ranktag.tags.vocabulary import Vocabulary
from ranktag.training.validation import ndcg5
from ranktag.training_data.examples import Examples

TAGS = Vocabulary(("a", "b", "c", "d"))
D2, D3 = 1 / math.log2(3), 0.5


def make(people: Sequence[Sequence[Sequence[str]]], features: Tensor) -> Examples:
    return Examples(features, torch.arange(len(people)), [[tuple(tags) for tags in lists] for lists in people], TAGS)


def random_examples(n: int, dim: int, seed: int) -> Examples:
    """Images of one list each whose tags follow from their features, so that there is something to learn."""
    generator = np.random.default_rng(seed)
    x = generator.normal(size=(n, dim)).astype(np.float32) * generator.uniform(0.5, 3, dim).astype(np.float32) + 1
    by_score = np.argsort(-(x[:, :4] + 0.3 * generator.normal(size=(n, 4))), axis=1)
    people = [[[TAGS.tags[tag] for tag in order[: generator.integers(1, 4)]]] for order in by_score]
    return make(people, torch.from_numpy(x))


def scorer(validation: Examples) -> baselines.Score:
    return lambda gain: ndcg5(validation, best_five(gain))


def test_targets_by_hand() -> None:
    gain, presence = targets(make([[["a", "b", "c"]], [["b"], ["a", "b"]], [["unknown", "d"]]], torch.zeros(3, 2)))
    np.testing.assert_allclose(gain, [[1, D2, D3, 0], [0.5, (1 + D2) / 2, 0, 0], [0, 0, 0, 1]], rtol=1e-6)
    np.testing.assert_allclose(presence, [[1, 1, 1, 0], [0.5, 1, 0, 0], [0, 0, 0, 1]], rtol=1e-6)


def test_an_empty_list_is_not_trained_on() -> None:
    # Of two people one wrote nothing: the other's list counts as it would alone.
    with_empty, without = (
        targets(make([[[], ["a", "b"]]], torch.zeros(1, 2))),
        targets(make([[["a", "b"]]], torch.zeros(1, 2))),
    )
    assert torch.equal(with_empty[0], without[0]) and torch.equal(with_empty[1], without[1])


def test_popularity_by_hand() -> None:
    model = fit_popularity(make([[["a", "b"]], [["b"]], [["b", "a", "c"]], [["b"], ["a"]]], torch.zeros(4, 3)))
    found = model.predict(torch.zeros(2, 3))
    expected = np.array([1 + D2 + 0.5, D2 + 1 + 1 + 0.5, D3, 0]) / 4
    np.testing.assert_allclose(found.gain, [expected] * 2, rtol=1e-6)
    np.testing.assert_allclose(found.presence, [np.array([2.5, 3.5, 1, 0]) / 4] * 2, rtol=1e-6)
    np.testing.assert_allclose(found.length, [7 / 4] * 2, rtol=1e-6)


@pytest.mark.parametrize(("n", "dim"), [(30, 80), (80, 30), (40, 40)], ids=["dual", "primal", "square"])
def test_ridge_equals_scikit_learns(n: int, dim: int) -> None:
    training, validation = random_examples(n, dim, seed=0), random_examples(25, dim, seed=1)
    model, trials = fit_ridge(training, validation, scorer(validation))
    assert [trial.setting for trial in trials] == [f"penalty={penalty:g}" for penalty in baselines.PENALTIES]

    x, unseen = training.features.double().numpy(), validation.features.double().numpy()
    mean, scale = x.mean(0), x.std(0)
    x, unseen = (x - mean) / scale, (unseen - mean) / scale
    gain, presence = (y.double().numpy() for y in targets(training))
    # A penalty is given in units of the Gram matrix's mean eigenvalue: of X'X (D, D) or XX' (N, N), whichever is smaller.
    unit = (x**2).sum() / min(n, dim)
    scores = []
    for trial, penalty in zip(trials, baselines.PENALTIES):
        predicted = SklearnRidge(alpha=penalty * unit).fit(x, np.hstack([gain, presence])).predict(unseen)
        scores.append(ndcg5(validation, best_five(torch.from_numpy(predicted[:, :4]))))
        assert trial.score == pytest.approx(scores[-1], abs=0.02)  # near-ties may be ranked otherwise
        if penalty == model.config.penalty:
            found = model.predict(validation.features)
            np.testing.assert_allclose(found.gain, predicted[:, :4], atol=1e-4)
            np.testing.assert_allclose(found.presence, predicted[:, 4:].clip(0, 1), atol=1e-4)
            np.testing.assert_allclose(found.length, predicted[:, 4:].sum(1).clip(0), atol=1e-4)
    chosen = baselines.PENALTIES.index(model.config.penalty)
    assert trials[chosen].score == max(trial.score for trial in trials)


def test_ridge_with_a_feature_that_never_varies_and_images_that_are_alike() -> None:
    x = torch.ones(6, 3)
    examples = make([[["a"]]] * 6, x)
    model, _ = fit_ridge(examples, examples, scorer(examples))
    found = model.predict(x)
    np.testing.assert_allclose(found.gain, [[1, 0, 0, 0]] * 6, atol=1e-6)


@pytest.mark.parametrize("k", [1, 3, 40])
def test_neighbours_are_scikit_learns(k: int) -> None:
    training, validation = random_examples(40, 20, seed=2), random_examples(15, 20, seed=3)
    model, _ = fit_neighbours(training, validation, scorer(validation))
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
    for sharpness in baselines.SHARPNESS:
        gain, presence = model.vote(cosine, number, sharpness)
        weight = np.exp(sharpness * cosine.numpy())
        weight /= weight.sum(1, keepdims=True)
        np.testing.assert_allclose(gain, np.einsum("nk,nkv->nv", weight, model.gain.numpy()[number]), atol=1e-5)
        np.testing.assert_allclose(presence, np.einsum("nk,nkv->nv", weight, model.presence.numpy()[number]), atol=1e-5)


def test_neighbours_by_hand() -> None:
    model = Neighbours(BaselineConfig(2, 4, images=3, neighbours=2, sharpness=0.0))
    model.directions = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.6, 0.8]], dtype=torch.float16)
    model.gain = torch.tensor([[1, D2, 0, 0], [0, 0, 1, 0], [0, 1, 0, D2]])
    model.presence = (model.gain > 0).float()
    found = model.predict(torch.tensor([[3.0, 0.1], [0.0, 9.0]]))
    # The first is nearest to images 0 and 2, the second to 1 and 2; how long a feature is makes no difference.
    np.testing.assert_allclose(found.gain, [[0.5, (D2 + 1) / 2, 0, D2 / 2], [0, 0.5, 0.5, D2 / 2]], rtol=1e-6)
    np.testing.assert_allclose(found.length, [2.0, 1.5], rtol=1e-6)


def test_a_constant_image_and_fewer_images_than_neighbours() -> None:
    training = make([[["a"]], [["b"]]], torch.tensor([[1.0, 0.0], [0.0, 1.0]]))
    model, trials = fit_neighbours(training, training, scorer(training))
    assert model.config.neighbours == 2 and len(trials) == len(baselines.SHARPNESS)
    found = model.predict(torch.zeros(1, 2))
    assert bool(found.gain.isfinite().all())


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 50), st.integers(1, 12), st.integers(0, 100))
def test_neighbours_do_not_hang_on_the_block_size(block: int, k: int, seed: int) -> None:
    training, unseen = random_examples(30, 6, seed), random_examples(9, 6, seed + 1)
    model = Neighbours(BaselineConfig(6, 4, images=30, neighbours=k, sharpness=8.0))
    model.directions = torch.nn.functional.normalize(training.features).half()
    model.gain, model.presence = targets(training)
    whole, nearest = model.predict(unseen.features), model.nearest(unseen.features, k)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(baselines, "BLOCK", block)
        parts, nearest_in_parts = model.predict(unseen.features), model.nearest(unseen.features, k)
    torch.testing.assert_close(nearest[0], nearest_in_parts[0], rtol=0, atol=1e-6)
    torch.testing.assert_close(whole.gain, parts.gain, rtol=0, atol=1e-5)
    torch.testing.assert_close(whole.presence, parts.presence, rtol=0, atol=1e-5)


def test_fitting_does_not_hang_on_the_block_size(monkeypatch: pytest.MonkeyPatch) -> None:
    training, validation = random_examples(30, 12, seed=4), random_examples(10, 12, seed=5)
    whole, trials = fit_neighbours(training, validation, scorer(validation))
    monkeypatch.setattr(baselines, "BLOCK", 7)
    parts, trials_in_parts = fit_neighbours(training, validation, scorer(validation))
    assert whole.config == parts.config and [t.setting for t in trials] == [t.setting for t in trials_in_parts]
    assert [t.score for t in trials] == pytest.approx([t.score for t in trials_in_parts], abs=1e-6)


def test_the_best_setting_is_kept() -> None:
    training, validation = random_examples(60, 8, seed=6), random_examples(30, 8, seed=7)
    model, trials = fit_neighbours(training, validation, scorer(validation))
    best = max(trials, key=lambda trial: trial.score)
    assert best.setting == f"neighbours={model.config.neighbours}, sharpness={model.config.sharpness:g}"
    assert scorer(validation)(model.predict(validation.features).gain) == pytest.approx(best.score, abs=1e-9)
