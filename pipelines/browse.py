"""``ranktag browse``: a page of photos and their tags, to look at and to search."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from ranktag.config import BrowseConfig
from ranktag.errors import one_line
from ranktag.pipelines.shared.command import Command
from ranktag.pipelines.shared.console import Report
from ranktag.pipelines.shared.options import FilePath, config_options, overwrite_option, quiet_option
from ranktag.wording import count

if TYPE_CHECKING:
    from ranktag.browse.site import BrowseReport

SHOWN_FAILURES = 10


@click.command("browse", cls=Command)
@click.argument("predictions", type=FilePath, nargs=-1, required=True)
@click.argument("photos", type=FilePath)
@click.option("-o", "--output", type=FilePath, required=True, metavar="FOLDER", help="Folder for the page.")
@click.option(
    "--tags", type=FilePath, default=None, show_default="not shown", help="People's tag lists, to stand beside."
)
@config_options(BrowseConfig)
@overwrite_option
@quiet_option
def command(
    predictions: tuple[Path, ...],
    photos: Path,
    output: Path,
    tags: Path | None,
    config: BrowseConfig,
    overwrite: bool,
    quiet: bool,
) -> Report:
    """Make a page of the photos in PREDICTIONS to look at and to search, those in which a tag matters most first.

    PREDICTIONS are files that 'export-tags' wrote: the first is searched, the lists of the others stand beside
    its own. PHOTOS is the folder or the CSV that the features were extracted from.

    FOLDER/index.html opens with a double click and needs no network; the folder can be put on any web server as it
    is. Killed at any moment, the same command goes on where it was; on another day it brings the page up
    to date.

    Photos that cannot be read are shown as such; the exit code is then 1.
    """
    from ranktag.browse.site import browse
    from ranktag.pipelines.shared.progress import progress

    report = browse(predictions, photos, output, config, tags=tags, overwrite=overwrite, progress=progress(quiet))
    for image_id, why in report.failures[:SHOWN_FAILURES]:
        click.echo(f"Error: {one_line(image_id)}: {one_line(why)}", err=True)
    if len(report.failures) > SHOWN_FAILURES:
        more = len(report.failures) - SHOWN_FAILURES
        click.echo(f"Error: and {count(more, 'more photo')} without a picture; the page lists them all", err=True)
    return Report(_as_dict(report), [] if quiet else _lines(report, output), code=1 if report.failures else 0)


def _lines(report: BrowseReport, output: Path) -> list[str]:
    each = report.bytes / report.photos
    lines = [
        f"{count(report.photos, 'photo')}, {report.bytes / 1e6:.1f} MB, {each / 1e3:.1f} kB a photo.",
        one_line(f"The page is in {output}: open {report.page}"),
    ]
    if not report.not_predicted:
        return lines
    have = "has no predictions and is" if report.not_predicted == 1 else "have no predictions and are"
    return [f"{count(report.not_predicted, 'photo')} {have} left out.", *lines]


def _as_dict(report: BrowseReport) -> dict[str, object]:
    return {
        "page": report.page,
        "photos": report.photos,
        "bytes": report.bytes,
        "not_predicted": report.not_predicted,
        "failures": [{"image_id": image_id, "error": error} for image_id, error in report.failures],
    }
