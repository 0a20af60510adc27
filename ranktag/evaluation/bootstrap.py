"""The bootstrap over images: how far a mean over images would move with other images (Efron, 1979).

N images are drawn from the N images with replacement, R times, and every mean is
taken anew. The draws depend only on N and the seed, so that the means of two models
on the same images come from the same draws and their difference is a paired one.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


LEAST_P = 1e-300
# Draws counted at once: 64 x 10,000 images is 5 MB, which stays in a processor's cache.
_BLOCK = 1 << 19
# More images than that are drawn from part by part, so that neither counts nor values leave the cache.
_PART = 1 << 18
_ROWS = 1 << 14


def resampled_means(values: Floats, resamples: int, seed: int) -> Floats:
    """Column means of each resample.

    values: (N, C) float64, N >= 1, one row an image. Returns (R, C) float64.
    """
    n = len(values)
    random = np.random.default_rng(seed)
    if n > _PART:
        return _by_part(values, resamples, random)
    means = np.empty((resamples, values.shape[1]))
    step = max(1, _BLOCK // n)
    for start in range(0, resamples, step):
        stop = min(start + step, resamples)
        # How often each image was drawn, as a matrix: all means of the block are one matrix product.
        drawn = random.integers(0, n, (stop - start, n), dtype=np.int32)
        drawn += n * np.arange(stop - start, dtype=np.int32)[:, None]
        counts = np.bincount(drawn.ravel(), minlength=drawn.size).reshape(drawn.shape)
        means[start:stop] = counts.astype(np.float64) @ values / n
    return means


def _by_part(values: Floats, resamples: int, random: np.random.Generator) -> Floats:
    """The same: first how many images each resample draws from each part of them, then which."""
    n = len(values)
    starts = range(0, n, _ROWS)
    sizes = np.diff([*starts, n])
    draws = random.multinomial(n, sizes / n, size=resamples)
    means = np.zeros((resamples, values.shape[1]))
    for part, start in enumerate(starts):
        m = int(sizes[part])
        step = max(1, _BLOCK // m)
        for first in range(0, resamples, step):
            counts = np.empty((min(step, resamples - first), m))
            for row, k in enumerate(draws[first : first + step, part].tolist()):
                counts[row] = np.bincount(random.integers(0, m, k, dtype=np.int32), minlength=m)
            means[first : first + step] += counts @ values[start : start + m]
    return means / n


def interval(resampled: Floats) -> tuple[float, float]:
    """95% percentile interval of a resampled score, (R,); nan where no resample has a value."""
    known = resampled[~np.isnan(resampled)]
    if not len(known):
        return np.nan, np.nan
    low, high = np.quantile(known, (0.025, 0.975))
    return float(low), float(high)


def p_value(differences: Floats) -> float:
    """Two-sided p of resampled differences, (R,): 1 minus the level of the widest ``interval`` that leaves out zero.

    So p < 0.05 says what the 95% interval says: that it leaves out zero. What is below 2 / (R + 1), R resamples
    cannot tell apart; the normal distribution of their mean and standard deviation then does. nan without a value.
    """
    known = np.sort(differences[~np.isnan(differences)])
    n = len(known)
    if not n:
        return np.nan
    # The places of zero among the quantiles: the last that is not above it, the first that is not below it.
    p = min(1.0, 2 * min(_place(known), _place(-known[::-1])))
    least, spread = 2 / (n + 1), float(known.std())
    if p >= least:
        return p
    if spread == 0.0:
        return least
    # Far out the distribution's tail is no longer a number; p is never 0.
    return min(least, max(math.erfc(abs(float(known.mean())) / spread / math.sqrt(2)), LEAST_P))


def _place(ordered: Floats) -> float:
    """The largest q in [0, 1] whose quantile of ``ordered``, by linear interpolation as in ``interval``, is <= 0."""
    below = int(np.searchsorted(ordered, 0.0, side="right"))
    if below == len(ordered):
        return 1.0
    if not below:
        return 0.0
    last, following = ordered[below - 1], ordered[below]
    return float((below - 1 + (0.0 - last) / (following - last)) / (len(ordered) - 1))


def holm(p_values: Sequence[float]) -> list[float]:
    """p-values of several comparisons, corrected so that the chance of any false finding stays below p (Holm, 1979).

    The smallest of m is multiplied by m, the next by m - 1, ..., none gets smaller than the one before it or
    larger than 1. nan is no comparison and stays.
    """
    known = sorted((p, number) for number, p in enumerate(p_values) if not math.isnan(p))
    corrected, largest = list(p_values), 0.0
    for place, (p, number) in enumerate(known):
        largest = max(largest, min(1.0, (len(known) - place) * p))
        corrected[number] = largest
    return corrected
