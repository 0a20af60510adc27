"""``ranktag evaluate``: predictions against people's tag lists."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from ranktag.config import EvaluationConfig
from ranktag.errors import one_line
from ranktag.pipelines.shared.command import Command
from ranktag.pipelines.shared.console import Report
from ranktag.pipelines.shared.options import FilePath, config_options, overwrite_option

if TYPE_CHECKING:
    from ranktag.evaluation.results import Row


@click.command("evaluate", cls=Command)
@click.argument("predictions", type=FilePath, nargs=-1, required=True)
@click.argument("tags", type=FilePath)
@click.option(
    "-o",
    "--output",
    type=FilePath,
    default=None,
    show_default="only print",
    help="Write a report to this folder: metrics.csv, metrics.json, metrics.tex, differences.csv, per_image.csv, "
    "per_tag.csv, calibration.csv, calibration_bins.csv and report.html; retrieval*.csv with --retrieval, "
    "completion*.csv with begun lists.",
)
@click.option(
    "--images",
    type=FilePath,
    default=None,
    show_default="ids only",
    help="The folder that the image ids are paths below: its photos are shown in report.html.",
)
@config_options(EvaluationConfig)
@overwrite_option
def command(
    predictions: tuple[Path, ...],
    tags: Path,
    output: Path | None,
    images: Path | None,
    config: EvaluationConfig,
    overwrite: bool,
) -> Report:
    """Compare predicted tags with people's lists.

    PREDICTIONS are files that 'export-tags' wrote; each is a row of the printed table. A folder
    of them (say, one file a seed) is one row, the mean over its files. TAGS is the tag-list file.

    Scored are the test images, by the tag file's split, else by what the predictions say of the
    split their model saw; --split all scores every image and marks rows that were trained on them.

    A score is the mean over the images, with a 95% interval by bootstrap. Every two rows are
    also compared on the images that both hold; of several comparisons p is corrected by Holm.
    The main scores are printed; the report (-o)
    holds all of them, and those of each image and of each tag.

    Files of how begun lists go on ('export-tags --given') are scored apart, in a section of their own;
    --given K scores those alone.

    With --retrieval, search is scored as well: for each tag, and pair of tags, images are ranked as
    'ranktag search' ranks them, and judged by what people's lists say; intervals are over queries.

    The exit code is 1 if a file lacks images that it should hold.
    """
    if images is not None and output is None:
        raise click.UsageError("--images puts photos into report.html; say with -o where the report goes")
    from ranktag.evaluation.evaluate import evaluate
    from ranktag.evaluation.report.retrieval import retrieval_json
    from ranktag.evaluation.report.text import to_text
    from ranktag.pipelines.shared.progress import progress

    report = evaluate(predictions, tags, output, config, images, overwrite, progress(quiet=False))
    lines = [to_text(report)]
    if output is not None:
        lines += ["", one_line(f"The report is in {output}: open {output / 'report.html'}")]
    facts: dict[str, object] = {
        "output": output,
        "images": len(report.image_ids),
        "rows": [as_dict(row) for row in report.rows],
    }
    if report.completion:
        facts["completion"] = {
            str(part.config.given): [as_dict(row) for row in part.rows] for part in report.completion
        }
    if report.retrieval is not None:
        facts["retrieval"] = retrieval_json(report.retrieval)
    return Report(facts, lines, code=0 if report.complete else 1)


def as_dict(row: Row) -> dict[str, object]:
    """A row for --json."""
    scores = {name: {"value": one.value, "low": one.low, "high": one.high} for name, one in row.scores.items()}
    return {"label": row.label, "images": row.images, "missing": len(row.missing), "scores": scores}
