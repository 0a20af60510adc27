"""An evaluation as one self-contained HTML page: no script, no network, photos inside as small JPEGs.

The page's policy forbids everything but its own style and ``data:`` images, and
every text goes through the template's escaping, so a tag is never more than text.
"""

from __future__ import annotations

import base64
import functools
import io
import itertools
import math
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ranktag.evaluation.report.text import fixed, notes, title
from ranktag.evaluation.results import Change, EvaluationReport, Row
from ranktag.evaluation.scores import Score
from ranktag.tags.lists import TagList
from ranktag.version import __version__

TEMPLATE = "page.html.jinja"


GALLERY_IMAGES = 12


SHOWN_TAGS = 10


SHOWN_PEOPLE = 5


SHOWN_TAG_ROWS = 25


# Twice the width a photo has on the page: sharp on a dense screen, about 20 kB each.
PHOTO_SIZE = (560, 420)


DASH = "–"


# Unicode's embeddings, overrides and isolates: U+202E alone would show "evil" as "live".
_TURNING = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


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
    environment.filters |= {"shown": _shown, "fixed": _fixed, "heading": _heading}
    photos = {} if images is None else {i: path for i in report.image_ids if (path := _inside(images, i))}
    metrics = report.metrics
    best = max(report.rows, key=lambda row: row.scores[metrics.leading.name].value)
    compared = [score for score in metrics.scores if score.metric.compared_on_page and score.short]
    details = [metrics.of(name) for name, metric in metrics.metrics.items() if metric.on_page == "details"]
    page = environment.get_template(TEMPLATE).render(
        report=report,
        title=title(report),
        notes=notes(report),
        findings=_findings(report, best),
        best=best,
        version=__version__,
        leading=metrics.leading,
        columns=[score for score in metrics.scores if score.metric.on_page == "scores"],
        metric_notes=" ".join(metric.note for metric in metrics.metrics.values() if metric.note),
        details=details,
        details_title=_heading(_and([scores[0].metric.title for scores in details])),
        compared=compared,
        highest=_highest(report),
        panels=[_panel(report, score) for score in metrics.scores if score.metric is metrics.leading.metric],
        changes=[[_change(d.scores[score.name]) for score in compared] for d in report.differences],
        tag_table=_tag_table(report),
        galleries=_galleries(report, best, photos),
        photos=sum(i in photos for i in itertools.compress(report.image_ids, best.scored)),
        images=images,
    )
    # A lone surrogate cannot be written as UTF-8.
    return page.encode("utf-8", "backslashreplace").decode("utf-8")


def _shown(text: str) -> str:
    """Control characters, and those that turn the direction of text, made visible; marks that join letters stay."""
    return "".join("\ufffd" if unicodedata.category(c) in ("Cc", "Cs") or c in _TURNING else c for c in text)


def _heading(title: str) -> str:
    """A title as it stands at the head of a column: its first letter large."""
    return title[:1].upper() + title[1:]


def _and(words: Sequence[str]) -> str:
    return " and ".join(filter(None, [", ".join(words[:-1]), *words[-1:]]))


def _fixed(number: float, digits: int = 3) -> str:
    return fixed(number, digits, unknown=DASH)


def _signed(number: float) -> str:
    return fixed(number, sign="+", unknown=DASH).replace("-", "\N{MINUS SIGN}")


def _highest(report: EvaluationReport) -> dict[str, float]:
    """The best value of each score among the rows of predictions."""
    values = {name: [row.scores[name].value for row in report.rows] for name in report.rows[0].scores}
    return {name: max((v for v in several if not math.isnan(v)), default=math.nan) for name, several in values.items()}


def _findings(report: EvaluationReport, best: Row) -> list[tuple[str, str]]:
    """(label, what is to be said of it): the best row, and how far each other one is from it in the leading score."""
    lines = []
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
            text += f" (95% interval of the difference {_signed(low)} to {_signed(high)}{'; it includes zero' if low <= 0 <= high else ''})"
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


def _change(change: Change) -> dict[str, Any]:
    return {
        "value": _signed(change.value),
        "interval": "" if math.isnan(change.low) else f"{_signed(change.low)} to {_signed(change.high)}",
        "p": "" if math.isnan(change.p) else f"p = {change.p:.3f}",
        "certain": change.low > 0 or change.high < 0,
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
        for tag in tags[:SHOWN_TAG_ROWS]
    ]
    return {"rows": shown, "all": len(tags)}


def _galleries(report: EvaluationReport, best: Row, photos: Mapping[str, Path]) -> list[dict[str, Any]]:
    """The best, the worst and a random dozen of the images of one row; where there are photos, of those with one."""
    leading = report.metrics.leading
    values = best.values[:, report.metrics.values.index(leading.name)]
    length = [_mean_length(people) for people in report.lists.values()]
    scored = [int(n) for n in np.flatnonzero(best.scored)]
    chosen = [n for n in scored if report.image_ids[n] in photos] or scored
    # Many images share a value: those with the longest lists say most.
    highest = sorted(chosen, key=lambda n: (-values[n], -length[n], report.image_ids[n]))
    lowest = sorted(chosen, key=lambda n: (values[n], -length[n], report.image_ids[n]))
    random = [int(n) for n in np.random.default_rng(report.config.seed).permutation(chosen)]

    @functools.cache
    def card(number: int) -> dict[str, Any]:
        path = photos.get(report.image_ids[number])
        return {"photo": None if path is None else _photo(path), **_card(report, number)}

    return [
        {"name": name, "text": text, "cards": [card(n) for n in numbers[:GALLERY_IMAGES]]}
        for name, text, numbers in (
            ("The best", f"Highest {leading.label}, longest lists first", highest),
            ("The worst", f"Lowest {leading.label}, longest lists first", lowest),
            ("A random dozen", f"Drawn with seed {report.config.seed}", random),
        )
    ]


def _mean_length(people: Sequence[TagList]) -> float:
    """The mean length of the lists that are not empty; 0 if all are."""
    lengths = [len(person) for person in people if person]
    return sum(lengths) / len(lengths) if lengths else 0.0


def _card(report: EvaluationReport, number: int) -> dict[str, Any]:
    """One image: its people's lists, and each row's list with its hits."""
    image_id = report.image_ids[number]
    people = [person for person in report.lists[image_id] if person]
    rank = {tag: r for r, tag in enumerate(people[0], 1)} if len(people) == 1 else {}
    named = {tag for person in people for tag in person}
    rows = []
    for row in report.rows:
        predicted = report.predictions[row.label].get(image_id)
        tags, seen = [], set()
        for place, (tag, _) in enumerate(predicted or (), 1):
            hit = tag in named and tag not in seen
            seen.add(tag)
            tags.append({"tag": tag, "hit": hit, "rank": rank.get(tag) if hit and rank.get(tag) != place else None})
        score = float(row.values[number, report.metrics.values.index(report.metrics.leading.name)])
        rows.append(
            {
                "label": row.label,
                "missing": predicted is None,
                "tags": tags[:SHOWN_TAGS],
                "more": len(tags[SHOWN_TAGS:]),
                "score": score,
            }
        )
    return {
        "image_id": image_id,
        "people": [{"tags": person[:SHOWN_TAGS], "more": len(person[SHOWN_TAGS:])} for person in people[:SHOWN_PEOPLE]],
        "more_people": len(people[SHOWN_PEOPLE:]),
        "rows": rows,
    }


def _inside(folder: Path, image_id: str) -> Path | None:
    """The file ``image_id`` of the folder; None if there is none, or if it lies outside (an id may be ``../x``)."""
    path = folder / image_id
    try:
        return path if path.is_file() and path.resolve().is_relative_to(folder.resolve()) else None
    except (OSError, ValueError):
        # An id may be too long for a file name, or hold a NUL byte.
        return None


def _photo(path: Path) -> str | None:
    """A small JPEG of the photo as a data URI; None if it cannot be read."""
    from PIL import Image, ImageOps

    try:
        with Image.open(path) as image:
            image.draft("RGB", PHOTO_SIZE)
            small = ImageOps.exif_transpose(image).convert("RGB")
            small.thumbnail(PHOTO_SIZE)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return None
    jpeg = io.BytesIO()
    small.save(jpeg, "JPEG", quality=80, optimize=True)
    return "data:image/jpeg;base64," + base64.b64encode(jpeg.getvalue()).decode("ascii")
