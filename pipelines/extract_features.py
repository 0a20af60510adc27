"""``extract-features``: photos to a cache of features."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ranktag.config import ExtractionConfig
from ranktag.errors import RanktagError, one_line
from ranktag.pipelines.shared.options import FilePath, config_options, quiet_option
from ranktag.pipelines.shared.progress import Bar, duration
from ranktag.pipelines.shared.startup import share_processors

if TYPE_CHECKING:
    from ranktag.features.progress import ExtractionProgress, ExtractionReport, Plan

SHOWN_FAILURES = 3


def _list_backbones(context: click.Context, parameter: click.Parameter, pattern: str | None) -> None:
    """Print the names of networks, and end."""
    if pattern is None or context.resilient_parsing:
        return
    from ranktag.features.backbone import list_backbones

    found = list(list_backbones(pattern, lambda text: click.echo(one_line(text), err=True)))
    if not found:
        raise RanktagError(f"--list-backbones {pattern}: no network has such a name; '*' lists all")
    for name in found:
        click.echo(name)
    context.exit()


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("images", type=FilePath)
@click.option(
    "-o", "--output", type=FilePath, required=True, help="The cache to write, NAME.h5. Default: none, it must be given."
)
@config_options(ExtractionConfig)
@click.option(
    "--list-backbones",
    metavar="[PATTERN]",
    is_flag=False,
    flag_value="*",
    is_eager=True,
    expose_value=False,
    callback=_list_backbones,
    show_default="not listed",
    help="List the networks, those whose name holds PATTERN or fits it ('timm:*resnet50*'), and end.",
)
@click.option(
    "--failures",
    type=FilePath,
    show_default="not written",
    help="Write the images that failed, with the reasons, to this CSV.",
)
@click.option("--json", "as_json", is_flag=True, show_default="off", help="Print the outcome as JSON.")
@quiet_option
def command(
    images: Path, output: Path, config: ExtractionConfig, failures: Path | None, as_json: bool, quiet: bool
) -> int:
    """Stage one: write a network's features of IMAGES to a cache.

    IMAGES is a folder, searched recursively, or a CSV with the column image_id and,
    optionally, path.

    Killed at any moment, the same command goes on where it was; on another day it brings
    the cache up to date: new photos and those whose file has changed are computed, those
    that are gone are left out, all others are kept without being opened. Images that
    cannot be read become failed rows; the exit code is then 1.
    """
    share_processors()
    from ranktag.features.extract import extract_features
    from ranktag.features.progress import ExtractionProgress
    from ranktag.files.tables import write_table

    report = extract_features(images, output, config, ExtractionProgress() if quiet else progress_printer())
    if failures is not None:
        write_table(failures, ("image_id", "error"), report.failures)
    if as_json:
        click.echo(json.dumps(_as_dict(report)))
    elif not quiet:
        _say(report, failures)
    return 1 if report.failures else 0


def _as_dict(report: ExtractionReport) -> dict[str, object]:
    return {
        "output": str(report.output),
        "finished": report.cache is not None,
        "images_in_list": report.total,
        "images": report.images,
        "computed": report.computed,
        "failed": len(report.failures),
        "seconds": round(report.seconds, 3),
        "images_per_second": round(report.computed / report.seconds, 2) if report.computed else None,
        "worker_index": report.worker[0],
        "worker_count": report.worker[1],
        "left_out": list(report.left_out),
        "changes": report.changes.counts() if report.changes else None,
        "failures": [{"image_id": image_id, "error": error} for image_id, error in report.failures],
    }


def _say(report: ExtractionReport, failures: Path | None) -> None:
    if report.computed:
        click.echo(
            f"{report.computed:,} images in {duration(report.seconds)}, {report.computed / report.seconds:.1f} images/s"
            + (f"; {report.images - report.computed:,} were done already" if report.computed < report.images else "")
        )
    elif report.changes is not None:
        click.echo(f"Nothing had to be computed: {report.changes}.")
    else:
        click.echo(f"All {report.images:,} images were done already.")
    if report.failures:
        everything = len(report.failures) == report.images
        click.echo(
            "Every image failed; is this the right folder?"
            if everything
            else f"{len(report.failures):,} images failed:"
        )
        for image_id, error in report.failures[:SHOWN_FAILURES]:
            click.echo(f"  {one_line(image_id)}: {error}")
        if len(report.failures) > SHOWN_FAILURES:
            click.echo(
                f"  and {len(report.failures) - SHOWN_FAILURES:,} more"
                + ("" if failures else " (--failures FILE lists them all)")
            )
    if report.cache is not None:
        click.echo(f"Features: {report.cache}")
    else:
        index, count = report.worker
        click.echo(f"Worker {index} of {count} has finished. When all have: ranktag join-features {report.output}")


def _announcement(plan: Plan) -> str:
    """What is about to be done, in a line."""
    index, count = plan.worker
    share = f" for worker {index} of {count}, of {plan.total:,} in all" if count > 1 else ""
    processes = f"{plan.workers} process{'es' if plan.workers != 1 else ''} decoding"
    return (
        f"{plan.images:,} images{share}, {plan.done:,} done already. "
        f"Computing on {plan.device} in {plan.compute_dtype}, {plan.batch_size} images a batch, "
        f"{processes if plan.workers else 'decoding in between'}."
    )


def progress_printer() -> ExtractionProgress:
    """Shows on stderr what an extraction is about to do, how long it is expected to take, and how far it is."""
    from ranktag.features.progress import ExtractionProgress

    class Printer(ExtractionProgress):
        def note(self, text: str) -> None:
            click.echo(one_line(text), err=True)

        def start(self, plan: Plan) -> None:
            click.echo(_announcement(plan), err=True)
            self.left, self.failed = plan.images - plan.done, plan.failed
            self.bar = Bar("", plan.images, "images", done=plan.done, delay=0.0)
            self.first: float | None = None
            self.expecting = True

        def batch(self, images: int, failures: int) -> None:
            self.left -= images
            self.failed += failures
            self._expect(images)
            self.bar.set_postfix_str(f"{self.failed:,} failed", refresh=False)
            self.bar.update(images)

        def _expect(self, images: int) -> None:
            """Say how long it will take: the first batch waits for images and memory, the second is a fair sample."""
            now = time.monotonic()
            if self.first is None:
                self.first = now
            elif self.expecting:
                self.expecting = False
                if self.left:
                    self.bar.clear()
                    click.echo(f"Expected to take {duration(self.left * (now - self.first) / images)}.", err=True)

        def finish(self) -> None:
            self.bar.close()

    return Printer()
