"""``ranktag inspect``: what a feature cache holds and whether it is whole."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ranktag.errors import RanktagError, one_line
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
@click.option(
    "--against",
    "images",
    type=FilePath,
    metavar="PHOTOS",
    show_default="none",
    help="Say instead what extract-features would find in these photos: which are new, changed and gone.",
)
@click.option(
    "--verify-content",
    is_flag=True,
    show_default="off",
    help="With --against, tell changed photos by their content instead of by size and time.",
)
def command(cache: Path, as_json: bool, images: Path | None, verify_content: bool) -> int:
    """Say what a feature cache holds and whether it is whole.

    Every number is read. The exit code is 1 if the file is damaged; images that
    failed are part of a whole cache. With --against, it is 1 if the cache is not up to
    date with the photos, and the numbers are not read.
    """
    if images is not None:
        return _compare(cache, images, verify_content, as_json)
    if verify_content:
        raise RanktagError("--verify-content goes with --against PHOTOS; give the photos or leave it out")
    from ranktag.feature_cache.inspection import inspect_cache

    found = inspect_cache(cache, progress(quiet=as_json))
    if as_json:
        click.echo(json.dumps(found.to_dict()))
    else:
        _say(found)
    return 1 if found.problems else 0


def _compare(cache: Path, images: Path, verify_content: bool, as_json: bool) -> int:
    """Say what has become of the photos since the cache was made."""
    from ranktag.features.changes import KINDS, changes_since

    changes = changes_since(cache, images, content=verify_content, progress=progress(quiet=as_json))
    if as_json:
        found = {name: list(getattr(changes, name)) for name in KINDS if name != "kept"}
        click.echo(json.dumps({"up_to_date": changes.none, "counts": changes.counts(), **found}))
        return 0 if changes.none else 1
    click.echo(f"{changes}.")
    if changes.unknown:
        click.echo(f"Of {changes.unknown:,} rows the cache does not say of which files they were computed.")
    for name in ("new", "changed", "gone"):
        ids = getattr(changes, name)
        for image_id in ids[:SHOWN_FAILURES]:
            click.echo(f"{name}: {one_line(image_id)}")
        if len(ids) > SHOWN_FAILURES:
            click.echo(f"and {len(ids) - SHOWN_FAILURES:,} more {name} (--json lists them all)")
    click.echo(
        "The cache is up to date."
        if changes.none
        else "The same extract-features that made the cache brings it up to date."
    )
    return 0 if changes.none else 1


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
