"""``ranktag runs``: the runs in a folder, or some of them side by side."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ranktag.errors import one_line
from ranktag.pipelines.shared.command import Command
from ranktag.pipelines.shared.console import Report
from ranktag.pipelines.shared.options import FilePath
from ranktag.wording import aligned

if TYPE_CHECKING:
    from ranktag.training.runs import RunSummary

# Rows of the table of curves, at most.
SHOWN_EPOCHS = 12


@click.command(cls=Command)
@click.argument("folders", type=FilePath, nargs=-1, required=True, metavar="FOLDER...")
@click.option(
    "--curves",
    type=FilePath,
    metavar="FILE",
    show_default="no picture",
    help="Draw the curves of all of them: a page, .html, with a table of the runs; or a picture, .png, .svg or .pdf "
    "(needs matplotlib).",
)
def command(folders: tuple[Path, ...], curves: Path | None) -> Report:
    """List the training runs in FOLDERs, the best first, finished or not.

    Two or more FOLDERs that are runs themselves are put side by side: what differs between
    their data and settings, how good they are, and their curves.

    NDCG@5 is that of the validation images, with its 95% interval; runs can be compared by
    it only where they were trained on the same tag lists.
    """
    from ranktag.training.runs import find_runs, is_run, plot_runs, summarise
    from ranktag.training.runs_page import write_runs_page

    side_by_side = len(folders) > 1 and all(is_run(folder) for folder in folders)
    runs = [summarise(folder) for folder in folders] if side_by_side else find_runs(folders)
    lines = _side_by_side(runs) if side_by_side else _listed(runs)
    if curves is not None:
        (write_runs_page if curves.suffix.lower() == ".html" else plot_runs)(curves, runs)
        lines = [*lines, f"the curves are in {curves}"]
    return Report({"runs": [run.to_dict() for run in runs], "curves": curves}, lines)


def _listed(runs: Sequence[RunSummary]) -> list[str]:
    """A line a run, the best first."""
    ranked = sorted(runs, key=lambda run: -1.0 if run.ndcg5 is None else run.ndcg5, reverse=True)
    table = [["run", "model", "NDCG@5", "epoch", "state", "data", "settings"]]
    for run in ranked:
        settings = " ".join(f"{name}={value}" for name, value in run.changed_settings().items())
        epoch = "" if run.epochs is None else f"{run.epoch} of {run.epochs}"
        name = f"{run.path} (best of {run.trainings})" if run.trainings else str(run.path)
        table.append([name, str(run.settings.get("model", "")), run.score, epoch, run.state, run.data, settings])
    return aligned([[one_line(cell) for cell in row] for row in table], numbers=False).split("\n")


def _side_by_side(runs: Sequence[RunSummary]) -> list[str]:
    """What differs, then the curves."""
    from ranktag.training.runs import compared, curves

    names = [str(run.path) for run in runs]
    table = [["", *names], *compared(runs)]
    lines = aligned([[one_line(cell) for cell in row] for row in table], numbers=False).split("\n")
    if len({run.tags for run in runs}) > 1:
        lines.append("They were trained on other tag lists, so their scores cannot be compared.")
    epochs = curves(runs)
    if len(epochs):
        step = max(1, -(-len(epochs) // SHOWN_EPOCHS))
        rows = [
            [str(epoch), *("" if value != value else f"{value:.4f}" for value in row)]
            for epoch, *row in epochs.iloc[::step].itertuples()
        ]
        header = ["NDCG@5 by epoch", *map(str, epochs.columns)]
        lines += ["", *aligned([header, *rows], numbers=False).split("\n")]
    return lines
