"""An evaluation in plain text: the table that a command prints, and the sentences on what was not scored."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

from ranktag.errors import one_line
from ranktag.evaluation.calibration import BINS, Calibration
from ranktag.evaluation.results import Change, Estimate, EvaluationReport, Row
from ranktag.evaluation.retrieval import KINDS, LEAST_IMAGES, METRICS, ORDERS, Retrieval
from ranktag.evaluation.scores import Score
from ranktag.wording import aligned, count


def to_text(report: EvaluationReport) -> str:
    """The scores with their intervals, the differences and the counts, in plain text, without a newline at the end."""
    sections = [f"{title(report)}\n\n{aligned(score_table(report))}"]
    if report.differences:
        sections.append(aligned(difference_table(report)))
    if report.calibration.rows:
        sections.append(f"{aligned(calibration_table(report.calibration))}\n\n{about_calibration(report)}")
    if report.retrieval is not None:
        sections.append(retrieval_text(report.retrieval, report.config.resamples))
    sections += map(completion_text, report.completion)
    explained = "Scores are means over images" + (
        f", with 95% intervals by {report.config.resamples:,} bootstrap resamples of the images."
        if report.config.resamples
        else "."
    )
    lines = [explained, *filter(None, [about_p(report)]), *map(one_line, notes(report))]
    return "\n\n".join([*sections, "\n".join(lines)])


def about_p(report: EvaluationReport) -> str:
    """What p of a difference is, in a sentence; '' without one."""
    if not report.differences or not report.config.resamples:
        return ""
    several = len(report.differences)
    begun = ", ".join(
        f"{len(part.differences)} after {count(part.config.given or 0, 'tag')}" for part in report.completion
    )
    corrected = (
        f", corrected for {several} comparisons{begun and f' ({begun})'} by Holm: it may be above 0.05 where the "
        "interval, which is not corrected, leaves out zero"
        if several > 1
        else "; it is below 0.05 where the interval leaves out zero"
    )
    least = 2 / (report.config.resamples + 1)
    return (
        f"Differences: two-sided p by the same resamples (below {least:.1g}, by their normal distribution){corrected}."
    )


def p_text(p: float) -> str:
    """A p as it is read: three digits after the point, smaller ones by their first digit."""
    if math.isnan(p):
        return "-"
    return f"{p:.3f}" if p >= 0.001 else "<1e-9" if p < 1e-9 else f"{p:.1g}"


def score_table(report: EvaluationReport) -> list[list[str]]:
    """Rows of cells: the scores that are printed, under their names."""
    shown = [score for score in report.metrics.scores if score.metric.in_text and score.short]
    leading = report.metrics.leading
    header = ["", "images", *map(_heading, shown)]
    table = [header + [f"{leading.label} by seed"] * report.has_seeds]
    for row in report.table:
        trained = f" ({row.trained_on:,} trained on)" if row.trained_on else ""
        cells = [short_label(row.label), f"{row.images:,}{trained}", *(_score(row, score) for score in shown)]
        spread = row.scores[leading.name].seed_std
        by_seed = f"std {spread:.4f} of {len(row.files)}" if len(row.files) > 1 else ""
        table.append(cells + [by_seed] * report.has_seeds)
    return table


def _heading(score: Score) -> str:
    return score.label if score.metric.ratio is None else f"{score.label} ({score.metric.ratio.unit})"


def _score(row: Row, score: Score) -> str:
    metric, estimate = score.metric, row.scores[score.name]
    text = _with_interval(estimate, metric.digits) if metric.interval_in_text else fixed(estimate.value, metric.digits)
    if metric.ratio is not None:
        text += f" ({row.counts[metric.ratio.denominator]:,.0f})"
    if metric.beside:
        text += f" for {fixed(row.scores[metric.beside].value, metric.digits)}"
    return text


def difference_table(report: EvaluationReport) -> list[list[str]]:
    """Rows of cells: the differences that are printed, with their p."""
    shown = [s for s in report.metrics.scores if s.metric.in_text and s.metric.interval_in_text and s.short]
    table = [["difference", "images", *(cell for score in shown for cell in (score.label, "p"))]]
    for d in report.differences:
        cells = [f"{short_label(d.first)} - {short_label(d.second)}", f"{d.images:,}"]
        for score in shown:
            change = d.scores[score.name]
            cells += [_with_interval(change, score.metric.digits, "+"), p_text(change.p_holm)]
        table.append(cells)
    return table


def calibration_table(calibration: Calibration) -> list[list[str]]:
    """Rows of cells: the probabilities that were predicted, how often people list such tags, and their error."""
    table = [["probabilities", "tags", "predicted", "listed", "ECE"]]
    for row in calibration.rows:
        shares = (f"{100 * share:.1f}%" for share in (row.predicted, row.listed))
        table.append([short_label(row.label), f"{row.tags:,.0f}", *shares, _with_interval(row.ece, 4)])
    return table


def about_calibration(report: EvaluationReport) -> str:
    """What the numbers on probabilities are, in sentences."""
    whose = "people list them" if report.config.given is None else "they are in the rest of the list"
    sentences = [
        f"Probabilities of the tags that are predicted, and how often {whose}; ECE, the expected calibration error, is "
        f"how far the two are apart in {BINS} bins of the probability. Greedy and beam write that of a tag after those "
        "before it, which is not how likely the list holds it."
    ]
    if report.calibration.without:
        sentences.append(f"Without probabilities: {', '.join(map(short_label, report.calibration.without))}.")
    return " ".join(sentences)


def completion_text(report: EvaluationReport) -> str:
    """How well begun lists are gone on with: the scores, and the best row's differences from the others."""
    tables = [title(report), aligned(score_table(report))]
    best = report.best.label
    own = [d for d in report.differences if best in (d.first, d.second)]
    if own:
        tables.append(aligned(difference_table(dataclasses.replace(report, differences=tuple(own)))))
    return "\n\n".join(tables)


def retrieval_text(retrieval: Retrieval, resamples: int) -> str:
    """How well images are found, over all queries: each row by importance and by presence, and its differences."""
    if not retrieval.queries:
        return about_retrieval(retrieval, resamples)
    tables = [aligned(retrieval_table(retrieval))]
    if retrieval.differences:
        tables.append(aligned(retrieval_difference_table(retrieval)))
    return "\n\n".join([about_retrieval(retrieval, resamples), *tables])


def about_retrieval(retrieval: Retrieval, resamples: int) -> str:
    """What was searched for in what, and what the numbers are, in sentences."""
    if not retrieval.queries:
        return f"Search is not scored: no tag is held by {LEAST_IMAGES} images."
    pairs = sum(len(tags) > 1 for tags, _ in retrieval.queries)
    asked = f"{count(len(retrieval.queries) - pairs, 'tag')}, {count(pairs, 'pair')} of tags"
    over = (
        f", with 95% intervals by {resamples:,} bootstrap resamples of the queries; p is two-sided by the same "
        "resamples, corrected by Holm for the comparisons of its table"
        if resamples
        else ""
    )
    return (
        f"Search for {asked}, each held by {LEAST_IMAGES} or more of {count(retrieval.images, 'image')}. "
        f"Scores are means over queries{over}."
    )


def retrieval_table(retrieval: Retrieval) -> list[list[str]]:
    """Rows of cells: how well images are found by all queries, by importance, by presence, and the difference."""
    header = ["search", "queries"]
    for title in METRICS.values():
        header += [f"{title} by importance", "by presence", "difference", "p"]
    table = [header]
    for row in retrieval.rows:
        if row.kind == KINDS[0]:
            cells = [short_label(row.label), f"{row.queries:,}"]
            for name in METRICS:
                change = row.gained[name]
                cells += [fixed(row.scores[f"{name}_{by}"].value) for by in ORDERS]
                cells += [_with_interval(change, 3, "+"), p_text(change.p_holm)]
            table.append(cells)
    return table


def retrieval_difference_table(retrieval: Retrieval) -> list[list[str]]:
    """Rows of cells: the differences between rows, both by importance, over all queries."""
    table = [["search by importance", "queries", *(cell for title in METRICS.values() for cell in (title, "p"))]]
    for d in retrieval.differences:
        if d.kind == KINDS[0]:
            cells = [f"{short_label(d.first)} - {short_label(d.second)}", f"{d.queries:,}"]
            for name in METRICS:
                cells += [_with_interval(d.scores[name], 3, "+"), p_text(d.scores[name].p_holm)]
            table.append(cells)
    return table


def title(report: EvaluationReport) -> str:
    """What was compared with what, in a line."""
    files = len(report.rows)
    where = f", split {' and '.join(report.splits)}" if report.splits else ""
    if report.told_by == "predictions":
        where += " as the models saw it"
    predictions = "prediction" if files == 1 else "predictions"
    against = report.tags.name
    if report.config.given is not None:
        lists = sum(map(len, report.lists.values()))
        against = f"the rest of {count(lists, 'list')} of {against} after {count(report.config.given, 'given tag')}"
    return one_line(f"{files} {predictions} against {against}{where}: {len(report.image_ids):,} images")


def notes(report: EvaluationReport) -> list[str]:
    """Everything that was not scored, or could not have been predicted, a sentence each."""
    lines = []
    if report.config.gain != "log":
        lines.append(f"NDCG with {report.config.gain} gain.")
    if report.spelling_note:
        lines.append(report.spelling_note + ".")
    if report.untagged:
        lines.append(f"{count(report.untagged, 'expected image')} without tags: not scored.")
    lines += [line for row in report.rows for line in _row_notes(row)]
    if not report.splits and report.not_in_any_file:
        nowhere = count(report.not_in_any_file, "image")
        lines.append(f"{nowhere} of the tag file in no prediction file: not scored (it has no splits).")
    if report.unseen is not None:
        lines.append(
            f"{count(report.truth_tags, 'tag')} in the truth, {report.unseen:,} of them "
            f"({report.unseen_tags:,} different) in no training list: they stay in the truth."
        )
    unnamed = [f"{row.label} {row.unnamed_tags:,} ({row.unnamed:,})" for row in report.rows if row.unnamed]
    if unnamed:
        lines.append(
            f"Tags of the truth that a row never predicts, and how often they stand there: {', '.join(unnamed)}."
        )
    if report.people is not None:
        lines.append(
            f"{count(report.people.images, 'image')} with several people's lists: a score is the mean over people, "
            "and the row of people is each person's list scored against each of the others', on these images only."
        )
    return lines


def _row_notes(row: Row) -> list[str]:
    lines = []
    if row.trained_on:
        lines.append(
            f"{row.label}: was trained on {row.trained_on:,} of the {row.images:,} scored images: on those it shows "
            "what it remembers, not how it tags new photos."
        )
    if row.missing:
        missing = count(len(row.missing), "expected image")
        lines.append(f"{row.label}: lacks {missing} ({_examples(row.missing)}): not scored.")
    if row.unknown:
        unknown = count(len(row.unknown), "image")
        lines.append(f"{row.label}: {unknown} not in the tag file ({_examples(row.unknown)}): not scored.")
    if row.near:
        lines.append(f"{row.label}: of the images it lacks, {row.near}.")
    if row.not_expected:
        lines.append(f"{row.label}: {count(row.not_expected, 'image')} of other splits: not scored.")
    if row.empty:
        lines.append(f"{row.label}: no tag for {count(row.empty, 'image')}: scored 0.")
    return lines


def short_label(label: str) -> str:
    """``label`` on one line, without its beginning if it is long: file names differ in their ends."""
    label = one_line(label)
    return label if len(label) <= 40 else "..." + label[-37:]


def _examples(ids: Sequence[str]) -> str:
    return ", ".join(f"'{i}'" for i in ids[:3]) + (", ..." if len(ids) > 3 else "")


def fixed(number: float, digits: int = 3, sign: str = "", unknown: str = "-") -> str:
    """A number with so many digits after the point; ``unknown`` for nan. sign: '+' also shows that of positive ones."""
    return unknown if math.isnan(number) else f"{number:{sign}.{digits}f}"


def _with_interval(estimate: Estimate | Change, digits: int, sign: str = "") -> str:
    value, low, high = (fixed(number, digits, sign) for number in (estimate.value, estimate.low, estimate.high))
    return value if math.isnan(estimate.low) else f"{value} [{low}, {high}]"
