"""``ranktag inspect``: what a feature cache holds and whether it is whole."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ranktag.errors import one_line
from ranktag.pipelines.shared.options import FilePath
from ranktag.pipelines.shared.progress import progress

if TYPE_CHECKING:
    from ranktag.feature_cache.inspection import Inspection

SHOWN_FAILURES = 10


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("cache", type=FilePath)
@click.option(
    "--json",
    "as_json",
    is_flag=True,
    show_default="off",
    help="Print everything, the statistics of each feature too, as JSON.",
)
def command(cache: Path, as_json: bool) -> int:
    """Say what a feature cache holds and whether it is whole.

    Every number is read. The exit code is 1 if the file is damaged; images that
    failed are part of a whole cache.
    """
    from ranktag.feature_cache.inspection import inspect_cache

    found = inspect_cache(cache, progress(quiet=as_json))
    if as_json:
        click.echo(json.dumps(found.to_dict()))
    else:
        _say(found)
    return 1 if found.problems else 0


def _say(found: Inspection) -> None:
    if found.provenance is not None:
        for name, value in dataclasses.asdict(found.provenance).items():
            click.echo(f"{name:<19} {one_line(value)}")
        valid = found.images - len(found.failures)
        click.echo(f"{'images':<19} {found.images:,}: {valid:,} valid, {len(found.failures):,} failed")
        click.echo(f"{'stored':<19} {found.dtype}, {found.size:,} bytes; rows with NaN: {found.nan_rows:,}")
    if found.statistics is not None:
        of = found.statistics.summary()
        zeros = found.statistics.zeros
        click.echo(
            f"{'features':<19} {of['zeros']:.1%} zeros (a feature: {zeros.min():.1%} to {zeros.max():.1%}), "
            f"mean {of['mean']:.4g}, range {of['minimum']:.4g} to {of['maximum']:.4g}; "
            f"{of['features_always_zero']:,} of {len(zeros):,} always 0"
        )
    for image_id, error in found.failures[:SHOWN_FAILURES]:
        click.echo(f"failed: {one_line(image_id)}: {one_line(error)}")
    if len(found.failures) > SHOWN_FAILURES:
        click.echo(f"and {len(found.failures) - SHOWN_FAILURES:,} more (--json lists them all)")
    for problem in found.problems:
        click.echo(one_line(problem), err=True)
    if not found.problems:
        click.echo("The file is whole.")
