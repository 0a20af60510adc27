"""How good ranked tags are on the validation images: what early stopping and the baselines' settings go by."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from ranktag.evaluation.metrics.ndcg import ndcg
from ranktag.training_data.examples import Examples


def ndcg5(validation: Examples, ranked: Iterable[Iterable[int]]) -> float:
    """Mean NDCG@5 over the images of their ranked tag numbers."""
    predicted = [validation.known.decode(numbers) for numbers in ranked]
    return float(np.mean(ndcg(validation.people, predicted, 5)))
