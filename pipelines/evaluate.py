"""``ranktag evaluate``: predictions against people's tag lists."""

from __future__ import annotations

from pathlib import Path

import click

from ranktag.config import EvaluationConfig
from ranktag.errors import one_line
from ranktag.pipelines.shared.options import FilePath, config_options, overwrite_option


@click.command("evaluate", context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("predictions", type=FilePath, nargs=-1, required=True)
@click.argument("tags", type=FilePath)
@click.option(
    "-o",
    "--output",
    type=FilePath,
    default=None,
    show_default="only print",
    help="Folder for the report: metrics.csv, metrics.json, per_image.csv, per_tag.csv and report.html.",
)
@click.option(
    "--images",
    type=FilePath,
    default=None,
    show_default="ids only",
    help="Folder of the photos, by image id, to show in report.html.",
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
) -> int:
    """Compare predicted tags with people's lists.

    PREDICTIONS are files of 'export-tags', one row of the table each; a folder of them
    is one row, the mean over its files (one a seed). TAGS is the tag-list file.

    Scores are means over images, with 95% bootstrap intervals; every two rows are
    compared on the images that both hold. NDCG@k, first-tag and order accuracy and the
    lengths of the lists are printed; the report has all scores, each image's and each tag's.

    The exit code is 1 if a file lacks images that it should hold.
    """
    if images is not None and output is None:
        raise click.UsageError("--images puts photos into report.html; say with -o where the report goes")
    from ranktag.evaluation.evaluate import evaluate
    from ranktag.evaluation.report.text import to_text

    report = evaluate(predictions, tags, output, config, images, overwrite)
    click.echo(to_text(report) + ("\n" if output is not None else ""))
    if output is not None:
        click.echo(one_line(f"The report is in {output}: open {output / 'report.html'}"))
    return 0 if report.complete else 1
