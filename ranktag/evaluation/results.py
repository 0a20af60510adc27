"""What an evaluation found: scores with their intervals, differences between rows, and counts."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ranktag.config import EvaluationConfig
from ranktag.evaluation import tables
from ranktag.evaluation.matches import Floats, Mask
from ranktag.evaluation.scores import MetricTable
from ranktag.tags.lists import TagList
from ranktag.tags.predictions import Predictions

if TYPE_CHECKING:
    import pandas as pd

    from ranktag.evaluation.calibration import Calibration
    from ranktag.evaluation.retrieval import Retrieval


@dataclass(frozen=True)
class Estimate:
    """A score. low, high: its 95% interval (nan without resamples). seed_std: over a row's files (nan for one file)."""

    value: float
    low: float = math.nan
    high: float = math.nan
    seed_std: float = math.nan


@dataclass(frozen=True)
class Row:
    """What one prediction file, or several seeds', scored.

    files: none for the row of people. scores: a score's name, 'ndcg@5', -> estimate.
    counts: how many cases a ratio is of (the mean over files), as 'order_pairs'.
    values: (images of the report, len(report.metrics.values)) float64, nan where an
    image is not scored.
    missing: expected images, with tags or without, that some file of the row lacks.
    unknown: ids that the tag file does not have. not_expected: images of the tag file
    that were not asked for (another split). empty: scored images with no predicted
    tag (in any of the files). unnamed_tags, unnamed: different truth tags of the scored
    images that the row never predicts for any image, and how often they stand in the truth.
    trained_on: scored images that a model of the row was trained on. near: how unknown
    ids would find missing ones, in words; '' if they would not.
    """

    label: str
    files: tuple[Path, ...]
    scores: Mapping[str, Estimate]
    counts: Mapping[str, float]
    values: Floats
    missing: tuple[str, ...] = ()
    unknown: tuple[str, ...] = ()
    not_expected: int = 0
    empty: int = 0
    unnamed_tags: int = 0
    unnamed: int = 0
    trained_on: int = 0
    near: str = ""

    @property
    def scored(self) -> Mask:
        """Which images of the report count in this row, (images,) bool."""
        return np.logical_not(np.isnan(self.values).all(axis=1))

    @property
    def images(self) -> int:
        """How many images count in this row."""
        return int(np.count_nonzero(self.scored))


@dataclass(frozen=True)
class Change:
    """The first row's score minus the second's, its 95% interval and the two-sided p of a paired bootstrap.

    p_holm: p, corrected for the number of differences that the report holds (``bootstrap.holm``).
    """

    value: float
    low: float = math.nan
    high: float = math.nan
    p: float = math.nan
    p_holm: float = math.nan


@dataclass(frozen=True)
class Difference:
    """Two rows compared on the images that both score."""

    first: str
    second: str
    images: int
    scores: Mapping[str, Change]


@dataclass(frozen=True)
class TagRow:
    """How a row did with one tag, over all scored lists.

    support: lists that hold the tag. predicted: lists of images for which it was
    predicted. precision, recall: share of ``predicted``, of ``support`` in which it
    was both (nan without any). rank_error: mean distance of its place from its rank
    where it was both. Counts are means over a row's files.
    """

    label: str
    tag: str
    support: int
    predicted: float
    precision: float
    recall: float
    rank_error: float


@dataclass(frozen=True)
class EvaluationReport:
    """Everything an evaluation found.

    metrics: the columns of the tables. splits: those the expected images were taken from, () if nobody knows of any;
    told_by: who does, 'tags' or 'predictions'. spelling_note: which tags were taken for one, in words.
    image_ids: the expected images, in the tag file's order. lists: their people's
    lists. rows: one an argument, in order. people: the human ceiling, each person's
    list scored against each of the others', on the images that have several; None
    if none has. differences: every two rows. predictions: label -> image id -> what
    the row's first file predicts.

    Counts. untagged: expected images without tags. not_in_any_file: images of the
    tag file that no prediction file holds. truth_tags: tags in all expected lists,
    repeats counted. unseen, unseen_tags: those of them that no list of the train
    split holds, and how many different ones; None if the tag file has no train
    split or if it is what is scored.

    retrieval: how well images are found by the predictions; None if that was not asked for. calibration: how honest
    the predicted probabilities are. completion: how well begun lists are gone on with, a report a number of given tags,
    of the files that say so.
    """

    metrics: MetricTable
    tags: Path
    config: EvaluationConfig
    splits: tuple[str, ...]
    told_by: str
    spelling_note: str
    image_ids: tuple[str, ...]
    lists: Mapping[str, Sequence[TagList]]
    rows: tuple[Row, ...]
    people: Row | None
    differences: tuple[Difference, ...]
    tag_rows: tuple[TagRow, ...]
    predictions: Mapping[str, Predictions]
    untagged: int
    not_in_any_file: int
    truth_tags: int
    unseen_tags: int | None
    unseen: int | None
    calibration: Calibration
    retrieval: Retrieval | None = None
    completion: tuple[EvaluationReport, ...] = ()

    @property
    def table(self) -> tuple[Row, ...]:
        """The rows, and the row of people below them if there is one."""
        return self.rows if self.people is None else (*self.rows, self.people)

    @property
    def best(self) -> Row:
        """The row of predictions whose leading score is the highest."""
        return max(self.rows, key=lambda row: row.scores[self.metrics.leading.name].value)

    @property
    def has_seeds(self) -> bool:
        """Some row stands for several files."""
        return any(len(row.files) > 1 for row in self.rows)

    @property
    def complete(self) -> bool:
        """No file lacks an expected image."""
        return not any(row.missing for row in self.rows) and all(part.complete for part in self.completion)

    def metrics_frame(self) -> pd.DataFrame:
        """A row of the table each: its counts, and every score with its interval (metrics.csv)."""
        return tables.metrics_table(self).frame()

    def per_image_frame(self) -> pd.DataFrame:
        """An image of a row each: how many people gave tags, and its values, or why it has none (per_image.csv)."""
        return tables.image_table(self).frame()

    def per_tag_frame(self) -> pd.DataFrame:
        """A tag of a row each: support, precision, recall and rank error (per_tag.csv)."""
        return tables.tag_table(self).frame()

    def differences_frame(self) -> pd.DataFrame:
        """A pair of rows each: the difference of every score, with its interval and p."""
        return tables.difference_table(self).frame()
