"""Images whose tags follow from their features, for the tests of baselines."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from ranktag.models.baselines._shared import Score
from ranktag.models.ranking import best_five
from ranktag.tags.vocabulary import Vocabulary
from ranktag.training.score import ndcg5
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


def scorer(validation: Examples) -> Score:
    return lambda gain: ndcg5(validation, best_five(gain))
