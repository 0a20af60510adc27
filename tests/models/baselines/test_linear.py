"""Ridge regression, held to scikit-learn's."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from learnable import make, random_examples, scorer
from sklearn.linear_model import Ridge as SklearnRidge

from ranktag.models.baselines import linear
from ranktag.models.baselines._shared import targets
from ranktag.models.ranking import best_five
from ranktag.training.score import ndcg5


@pytest.mark.parametrize(("n", "dim"), [(30, 80), (80, 30), (40, 40)], ids=["dual", "primal", "square"])
def test_ridge_equals_scikit_learns(n: int, dim: int) -> None:
    training, validation = random_examples(n, dim, seed=0), random_examples(25, dim, seed=1)
    model, attempts = linear.fit(training, validation, scorer(validation))
    assert [attempt.setting for attempt in attempts] == [f"penalty={penalty:g}" for penalty in linear.PENALTIES]

    x, unseen = training.features.double().numpy(), validation.features.double().numpy()
    mean, scale = x.mean(0), x.std(0)
    x, unseen = (x - mean) / scale, (unseen - mean) / scale
    gain, presence = (y.double().numpy() for y in targets(training))
    # A penalty is in units of the Gram matrix's mean eigenvalue: of X'X (D, D) or XX' (N, N), whichever is smaller.
    unit = (x**2).sum() / min(n, dim)
    scores = []
    for attempt, penalty in zip(attempts, linear.PENALTIES):
        predicted = SklearnRidge(alpha=penalty * unit).fit(x, np.hstack([gain, presence])).predict(unseen)
        scores.append(ndcg5(validation, best_five(torch.from_numpy(predicted[:, :4]))))
        assert attempt.score == pytest.approx(scores[-1], abs=0.02)  # near-ties may be ranked otherwise
        if penalty == model.config.penalty:
            found = model.predict(validation.features)
            np.testing.assert_allclose(found.gain, predicted[:, :4], atol=1e-4)
            np.testing.assert_allclose(found.presence, predicted[:, 4:].clip(0, 1), atol=1e-4)
            np.testing.assert_allclose(found.length, predicted[:, 4:].sum(1).clip(0), atol=1e-4)
    chosen = linear.PENALTIES.index(model.config.penalty)
    assert attempts[chosen].score == max(attempt.score for attempt in attempts)


def test_ridge_with_a_feature_that_never_varies_and_images_that_are_alike() -> None:
    x = torch.ones(6, 3)
    examples = make([[["a"]]] * 6, x)
    model, _ = linear.fit(examples, examples, scorer(examples))
    found = model.predict(x)
    np.testing.assert_allclose(found.gain, [[1, 0, 0, 0]] * 6, atol=1e-6)
