"""An evaluation as a folder of files.

===============  ==================================================================================
metrics.csv      a row of scores each, every score with its 95% interval (``_low``, ``_high``)
metrics.json     the same, the differences between every two rows, and what was counted
differences.csv  a row a pair of rows: every difference with its interval, p, and p corrected by Holm
metrics.tex      the scores and the differences that are printed, as LaTeX tables
per_image.csv    a row an image and row of scores: how many people gave tags, its values, or why it has none
per_tag.csv      a row a tag and row of scores: support, precision, recall, rank error
calibration.csv  a row of scores each: how honest its probabilities are, with calibration_bins.csv: a row a bin
retrieval.csv    how well images are found by importance and by presence, if that was asked for (``--retrieval``), with
                 retrieval_differences.csv, and retrieval_queries.csv: a row a query
completion.csv   how well begun lists are gone on with, a row a number of given tags and row of scores, if files say so,
                 with completion_differences.csv
report.html      all of it to look at, with photos, in one file (see ``ranktag.evaluation.report.page``)
===============  ==================================================================================
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from ranktag.errors import Exists
from ranktag.evaluation.report.calibration import bin_table, calibration_json, calibration_table
from ranktag.evaluation.report.latex import to_latex
from ranktag.evaluation.report.page import render
from ranktag.evaluation.report.retrieval import RETRIEVAL_TABLES, numbers_json, retrieval_json
from ranktag.evaluation.results import Difference, EvaluationReport, Row
from ranktag.evaluation.tables import Table, difference_table, image_table, metrics_table, tag_table
from ranktag.files.replacement import Replacement, replaced_together
from ranktag.files.tables import write_table
from ranktag.version import __version__

TABLES = {
    "metrics.csv": metrics_table,
    "differences.csv": difference_table,
    "per_image.csv": image_table,
    "per_tag.csv": tag_table,
    "calibration.csv": calibration_table,
    "calibration_bins.csv": bin_table,
}
COMPLETION_TABLES = {"completion.csv": metrics_table, "completion_differences.csv": difference_table}
FILES = (*TABLES, "metrics.json", "metrics.tex", "report.html")
# What may be in the folder of a report.
ALL_FILES = (*FILES, *RETRIEVAL_TABLES, *COMPLETION_TABLES)


def check_output(output: Path, overwrite: bool) -> None:
    """Raise RanktagError unless a report can be written to ``output``: a new or empty folder, or one to replace."""
    if not output.is_dir():
        if output.exists() or output.is_symlink():
            raise Exists(f"{output}: is a file, the report is a folder; choose another path")
        return
    there = Replacement(output, ALL_FILES).names()
    others = sorted(there - set(ALL_FILES))
    if others:
        raise Exists(f"{output}: holds '{others[0]}', which is not of a report; choose a new folder")
    if there and not overwrite:
        raise Exists(f"{output}: exists already; choose another path or pass --overwrite")


def write_report(output: Path, report: EvaluationReport, images: Path | None = None, overwrite: bool = False) -> None:
    """Write the folder in one piece. images: folder of the photos, for the gallery."""
    check_output(output, overwrite)
    tables = {name: table_of(report) for name, table_of in TABLES.items()}
    if report.retrieval is not None:
        tables |= {name: table_of(report.retrieval) for name, table_of in RETRIEVAL_TABLES.items()}
    if report.completion:
        tables |= {name: _after_each(report.completion, table_of) for name, table_of in COMPLETION_TABLES.items()}
    with replaced_together(output, ALL_FILES) as folder:
        for name, table in tables.items():
            write_table(folder / name, table.header, table.cells())
        text = json.dumps(_metrics_json(report), indent=1, ensure_ascii=False, allow_nan=False)
        # What is not UTF-8 in a file's name becomes a valid JSON escape.
        (folder / "metrics.json").write_text(text + "\n", encoding="utf-8", errors="backslashreplace")
        (folder / "metrics.tex").write_text(to_latex(report), encoding="utf-8", errors="backslashreplace")
        (folder / "report.html").write_text(render(report, images), encoding="utf-8")


def _after_each(parts: Sequence[EvaluationReport], table_of: Callable[[EvaluationReport], Table]) -> Table:
    """The tables of several reports as one, each row after how many tags are given."""
    tables = [(part.config.given, table_of(part)) for part in parts]
    return Table(["given", *tables[0][1].header], [[k, *row] for k, table in tables for row in table.rows])


def _metrics_json(report: EvaluationReport) -> dict[str, Any]:
    return {
        "ranktag_version": __version__,
        "tags": str(report.tags),
        "config": report.config.to_dict(),
        "splits": report.splits,
        "splits_told_by": report.told_by or None,
        "images": {
            "expected": len(report.image_ids),
            "without_tags": report.untagged,
            "with_several_lists": 0 if report.people is None else report.people.images,
            "not_in_any_file": report.not_in_any_file,
        },
        "truth_tags": {"all": report.truth_tags, "in_no_training_list": report.unseen, "different": report.unseen_tags},
        "rows": [_row_json(row) for row in report.table],
        "p_holm_of_comparisons": len(report.differences),
        "differences": [_difference_json(difference) for difference in report.differences],
        "calibration": calibration_json(report.calibration),
        "completion": [
            {
                "given": part.config.given,
                "images": len(part.image_ids),
                "lists": sum(map(len, part.lists.values())),
                "rows": [_row_json(row) for row in part.table],
                "differences": [_difference_json(difference) for difference in part.differences],
            }
            for part in report.completion
        ],
        "retrieval": None if report.retrieval is None else retrieval_json(report.retrieval),
    }


def _row_json(row: Row) -> dict[str, Any]:
    return {
        "label": row.label,
        "files": [str(file) for file in row.files],
        "images": row.images,
        "missing": row.missing,
        "unknown": row.unknown,
        "not_expected": row.not_expected,
        "empty": row.empty,
        "unnamed": row.unnamed,
        "unnamed_tags": row.unnamed_tags,
        "trained_on": row.trained_on,
        **row.counts,
        "scores": {name: numbers_json(estimate) for name, estimate in row.scores.items()},
    }


def _difference_json(difference: Difference) -> dict[str, Any]:
    return {
        "first": difference.first,
        "second": difference.second,
        "images": difference.images,
        "scores": {name: numbers_json(change) for name, change in difference.scores.items()},
    }
