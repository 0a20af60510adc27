"""How honest probabilities are, as tables and as JSON: ``calibration*.csv`` and a part of ``metrics.json``."""

from __future__ import annotations

import dataclasses
from typing import Any

from ranktag.evaluation.calibration import BINS, Calibration
from ranktag.evaluation.report.retrieval import numbers_json
from ranktag.evaluation.results import EvaluationReport
from ranktag.evaluation.tables import Table


def calibration_table(report: EvaluationReport) -> Table:
    """A row of scores each: its probabilities, how often people list such tags, and the expected calibration error."""
    header = ["label", "tags", "predicted", "listed", "ece", "ece_low", "ece_high", "ece_seed_std"]
    rows = (
        [row.label, row.tags, row.predicted, row.listed, *dataclasses.astuple(row.ece)]
        for row in report.calibration.rows
    )
    return Table(header, rows)


def bin_table(report: EvaluationReport) -> Table:
    """A row a row of scores and bin of the probability: what the reliability plots show."""
    header = ["label", "low", "high", "tags", "predicted", "listed"]
    rows = ([row.label, *dataclasses.astuple(one)] for row in report.calibration.rows for one in row.bins)
    return Table(header, rows)


def calibration_json(calibration: Calibration) -> dict[str, Any]:
    """How honest probabilities are, as JSON holds it."""
    return {
        "bins": BINS,
        "without_probabilities": calibration.without,
        "rows": [
            {
                "label": row.label,
                "tags": row.tags,
                "predicted": row.predicted,
                "listed": row.listed,
                "ece": numbers_json(row.ece),
            }
            for row in calibration.rows
        ],
    }
