"""An evaluation as tables: what its CSV files and its DataFrames hold."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Iterator, Sequence
from decimal import Decimal
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import pandas as pd

    from ranktag.evaluation.results import EvaluationReport


class Table(NamedTuple):
    """Names of columns, and rows of their cells; nan or None where there is nothing."""

    header: Sequence[str]
    rows: Iterable[Sequence[object]]

    def frame(self) -> pd.DataFrame:
        """The table as a DataFrame."""
        import pandas as pd

        frame = pd.DataFrame(self.rows, columns=list(self.header))
        # Counts that are missing in places stay whole numbers.
        return frame.astype({"people": "Int64"}) if "people" in frame else frame

    def cells(self) -> Iterator[list[object]]:
        """The rows as they are written to a CSV file."""
        for row in self.rows:
            yield [_cell(value) if isinstance(value, float) else value for value in row]


def _cell(number: float) -> str | Decimal:
    text = "" if math.isnan(number) else f"{number:.6g}"
    # As text a number with a minus would be guarded like a spreadsheet's formula (see ``ranktag.files.tables``).
    return Decimal(text) if number < 0 else text


def metrics_table(report: EvaluationReport) -> Table:
    """A row of scores each: its counts, and every score with its 95% interval and, with seeds, their spread."""
    scores = [score.name for score in report.metrics.scores]
    parts = ["", "_low", "_high"] + ["_seed_std"] * report.has_seeds
    counts = ("files", "images", "missing", "unknown", "empty", "unnamed", "trained_on", *report.metrics.counts)
    rows = []
    for row in report.table:
        estimates = [row.scores[name] for name in scores]
        numbers = [(e.value, e.low, e.high, e.seed_std)[: len(parts)] for e in estimates]
        missing, unknown = len(row.missing), len(row.unknown)
        first = (row.label, len(row.files), row.images, missing, unknown, row.empty, row.unnamed, row.trained_on)
        rows.append([*first, *row.counts.values(), *(number for several in numbers for number in several)])
    return Table(["label", *counts, *(name + part for name in scores for part in parts)], rows)


def image_table(report: EvaluationReport) -> Table:
    """A row an image and row of scores: how many people gave tags, its values, or why it has none."""
    return Table(["label", "image_id", "status", "people", *report.metrics.values], _image_rows(report))


def _image_rows(report: EvaluationReport) -> Iterator[list[object]]:
    blank = [math.nan] * len(report.metrics.values)
    for row in report.table:
        missing = frozenset(row.missing)
        for image_id, scored, values in zip(report.image_ids, row.scored, row.values):
            people = sum(map(bool, report.lists[image_id]))
            if scored:
                yield [row.label, image_id, "scored", people, *map(float, values)]
            elif row is not report.people:
                status = "missing" if image_id in missing else "without tags"
                yield [row.label, image_id, status, people, *blank]
        for image_id in row.unknown:
            yield [row.label, image_id, "not in the tag file", None, *blank]


def tag_table(report: EvaluationReport) -> Table:
    """A row a tag and row of scores."""
    header = ("label", "tag", "support", "predicted", "precision", "recall", "rank_error")
    return Table(header, ([getattr(tag_row, name) for name in header] for tag_row in report.tag_rows))


def difference_table(report: EvaluationReport) -> Table:
    """A row a pair of rows: the first's score minus the second's, its 95% interval, p and Holm's p, of every score."""
    scores = [score.name for score in report.metrics.scores]
    header = [
        "first",
        "second",
        "images",
        *(name + part for name in scores for part in ("", "_low", "_high", "_p", "_p_holm")),
    ]
    rows = []
    for difference in report.differences:
        changes = [difference.scores[name] for name in scores]
        numbers = [number for change in changes for number in dataclasses.astuple(change)]
        rows.append([difference.first, difference.second, difference.images, *numbers])
    return Table(header, rows)
