"""An evaluation as one self-contained HTML page: no network, photos inside as small JPEGs.

The page's policy forbids everything but its own style, ``data:`` images and one script, by its digest, that
sorts and searches tables; every text goes through the template's escaping, so a tag is never more than text.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ranktag.evaluation.calibration import CalibrationRow
from ranktag.evaluation.report.gallery import galleries, inside
from ranktag.evaluation.report.text import about_calibration, about_p, about_retrieval, fixed, notes, p_text, title
from ranktag.evaluation.results import Change, EvaluationReport
from ranktag.evaluation.retrieval import METRICS
from ranktag.evaluation.scores import MetricTable, Score
from ranktag.pages import LOOK, TABLES, script_source, shown
from ranktag.version import __version__

TEMPLATE = "page.html.jinja"
# Rows of the table of tags: those in the page, and those that are seen before all are asked for.
TAG_ROWS, SHOWN_TAG_ROWS = 1000, 25
DASH = "–"


def render(report: EvaluationReport, images: Path | None = None) -> str:
    """The page. images: folder of the photos, by image id; a photo that cannot be read is left out."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "shown": shown,
        "fixed": _fixed,
        "heading": _heading,
        "change": _change,
        "columns": _columns,
    }
    photos = {} if images is None else {i: path for i in report.image_ids if (path := inside(images, i))}
    metrics = report.metrics
    best = report.best
    compared = [score for score in metrics.scores if score.metric.compared_on_page and score.short]
    details = [metrics.of(name) for name, metric in metrics.metrics.items() if metric.on_page == "details"]
    page = environment.get_template(TEMPLATE).render(
        report=report,
        look=LOOK.read_text(encoding="utf-8"),
        title=title(report),
        notes=notes(report),
        about_p=about_p(report),
        about_retrieval="" if report.retrieval is None else about_retrieval(report.retrieval, report.config.resamples),
        retrieval_metrics=METRICS,
        about_calibration=about_calibration(report),
        reliability=[_reliability(row) for row in report.calibration.rows],
        findings=_findings(report),
        completions=[(part, title(part), _findings(part), _highest(part)) for part in report.completion],
        words_of_rest=_words(report.completion[0].metrics, "scores") if report.completion else [],
        best=best,
        version=__version__,
        leading=metrics.leading,
        words={place: _words(metrics, place) for place in ("scores", "details")},
        script=TABLES.read_text(encoding="utf-8"),
        script_source=script_source(TABLES.read_text(encoding="utf-8")),
        shown_tags=SHOWN_TAG_ROWS,
        details=details,
        details_title=_heading(_and([scores[0].metric.title for scores in details])),
        compared=compared,
        highest=_highest(report),
        panels=[_panel(report, score) for score in metrics.scores if score.metric is metrics.leading.metric],
        changes=[
            [_change(d.scores[score.name], score.metric.digits) for score in compared] for d in report.differences
        ],
        tag_table=_tag_table(report),
        galleries=galleries(report, best, photos),
        photos=sum(i in photos for i in itertools.compress(report.image_ids, best.scored)),
        images=images,
    )
    # A lone surrogate cannot be written as UTF-8.
    return page.encode("utf-8", "backslashreplace").decode("utf-8")


def _columns(report: EvaluationReport) -> list[Score]:
    """The scores of the first table."""
    return [score for score in report.metrics.scores if score.metric.on_page == "scores"]


def _words(metrics: MetricTable, place: str) -> list[str]:
    """What the numbers of a table of the page mean, a sentence each; the first number's stands at its top."""
    others = [metric for metric in metrics.metrics.values() if metric is not metrics.leading.metric]
    return [metric.note for metric in others if metric.on_page == place and metric.note]


def _heading(title: str) -> str:
    """A title as it stands at the head of a column: its first letter large."""
    return title[:1].upper() + title[1:]


def _and(words: Sequence[str]) -> str:
    return " and ".join(filter(None, [", ".join(words[:-1]), *words[-1:]]))


def _fixed(number: float, digits: int = 3) -> str:
    return fixed(number, digits, unknown=DASH)


def _signed(number: float, digits: int = 3) -> str:
    return fixed(number, digits, sign="+", unknown=DASH).replace("-", "\N{MINUS SIGN}")


def _highest(report: EvaluationReport) -> dict[str, float]:
    """The best value of each score among the rows of predictions, if there are several."""
    if len(report.rows) == 1:
        return {}
    values = {name: [row.scores[name].value for row in report.rows] for name in report.rows[0].scores}
    return {name: max((v for v in several if not math.isnan(v)), default=math.nan) for name, several in values.items()}


def _findings(report: EvaluationReport) -> list[tuple[str, str]]:
    """(label, what is to be said of it): the best row, and how far each other one is from it in the leading score."""
    lines, best = [], report.best
    for d in report.differences:
        if best.label not in (d.first, d.second):
            continue
        change, other = d.scores[report.metrics.leading.name], d.second if d.first == best.label else d.first
        value, low, high = (
            (change.value, change.low, change.high)
            if d.first == best.label
            else (-change.value, -change.high, -change.low)
        )
        # On the images that both score, the best row may be behind.
        text = f"{abs(value):.3f} {'above' if value < 0 else 'below'}"
        if not math.isnan(low):
            zero = "; it includes zero: this may be chance" if low <= 0 <= high else ""
            text += f" (95% interval of the difference {_signed(low)} to {_signed(high)}{zero})"
        lines.append((other, text))
    return lines


@dataclass(frozen=True)
class Bar:
    """One bar of a panel, in the drawing's units."""

    label: str
    y: int
    width: float
    low: float | None
    high: float | None
    value: str
    people: bool


@dataclass(frozen=True)
class Panel:
    """Bars of a score from 0 to 1."""

    label: str
    height: int
    bars: tuple[Bar, ...]


PANEL_WIDTH = 300
BAR_STEP = 36


def _panel(report: EvaluationReport, shown: Score) -> Panel:
    bars = []
    for number, row in enumerate(report.table):
        score = row.scores[shown.name]
        known = not math.isnan(score.low)
        bars.append(
            Bar(
                label=row.label,
                y=number * BAR_STEP,
                width=round(PANEL_WIDTH * score.value, 1),
                low=round(PANEL_WIDTH * score.low, 1) if known else None,
                high=round(PANEL_WIDTH * score.high, 1) if known else None,
                value=_fixed(score.value),
                people=row is report.people,
            )
        )
    return Panel(shown.label, len(bars) * BAR_STEP, tuple(bars))


@dataclass(frozen=True)
class Point:
    """The tags of a bin, in the drawing's units. size: of the dot. text: the same in words."""

    x: float
    y: float
    size: float
    text: str


SQUARE = 200


def _reliability(row: CalibrationRow) -> tuple[CalibrationRow, list[Point]]:
    """A row, and its points: what was predicted to the right, what people list upwards."""
    return row, [
        Point(
            x=round(SQUARE * one.predicted, 1),
            y=round(SQUARE * (1.0 - one.listed), 1),
            # As large as its share of the tags, but never too small to be seen.
            size=round(2.0 + 10.0 * math.sqrt(one.tags / row.tags), 1),
            text=f"{one.tags:,.0f} tags: predicted {one.predicted:.1%}, listed {one.listed:.1%}",
        )
        for one in row.bins
        if one.tags
    ]


def _change(change: Change, digits: int = 3) -> dict[str, Any]:
    value, low, high = (_signed(number, digits) for number in (change.value, change.low, change.high))
    return {
        "value": value,
        "interval": "" if math.isnan(change.low) else f"{low} to {high}",
        "p": "" if math.isnan(change.p_holm) else f"p = {p_text(change.p_holm)}".replace("= <", "< "),
        "certain": change.p_holm < 0.05,
    }


def _tag_table(report: EvaluationReport) -> dict[str, Any]:
    """The tags most frequent in the truth, with each row's numbers beside one another."""
    by_tag: dict[str, dict[str, Any]] = {}
    for tag_row in report.tag_rows:
        by_tag.setdefault(tag_row.tag, {})[tag_row.label] = tag_row
    support = {tag: max(tag_row.support for tag_row in rows.values()) for tag, rows in by_tag.items()}
    tags = sorted((tag for tag in by_tag if support[tag]), key=lambda tag: (-support[tag], tag))
    shown = [
        {"tag": tag, "support": support[tag], "cells": [by_tag[tag].get(row.label) for row in report.rows]}
        for tag in tags[:TAG_ROWS]
    ]
    return {"rows": shown, "all": len(tags)}
