"""How good ranked tags are on the validation images: what early stopping and the baselines' settings go by."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Sequence

import numpy as np

from ranktag.evaluation.bootstrap import interval, resampled_means
from ranktag.evaluation.matches import Floats, match_each
from ranktag.evaluation.metrics import ndcg
from ranktag.training_data.examples import Examples

# Fewer validation images than that hardly tell one model from another.
FEW_IMAGES = 50
RESAMPLES = 1000


def ndcg5(validation: Examples, ranked: Iterable[Iterable[int]]) -> float:
    """Mean NDCG@5 over the images of their ranked tag numbers."""
    return float(np.mean(ndcg5_of_images(validation, ranked)))


def ndcg5_of_images(validation: Examples, ranked: Iterable[Iterable[int]]) -> Floats:
    """NDCG@5 of each image's ranked tag numbers, (N,)."""
    predicted = [validation.known.decode(numbers) for numbers in ranked]
    return ndcg.ndcg(validation.people, predicted, 5)


def ndcg5_of_asked(validation: Examples, ranked: Sequence[Sequence[int]]) -> Floats:
    """NDCG@5 of each image, (N,), of the tag numbers that a model ranks for what it is ``asked``."""
    if validation.writers is None:
        return ndcg5_of_images(validation, ranked)
    of_lists = iter([validation.known.decode(numbers) for numbers in ranked])
    predicted = [list(itertools.islice(of_lists, len(several))) for several in validation.writers]
    return ndcg.per_image(match_each(validation.people, predicted), 5)


def mean_interval(values: Sequence[float]) -> tuple[float, float]:
    """95% interval of the mean of the images' values, (N,), by bootstrap over the images; nan without values."""
    if not len(values):
        return math.nan, math.nan
    return interval(resampled_means(np.asarray(values)[:, None], RESAMPLES, seed=0)[:, 0])


def in_words(ndcg5: float, low: float, high: float, images: int) -> str:
    """A validation score with its interval, and the number of images where it is small."""
    spread = "" if math.isnan(low) else f" [{low:.4f}, {high:.4f}]"
    few = f" on only {images} images, too few to tell models apart" if images < FEW_IMAGES else ""
    return f"NDCG@5 {ndcg5:.4f}{spread}{few}"
