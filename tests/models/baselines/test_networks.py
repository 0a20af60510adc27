"""``mlp`` and ``logistic``: what they predict by hand, that they learn, and what they learn from."""

from __future__ import annotations

import importlib
import itertools
from types import ModuleType

import numpy as np
import pytest
import torch
from learnable import D2, make, random_examples, scorer
from scipy.special import expit
from torch import nn

from ranktag.models.baselines import _descent, logistic, mlp, popularity
from ranktag.models.baselines._descent import DescentConfig
from ranktag.training_data.examples import Examples

NETWORKS = (mlp, logistic)


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_descent, "EPOCHS", 15)
    monkeypatch.setattr(_descent, "BATCH_SIZE", 8)
    monkeypatch.setattr(_descent, "DROPOUT", (0.0, 0.5))


def fitted(module: ModuleType, training: Examples, validation: Examples, seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return module.fit(training, validation, scorer(validation))[0]


def weights(model: nn.Module) -> np.ndarray:
    return np.concatenate([value.flatten().numpy() for value in model.state_dict().values()])


def test_mlp_by_hand() -> None:
    model = mlp.Model(DescentConfig(3, 2, 0.5))
    x = np.array([[1.0, 2.0, 3.0]], np.float32)
    model.mean, model.scale = torch.tensor([1.0, 0.0, 1.0]), torch.tensor([1.0, 2.0, 4.0])
    first, _, second = model.layers
    hidden = np.maximum(
        np.array([[0.0, 1.0, 0.5]]) @ first.weight.detach().numpy().T + first.bias.detach().numpy(), 0.0
    )
    gain, presence = np.split(expit(hidden @ second.weight.detach().numpy().T + second.bias.detach().numpy()), 2, 1)
    with torch.no_grad():
        found = model.predict(torch.from_numpy(x))
    np.testing.assert_allclose(found.gain, gain, rtol=1e-5)
    np.testing.assert_allclose(found.presence, presence, rtol=1e-5)
    np.testing.assert_allclose(found.length, presence.sum(1), rtol=1e-5)


@pytest.mark.parametrize("module", NETWORKS)
def test_they_learn_what_popularity_cannot(module: ModuleType) -> None:
    training, validation = random_examples(300, 8, seed=0), random_examples(100, 8, seed=1)
    model = fitted(module, training, validation)
    score = scorer(validation)
    popular = popularity.fit(training, validation, score)[0].predict(validation.features).gain
    assert score(model.predict(validation.features).gain) > score(popular) + 0.1


@pytest.mark.parametrize("module", NETWORKS)
def test_a_seed_is_a_model(module: ModuleType) -> None:
    training = random_examples(40, 8, seed=0)
    first, again, other = (weights(fitted(module, training, training, seed)) for seed in (1, 1, 2))
    assert np.array_equal(first, again) and not np.array_equal(first, other)


def test_only_mlp_looks_at_the_order() -> None:
    features = torch.from_numpy(np.random.default_rng(0).normal(size=(20, 3)).astype(np.float32))
    lists = [[["a", "b"]], [["b", "c"]]] * 10
    one = make(lists, features)
    turned = make([[tags[::-1] for tags in people] for people in lists], features)
    # Both are scored alike, or the best epoch could be another.
    found = {m: [weights(_unscored(m, examples)) for examples in (one, turned)] for m in NETWORKS}
    assert np.array_equal(*found[logistic]) and not np.array_equal(*found[mlp])


def _unscored(module: ModuleType, examples: Examples) -> nn.Module:
    torch.manual_seed(0)
    return module.fit(examples, examples, lambda gain: 0.5)[0]


def test_without_a_feature_that_tells_they_come_to_the_mean(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_descent, "EPOCHS", 500)
    monkeypatch.setattr(_descent, "LR", 0.02)
    monkeypatch.setattr(_descent, "WEIGHT_DECAY", 0.0)
    # Scores are alike, so the first epoch would be kept; the last is to be looked at.
    monkeypatch.setattr(_descent, "WINDOW", 1)
    # Of two people one names b first, the other a and then b: a gains 1/2, b (1 + 1/log2(3)) / 2.
    examples = make([[["b"], ["a", "b"]]] * 8, torch.zeros(8, 2))
    epochs = itertools.count()
    model, _ = mlp.fit(examples, examples, lambda gain: float(next(epochs)))
    found = model.predict(torch.zeros(1, 2))
    np.testing.assert_allclose(found.gain[0, :2], [0.5, (1 + D2) / 2], atol=0.02)
    np.testing.assert_allclose(found.presence[0], [0.5, 1, 0, 0], atol=0.03)
    np.testing.assert_allclose(found.length, [1.5], atol=0.06)


@pytest.mark.parametrize("name", ["mlp", "logistic"])
def test_the_best_dropout_is_kept(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    module = importlib.import_module(f"ranktag.models.baselines.{name}")
    training, validation = random_examples(60, 8, seed=0), random_examples(40, 8, seed=1)
    model, attempts = module.fit(training, validation, scorer(validation))
    assert [attempt.setting for attempt in attempts] == ["dropout=0", "dropout=0.5"]
    best = max(attempts, key=lambda attempt: attempt.score)
    assert best.setting == f"dropout={model.config.dropout:g}"
