"""An evaluation as a folder of files.

===============  ==================================================================================
metrics.csv      a row of scores each, every score with its 95% interval (``_low``, ``_high``)
metrics.json     the same, the differences between every two rows, and what was counted
per_image.csv    a row an image and row of scores: how many people gave tags, its values, or why it has none
per_tag.csv      a row a tag and row of scores: support, precision, recall, rank error
report.html      all of it to look at, with photos, in one file (see ``ranktag.evaluation.report.page``)
===============  ==================================================================================
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ranktag.errors import RanktagError
from ranktag.evaluation.compare import SCORES, VALUES
from ranktag.evaluation.report.page import render
from ranktag.evaluation.results import Estimate, EvaluationReport
from ranktag.files.replacement import Replacement, replaced_together
from ranktag.files.tables import write_table
from ranktag.version import __version__

FILES = ("metrics.csv", "metrics.json", "per_image.csv", "per_tag.csv", "report.html")


def check_output(output: Path, overwrite: bool) -> None:
    """Raise RanktagError unless a report can be written to ``output``: a new or empty folder, or a report to replace."""
    if not output.is_dir():
        if output.exists() or output.is_symlink():
            raise RanktagError(f"{output}: is a file, the report is a folder; choose another path")
        return
    there = Replacement(output, FILES).names()
    others = sorted(there - set(FILES))
    if others:
        raise RanktagError(f"{output}: holds '{others[0]}', which is not of a report; choose a new folder")
    if there and not overwrite:
        raise RanktagError(f"{output}: exists already; choose another path or pass --overwrite")


def write_report(output: Path, report: EvaluationReport, images: Path | None = None, overwrite: bool = False) -> None:
    """Write the folder in one piece. images: folder of the photos, for the gallery."""
    check_output(output, overwrite)
    with replaced_together(output, FILES) as folder:
        write_table(folder / "metrics.csv", *_metrics_table(report))
        text = json.dumps(_metrics_json(report), indent=1, ensure_ascii=False, allow_nan=False)
        # What is not UTF-8 in a file's name becomes a valid JSON escape.
        (folder / "metrics.json").write_text(text + "\n", encoding="utf-8", errors="backslashreplace")
        write_table(folder / "per_image.csv", ("label", "image_id", "status", "people", *VALUES), _image_rows(report))
        write_table(
            folder / "per_tag.csv",
            ("label", "tag", "support", "predicted", "precision", "recall", "rank_error"),
            (
                (
                    r.label,
                    r.tag,
                    r.support,
                    f"{r.predicted:g}",
                    _cell(r.precision),
                    _cell(r.recall),
                    _cell(r.rank_error),
                )
                for r in report.tag_rows
            ),
        )
        (folder / "report.html").write_text(render(report, images), encoding="utf-8")


def _metrics_table(report: EvaluationReport) -> tuple[list[str], list[list[object]]]:
    seeds = any(len(row.files) > 1 for row in report.rows)
    parts = ("", "_low", "_high", "_seed_std") if seeds else ("", "_low", "_high")
    header = ["label", "files", "images", "missing", "unknown", "empty", "unnamed", "order_pairs"]
    header += [name + part for name in SCORES for part in parts]
    rows: list[list[object]] = []
    for row in report.table:
        counts = [
            len(row.files),
            row.images,
            len(row.missing),
            len(row.unknown),
            row.empty,
            row.unnamed,
            f"{row.order_pairs:g}",
        ]
        numbers = [number for name in SCORES for number in _numbers(row.scores[name])[: len(parts)]]
        rows.append([row.label, *counts, *map(_cell, numbers)])
    return header, rows


def _numbers(estimate: Estimate) -> tuple[float, float, float, float]:
    return estimate.value, estimate.low, estimate.high, estimate.seed_std


def _cell(number: float) -> str:
    return "" if math.isnan(number) else f"{number:.6g}"


def _metrics_json(report: EvaluationReport) -> dict[str, Any]:
    return {
        "ranktag_version": __version__,
        "tags": str(report.tags),
        "config": report.config.to_dict(),
        "splits": report.splits,
        "images": {
            "expected": len(report.image_ids),
            "without_tags": report.untagged,
            "with_several_lists": 0 if report.people is None else report.people.images,
            "not_in_any_file": report.not_in_any_file,
        },
        "truth_tags": {"all": report.truth_tags, "in_no_training_list": report.unseen, "different": report.unseen_tags},
        "rows": [
            {
                "label": row.label,
                "files": [str(file) for file in row.files],
                "images": row.images,
                "missing": row.missing,
                "unknown": row.unknown,
                "not_expected": row.not_expected,
                "empty": row.empty,
                "unnamed": row.unnamed,
                "unnamed_tags": row.unnamed_tags,
                "order_pairs": row.order_pairs,
                "scores": {
                    name: dict(zip(("value", "low", "high", "seed_std"), map(_json_number, _numbers(row.scores[name]))))
                    for name in SCORES
                },
            }
            for row in report.table
        ],
        "differences": [
            {
                "first": difference.first,
                "second": difference.second,
                "images": difference.images,
                "scores": {
                    name: dict(zip(("value", "low", "high", "p"), map(_json_number, (c.value, c.low, c.high, c.p))))
                    for name, c in difference.scores.items()
                },
            }
            for difference in report.differences
        ],
    }


def _json_number(number: float) -> float | None:
    return None if math.isnan(number) else number


def _image_rows(report: EvaluationReport) -> Iterator[list[object]]:
    blank = [""] * len(VALUES)
    for row in report.table:
        missing = frozenset(row.missing)
        for image_id, values in zip(report.image_ids, row.values):
            people = sum(map(bool, report.lists[image_id]))
            if not math.isnan(values[0]):
                yield [row.label, image_id, "scored", people, *map(_cell, values)]
            elif row is not report.people:
                status = "missing" if image_id in missing else "without tags"
                yield [row.label, image_id, status, people, *blank]
        for image_id in row.unknown:
            yield [row.label, image_id, "not in the tag file", "", *blank]
