"""Trainings, or those of a sweep, as one self-contained HTML page: their curves and a table of them. No matplotlib."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ranktag.files.atomic import atomic_text
from ranktag.pages import LOOK, TABLES, script_source, shown
from ranktag.pages.chart import colour, line_chart
from ranktag.training.history import read_history
from ranktag.training.runs import RunSummary, curves

TEMPLATE = "runs.html.jinja"


def write_runs_page(path: str | Path, runs: Sequence[RunSummary]) -> None:
    """Write the page: NDCG@5 by epoch of all runs that have epochs, the losses where it is one run, and the table."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    environment.filters["shown"] = shown
    ranked = sorted(runs, key=lambda run: -1.0 if run.ndcg5 is None else run.ndcg5, reverse=True)
    drawn = {name: list(values.dropna().items()) for name, values in curves(ranked).items()}
    drawn = {str(name): points for name, points in drawn.items() if points}
    charts = [("NDCG@5 by epoch", line_chart(drawn, "epoch", "validation NDCG@5"))] if drawn else []
    if len(drawn) == 1:
        charts += _losses(Path(next(iter(drawn))))
    colours = {name: colour(number) for number, name in enumerate(drawn)}
    script = TABLES.read_text(encoding="utf-8")
    page = environment.get_template(TEMPLATE).render(
        look=LOOK.read_text(encoding="utf-8"),
        script=script,
        script_source=script_source(script),
        charts=charts,
        rows=[_row(run, name, colours.get(str(run.path), "")) for run, name in zip(ranked, _names(ranked))],
    )
    with atomic_text(Path(path)) as file:
        file.write(page.encode("utf-8", "backslashreplace").decode("utf-8"))


def _losses(run: Path) -> list[tuple[str, str]]:
    """The chart of a run's losses, for a reader who asks whether it learnt by heart."""
    history = read_history(run)
    columns = {"training": "loss", "validation": "validation_loss"}
    lines = {
        label: list(zip(history["epoch"], history[column])) for label, column in columns.items() if column in history
    }
    known = {label: [point for point in points if point[1] == point[1]] for label, points in lines.items()}
    known = {label: points for label, points in known.items() if points}
    title = " and ".join(f"{label} ({'blue' if not n else 'orange'})" for n, label in enumerate(known))
    return [(f"Loss, {title}", line_chart(known, "epoch", "loss (nats a tag)"))] if known else []


def _names(runs: Sequence[RunSummary]) -> list[str]:
    """The runs' paths, without the folders that they have in common."""
    paths = [run.path.absolute() for run in runs]
    common = os.path.commonpath([path.parent for path in paths])
    return [str(path.relative_to(common)) for path in paths]


def _row(run: RunSummary, name: str, colour: str) -> dict[str, Any]:
    interval = "–" if run.low is None or run.high is None else f"{run.low:.4f}–{run.high:.4f}"
    numbers = [
        str(run.settings.get("model", "–")),
        "–" if run.ndcg5 is None else f"{run.ndcg5:.4f}",
        interval,
        *("–" if number is None else str(number) for number in (run.epoch, run.epochs)),
        "–" if run.seconds is None else f"{run.seconds:.1f}",
        run.state,
    ]
    settings = " ".join(f"{name}={value}" for name, value in run.changed_settings().items())
    return {"name": name, "colour": colour, "numbers": numbers, "data": run.data, "settings": settings}
