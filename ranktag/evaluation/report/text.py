"""An evaluation in plain text: the table that a command prints, and the sentences on what was not scored."""

from __future__ import annotations

import math
from collections.abc import Sequence

from ranktag.errors import one_line
from ranktag.evaluation.results import Change, Estimate, EvaluationReport


def to_text(report: EvaluationReport) -> str:
    """The scores with their intervals, the differences and the counts, in plain text, without a newline at the end."""
    seeds = any(len(row.files) > 1 for row in report.rows)
    table = [
        ["", "images", "NDCG@1", "NDCG@3", "NDCG@5", "first tag", "order (pairs)", "tags"] + ["NDCG@5 by seed"] * seeds
    ]
    for row in report.table:
        ndcg = [_with_interval(row.scores[f"ndcg@{k}"]) for k in (1, 3, 5)]
        order = f"{_fixed(row.scores['order_accuracy'].value)} ({row.order_pairs:,.0f})"
        lengths = f"{row.scores['predicted_length'].value:.1f} for {row.scores['truth_length'].value:.1f}"
        spread = row.scores["ndcg@5"].seed_std
        by_seed = [f"std {spread:.4f} of {len(row.files)}" if len(row.files) > 1 else ""] if seeds else []
        table.append(
            [
                short_reason(row.label),
                f"{row.images:,}",
                *ndcg,
                _fixed(row.scores["first_tag"].value),
                order,
                lengths,
                *by_seed,
            ]
        )
    sections = [f"{title(report)}\n\n{_aligned(table)}"]
    if report.differences:
        table = [["difference", "images", "NDCG@1", "p", "NDCG@3", "p", "NDCG@5", "p"]]
        for d in report.differences:
            changes = [cell for k in (1, 3, 5) for cell in _with_p(d.scores[f"ndcg@{k}"])]
            table.append([f"{short_reason(d.first)} - {short_reason(d.second)}", f"{d.images:,}", *changes])
        sections.append(_aligned(table))
    explained = "Scores are means over images" + (
        f", with 95% intervals by {report.config.resamples:,} bootstrap resamples of the images."
        if report.config.resamples
        else "."
    )
    return "\n\n".join([*sections, "\n".join([explained, *map(one_line, notes(report))])])


def title(report: EvaluationReport) -> str:
    """What was compared with what, in a line."""
    files = len(report.rows)
    where = f", split {' and '.join(report.splits)}" if report.splits else ""
    return one_line(
        f"{files} {'prediction' if files == 1 else 'predictions'} against {report.tags.name}{where}: {len(report.image_ids):,} images"
    )


def notes(report: EvaluationReport) -> list[str]:
    """Everything that was not scored, or could not have been predicted, a sentence each."""
    lines = []
    if report.config.gain != "log":
        lines.append(f"NDCG with {report.config.gain} gain.")
    if report.untagged:
        lines.append(f"{_count(report.untagged, 'expected image')} without tags: not scored.")
    for row in report.rows:
        if row.missing:
            lines.append(
                f"{row.label}: lacks {_count(len(row.missing), 'expected image')} ({_examples(row.missing)}): not scored."
            )
        if row.unknown:
            lines.append(
                f"{row.label}: {_count(len(row.unknown), 'image')} not in the tag file ({_examples(row.unknown)}): not scored."
            )
        if row.not_expected:
            lines.append(f"{row.label}: {_count(row.not_expected, 'image')} of other splits: not scored.")
        if row.empty:
            lines.append(f"{row.label}: no tag for {_count(row.empty, 'image')}: scored 0.")
    if not report.splits and report.not_in_any_file:
        lines.append(
            f"{_count(report.not_in_any_file, 'image')} of the tag file in no prediction file: not scored (it has no splits)."
        )
    if report.unseen is not None:
        lines.append(
            f"{_count(report.truth_tags, 'tag')} in the truth, {report.unseen:,} of them "
            f"({report.unseen_tags:,} different) in no training list: they stay in the truth."
        )
    unnamed = [f"{row.label} {row.unnamed_tags:,} ({row.unnamed:,})" for row in report.rows if row.unnamed]
    if unnamed:
        lines.append(
            f"Tags of the truth that a row never predicts, and how often they stand there: {', '.join(unnamed)}."
        )
    if report.people is not None:
        lines.append(
            f"{_count(report.people.images, 'image')} with several people's lists: a score is the mean over people, "
            "and the row of people is each person's list scored against each of the others', on these images only."
        )
    return lines


def short_reason(label: str) -> str:
    """``label`` on one line, without its beginning if it is long: file names differ in their ends."""
    label = one_line(label)
    return label if len(label) <= 40 else "..." + label[-37:]


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}" + ("" if number == 1 else "s")


def _examples(ids: Sequence[str]) -> str:
    return ", ".join(f"'{i}'" for i in ids[:3]) + (", ..." if len(ids) > 3 else "")


def _fixed(number: float, sign: str = "") -> str:
    return "-" if math.isnan(number) else f"{number:{sign}.3f}"


def _with_interval(estimate: Estimate | Change, sign: str = "") -> str:
    value = _fixed(estimate.value, sign)
    return (
        value if math.isnan(estimate.low) else f"{value} [{_fixed(estimate.low, sign)}, {_fixed(estimate.high, sign)}]"
    )


def _with_p(change: Change) -> tuple[str, str]:
    return _with_interval(change, "+"), _fixed(change.p)


def _aligned(table: Sequence[Sequence[str]]) -> str:
    """Rows of cells in columns: the first to the left, numbers to the right."""
    widths = [max(map(len, column)) for column in zip(*table)]
    return "\n".join(
        "  ".join(
            cell.rjust(width) if number else cell.ljust(width) for number, (cell, width) in enumerate(zip(row, widths))
        ).rstrip()
        for row in table
    )
