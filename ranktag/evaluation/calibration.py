"""How honest predicted probabilities are: of the tags that are shown with 80%, do people list 80%?

Every different tag that a prediction lists for a scored image, with its probability p, is a case; y is the share of
the image's people whose list holds it (empty lists do not count; of lists that are begun, each has its own cases). In
15 bins of equal width of p (Guo et al., "On calibration of modern neural networks", ICML 2017), pooled over images
and tags,

    ECE = sum_b n_b / n |mean y of b - mean p of b|        the expected calibration error (Naeini et al., AAAI 2015)

A file says nothing of the tags that it does not list, so it is the error of what is shown. One that lists every tag
('export-tags --num-tags V') has that of all tags; lists of other lengths cannot be compared.

Of a row of several files (seeds) it is the mean over these. Its 95% interval comes of resampled images (see
``ranktag.evaluation.bootstrap``); chance in the bins counts as error, and twice so in a resample, whose mean
excess over the score is taken off again. Letters: N images.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ranktag.config import EvaluationConfig
from ranktag.evaluation.bootstrap import interval, resampled_means
from ranktag.evaluation.completion import ranked_lists
from ranktag.evaluation.expected import Entry, Expected
from ranktag.evaluation.matches import Floats
from ranktag.evaluation.results import Estimate
from ranktag.tags.lists import TagList
from ranktag.tags.predictions import RankedTag

BINS = 15
IMAGES_AT_ONCE = 16384


@dataclass(frozen=True)
class Bin:
    """The tags whose probability is between low and high. tags: how many, the mean over a row's files.

    predicted: their mean probability; listed: the mean share of people who list them (both nan without tags).
    """

    low: float
    high: float
    tags: float
    predicted: float
    listed: float


@dataclass(frozen=True)
class CalibrationRow:
    """How honest one row's probabilities are.

    tags: how many there are, the mean over its files. predicted: their mean; listed: the mean share of people who
    list the tags. ece: the expected calibration error.
    """

    label: str
    tags: float
    predicted: float
    listed: float
    ece: Estimate
    bins: tuple[Bin, ...]


@dataclass(frozen=True)
class Calibration:
    """The rows that have probabilities, and the labels of those that have none."""

    rows: tuple[CalibrationRow, ...]
    without: tuple[str, ...]


def score_calibration(entries: Sequence[Entry], expected: Expected, config: EvaluationConfig) -> Calibration:
    """Compare every entry's probabilities with the lists of the expected images that have tags."""
    rows: list[CalibrationRow] = []
    without: list[str] = []
    tagged = list(itertools.compress(expected.image_ids, expected.tagged))
    for entry in entries:
        ids = [i for i in tagged if all(i in read for read in entry.predictions)]
        totals, counted = _of_files(entry, expected, ids)
        if totals[:, 0].any(axis=1).all():
            rows.append(_row(entry.label, totals, counted, config))
        else:
            without.append(entry.label)
    return Calibration(tuple(rows), tuple(without))


def _of_files(entry: Entry, expected: Expected, ids: Sequence[str]) -> tuple[Floats, Floats]:
    """Of every file the sums of ``bin_sums`` over the N images, (files, 3, BINS), and of each image what is resampled.

    That is the number of its tags, all bins together, and y - p in every bin: (files, N, 1 + BINS).
    """
    files = len(entry.predictions)
    totals, counted = np.zeros((files, 3, BINS)), np.empty((files, len(ids), 1 + BINS))
    for start in range(0, len(ids), IMAGES_AT_ONCE):
        block = slice(start, start + IMAGES_AT_ONCE)
        lists = [expected.lists[i] for i in ids[block]]
        sums = np.stack([bin_sums(lists, [ranked_lists(read, i) for i in ids[block]]) for read in entry.predictions])
        totals = np.concatenate([totals[:, None], sums], axis=1).sum(axis=1)
        counted[:, block, :1] = sums[:, :, :1].sum(axis=3)
        counted[:, block, 1:] = sums[:, :, 2] - sums[:, :, 1]
    return totals, counted


def bin_sums(truth: Sequence[Sequence[TagList]], predicted: Sequence[Sequence[Sequence[RankedTag]]]) -> Floats:
    """(N, 3, BINS): of each image's tags, by bin, their number, the sum of p and that of y.

    truth: of each of N images its people's lists. predicted: one ranked list for all its people, or one for each.
    Tags without a probability are left out.
    """
    image: list[int] = []
    p: list[float] = []
    y: list[float] = []
    for number, (people, several) in enumerate(zip(truth, predicted)):
        # Of lists that were begun, each has its own prediction; else all people are asked about one.
        asked = [[person] for person in people] if len(several) > 1 else [people]
        for lists, ranked in zip(asked, several, strict=True):
            given = [set(person) for person in lists if person]
            known = {tag: probability for tag, probability in reversed(ranked) if not math.isnan(probability)}
            if given:
                image += [number] * len(known)
                p += known.values()
                y += [sum(tag in person for person in given) / len(given) for tag in known]
    values = np.array([np.ones(len(p)), p, y])
    at = np.array(image, np.int64) * BINS + np.minimum((values[1] * BINS).astype(np.int64), BINS - 1)
    sums = [np.bincount(at, value, minlength=len(truth) * BINS).reshape(-1, BINS) for value in values]
    return np.stack(sums, axis=1).astype(np.float64)


def expected_error(tags: Floats, excess: Floats) -> Floats:
    """ECE from the number of tags in the bins, (..., BINS), and the sums of y - p there; nan without tags."""
    whole = tags.sum(axis=-1)
    part = np.abs(excess).sum(axis=-1)
    error: Floats = np.divide(part, whole, out=np.full_like(part, np.nan), where=whole > 0)
    return error


def _row(label: str, totals: Floats, counted: Floats, config: EvaluationConfig) -> CalibrationRow:
    """totals, counted: as of ``_of_files``."""
    files, n = counted.shape[:2]
    tags, p, y = np.moveaxis(totals, 1, 0)
    of_files = expected_error(tags, y - p)
    value = float(of_files.mean())
    columns = np.moveaxis(counted, 0, 1).reshape(n, -1)
    drawn = resampled_means(columns, config.resamples, config.seed).reshape(-1, files, 1 + BINS)
    errors = expected_error(drawn[..., :1], drawn[..., 1:]).mean(axis=1)
    excess = float(np.nanmean(errors)) - value if len(errors) else 0.0
    low, high = (max(0.0, bound - excess) if not math.isnan(bound) else bound for bound in interval(errors))
    spread = float(of_files.std(ddof=1)) if files > 1 else math.nan
    edges = np.linspace(0.0, 1.0, BINS + 1)
    return CalibrationRow(
        label=label,
        tags=float(tags.sum()) / files,
        predicted=float(p.sum() / tags.sum()),
        listed=float(y.sum() / tags.sum()),
        ece=Estimate(value, low, high, spread),
        bins=tuple(
            Bin(float(edges[b]), float(edges[b + 1]), own / files, *(_ratio(s, own) for s in of_bin))
            for b, (own, *of_bin) in enumerate(zip(*(part.sum(axis=0).tolist() for part in (tags, p, y))))
        ),
    )


def _ratio(part: float, whole: float) -> float:
    return part / whole if whole else math.nan
