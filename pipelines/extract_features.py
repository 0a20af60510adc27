"""``extract-features``: photos to a cache of features."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ranktag import registry
from ranktag.config import ExtractionConfig
from ranktag.errors import one_line
from ranktag.pipelines.shared.options import FilePath, config_options, quiet_option

if TYPE_CHECKING:
    from ranktag.features.progress import ExtractionReport, Plan, Progress

SHOWN_FAILURES = 3
# An option with a single choice would be no choice.
HIDDEN = ("executor",) if len(registry.names("ranktag.features.executors")) == 1 else ()


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("images", type=FilePath)
@click.option(
    "-o", "--output", type=FilePath, required=True, help="The cache to write, NAME.h5. Default: none, it must be given."
)
@config_options(ExtractionConfig, without=HIDDEN)
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
    """Stage one: write the VGG features of IMAGES to a cache.

    IMAGES is a folder, searched recursively, or a CSV with the column image_id and,
    optionally, path.

    Killed at any moment, the same command goes on where it was. Images that cannot be
    read become failed rows; the exit code is then 1.
    """
    from ranktag.features.extract import extract_features
    from ranktag.features.progress import Progress
    from ranktag.files.tables import write_table

    report = extract_features(images, output, config, Progress() if quiet else progress_printer())
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
        "failures": [{"image_id": image_id, "error": error} for image_id, error in report.failures],
    }


def _say(report: ExtractionReport, failures: Path | None) -> None:
    if report.computed:
        click.echo(
            f"{report.computed:,} images in {duration(report.seconds)}, {report.computed / report.seconds:.1f} images/s"
            + (f"; {report.images - report.computed:,} were done already" if report.computed < report.images else "")
        )
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


def duration(seconds: float) -> str:
    """Seconds as a person says them."""
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 10:
        return f"{minutes} min {rest:02} s" if minutes else f"{rest} s"
    return f"{seconds / 60:.0f} min" if minutes < 60 else f"{seconds / 3600:.1f} h"


def progress_printer() -> Progress:
    """Prints what an extraction is doing on stderr.

    On a terminal one line is kept up to date, elsewhere there is a line every half minute.
    """
    from ranktag.features.progress import Progress

    class Printer(Progress):
        every = 0.2 if sys.stderr.isatty() else 30.0
        end = "\r" if sys.stderr.isatty() else "\n"

        def note(self, text: str) -> None:
            click.echo(one_line(text), err=True)

        def start(self, plan: Plan) -> None:
            click.echo(_announcement(plan), err=True)
            self.plan, self.done, self.failed = plan, 0, plan.failed
            self.began = self.shown = time.monotonic()
            self.sampled: float | None = None

        def batch(self, images: int, failures: int) -> None:
            self.done += images
            self.failed += failures
            now = time.monotonic()
            left = self.plan.images - self.plan.done - self.done
            rate = self.done / (now - self.began)
            # The first batch waits for the first images and for memory; the second is a fair sample.
            if self.done == images:
                self.sampled = now
            elif self.sampled is not None and left:
                click.echo(f"Expected to take {duration(left * (now - self.sampled) / images)}.", err=True)
                self.sampled = None
            if now - self.shown >= self.every and left:
                self.shown = now
                line = (
                    f"{self.plan.done + self.done:,} of {self.plan.images:,} images, {rate:.1f} images/s, "
                    f"{duration(left / rate)} left, {self.failed:,} failed"
                )
                click.echo(f"{line:<78}" if self.end == "\r" else line, err=True, nl=False)
                click.echo(self.end, err=True, nl=False)

        def finish(self) -> None:
            if self.end == "\r":
                click.echo(" " * 78 + "\r", err=True, nl=False)

    return Printer()


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
