"""``extract-features``: photos to a cache of features."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ranktag.config import RAY_SETTINGS, ExtractionConfig
from ranktag.errors import NotFound, one_line
from ranktag.pipelines.shared.command import Command
from ranktag.pipelines.shared.console import Report, current
from ranktag.pipelines.shared.options import FilePath, PlacePath, config_options, quiet_option, refuse_unused
from ranktag.pipelines.shared.progress import Bar, duration
from ranktag.pipelines.shared.startup import share_processors
from ranktag.wording import count

if TYPE_CHECKING:
    from ranktag.features.progress import ExtractionProgress, ExtractionReport, Plan

SHOWN_FAILURES = 3

# Seconds from which on it can be told how long the rest will take.
SAMPLE = 0.2

# What a machine may choose for itself.
WORKERS_SETTINGS = ("device", "workers", "worker_index", "worker_count")


def _list_backbones(context: click.Context, parameter: click.Parameter, pattern: str | None) -> None:
    """Print the names of networks, and end."""
    if pattern is None or context.resilient_parsing:
        return
    from ranktag.features.backbone import list_backbones

    found = list(list_backbones(pattern, lambda text: click.echo(one_line(text), err=True)))
    if not found:
        raise NotFound(f"--list-backbones {pattern}: no network has such a name; '*' lists all")
    current().command = context.command_path
    current().show(Report({"backbones": found}, found))
    context.exit()


@click.command(cls=Command)
@click.argument("images", type=PlacePath, required=False)
@click.option(
    "-o",
    "--output",
    type=PlacePath,
    show_default="none, it must be given",
    help="The cache to write, NAME.h5, or its URL (s3://bucket/NAME.h5).",
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
    "--manifest",
    type=FilePath,
    show_default="IMAGES are listed",
    help="Instead of IMAGES and -o: compute this worker's shards of what was listed with --executor manifest.",
)
@click.option(
    "--shards",
    metavar="NUMBERS",
    show_default="those of this worker",
    help="Of the manifest, the shards of these numbers, '3' or '0-7,12'.",
)
@click.option(
    "--failures",
    type=FilePath,
    show_default="not written",
    help="Write the images that failed, with the reasons, to this CSV.",
)
@click.option(
    "--json-lines",
    type=FilePath,
    metavar="FILE",
    show_default="not written",
    help="Append progress for machines to this file: a JSON object a line, with done, total, failed and images/s.",
)
@quiet_option
def command(
    images: Path | str | None,
    output: Path | str | None,
    config: ExtractionConfig,
    manifest: Path | None,
    shards: str | None,
    failures: Path | None,
    json_lines: Path | None,
    quiet: bool,
) -> Report:
    """Stage one: write a network's features of IMAGES to a cache.

    IMAGES is a folder, searched recursively; a tar or a set of tars, as
    'photos-{00000..00099}.tar', or of Parquet files, on a disk or at URLs such as
    s3://bucket/photos.tar; or a CSV with the column image_id and, optionally, path,
    which may be a URL.

    Killed at any moment, the same command goes on where it was; on another day it brings
    the cache up to date: new photos and those whose file has changed are computed, those
    that are gone are left out, all others are kept without being opened. Images that
    cannot be read become failed rows; the exit code is then 1.
    """
    _refuse_half_a_call(images, output, manifest, shards)
    if config.executor != "ray":
        refuse_unused(RAY_SETTINGS, "is of --executor ray")
    share_processors()
    from ranktag.features.progress import ExtractionProgress
    from ranktag.files.tables import write_table

    progress = ExtractionProgress() if quiet else progress_printer()
    with contextlib.ExitStack() as held:
        if json_lines is not None:
            from ranktag.pipelines.shared.json_lines import JsonLines

            progress = held.enter_context(JsonLines(json_lines, progress))
        if manifest is not None:
            from ranktag.features.from_manifest import extract_from_manifest

            report = extract_from_manifest(manifest, shards, config, progress)
        else:
            from ranktag.features.extract import extract_features

            assert images is not None and output is not None
            report = extract_features(images, output, config, progress)
    if failures is not None:
        write_table(failures, ("image_id", "error"), report.failures)
    lines = [] if quiet else list(_described(report, failures))
    return Report(_as_dict(report), lines, code=1 if report.failures else 0)


def _refuse_half_a_call(
    images: Path | str | None, output: Path | str | None, manifest: Path | None, shards: str | None
) -> None:
    """Raise click.UsageError unless there are images and an output, or a manifest, which says all there is to say."""
    if manifest is None:
        for name, value in (("argument 'IMAGES'", images), ("option '-o' / '--output'", output)):
            if value is None:
                raise click.UsageError(f"Missing {name}.")
        if shards is not None:
            raise click.UsageError("--shards: names shards of a manifest; give --manifest too")
        return
    if images is not None or output is not None:
        raise click.UsageError("--manifest: says which images and which output; leave IMAGES and -o out")
    others = [f.name for f in fields(ExtractionConfig) if f.name not in WORKERS_SETTINGS]
    refuse_unused(others, "the manifest says it")
    if shards is not None:
        refuse_unused(("worker_index", "worker_count"), "--shards says which shards")


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
        "manifest": report.manifest,
        "left_out": list(report.left_out),
        "changes": report.changes.counts() if report.changes else None,
        "failures": [{"image_id": image_id, "error": error} for image_id, error in report.failures],
    }


def _described(report: ExtractionReport, failures: Path | None) -> Iterator[str]:
    """What was done, a line each."""
    if report.manifest is not None:
        yield f"Manifest: {report.manifest}"
        yield f"On every machine: extract-features --manifest {report.manifest}"
        yield f"When all have finished: ranktag join-features {report.output}"
        return
    if report.computed:
        rate = f"{report.computed / report.seconds:.1f} images/s"
        yield (
            f"{count(report.computed, 'image')} in {duration(report.seconds)}, {rate}"
            + (f"; {report.images - report.computed:,} were done already" if report.computed < report.images else "")
        )
    elif report.changes is not None:
        yield f"Nothing had to be computed: {report.changes}."
    else:
        yield f"All {count(report.images, 'image')} were done already."
    if report.failures:
        everything = len(report.failures) == report.images
        yield (
            "Every image failed; is this the right folder?"
            if everything
            else f"{count(len(report.failures), 'image')} failed:"
        )
        for image_id, error in report.failures[:SHOWN_FAILURES]:
            yield f"  {one_line(image_id)}: {error}"
        if len(report.failures) > SHOWN_FAILURES:
            yield (
                f"  and {len(report.failures) - SHOWN_FAILURES:,} more"
                + ("" if failures else " (--failures FILE lists them all)")
            )
    if report.cache is not None:
        yield f"Features: {report.cache}"
    else:
        index, workers = report.worker
        who = f"Worker {index} of {workers}" if workers > 1 else "This worker"
        yield f"{who} has finished. When all have: ranktag join-features {report.output}"


def _announcement(plan: Plan) -> str:
    """What is about to be done, in a line."""
    index, workers = plan.worker
    share = f" for worker {index} of {workers}, of {plan.total:,} in all" if workers > 1 else ""
    if plan.nodes:
        where = f"{count(plan.nodes, 'node')} of {plan.device}"
        return (
            f"{count(plan.images, 'image')}{share}, {plan.done:,} done already. "
            f"Computing on {where} in {plan.compute_dtype}, {count(plan.batch_size, 'image')} a batch."
        )
    processes = f"{count(plan.workers, 'process', 'processes')} decoding"
    return (
        f"{count(plan.images, 'image')}{share}, {plan.done:,} done already. "
        f"Computing on {plan.device} in {plan.compute_dtype}, {count(plan.batch_size, 'image')} a batch, "
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
            self.since_first = 0
            # Of many machines, two batches say nothing; the bar will.
            self.expecting, self.nodes = not plan.nodes, plan.nodes

        def batch(self, images: int, failures: int) -> None:
            self.left -= images
            self.failed += failures
            self._expect(images)
            nodes = f"{count(self.nodes, 'node')}, " if self.nodes else ""
            self.bar.set_postfix_str(f"{nodes}{self.failed:,} failed", refresh=False)
            self.bar.update(images)

        def at_work(self, nodes: int) -> None:
            self.nodes = nodes

        def _expect(self, images: int) -> None:
            """Say how long it will take: the first batch waits for images and memory, the next are a fair sample.

            Several may come at once, which says nothing before the ones after them have come.
            """
            now = time.monotonic()
            if self.first is None:
                self.first = now
                return
            self.since_first += images
            if self.expecting and now - self.first >= SAMPLE:
                self.expecting = False
                if self.left:
                    self.bar.clear()
                    expected = self.left * (now - self.first) / self.since_first
                    click.echo(f"Expected to take {duration(expected)}.", err=True)

        def finish(self) -> None:
            self.bar.close()

    return Printer()
