"""``ranktag inspect``: what a feature cache holds and whether it is whole."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ranktag.errors import Usage, one_line
from ranktag.pipelines.shared.command import Command
from ranktag.pipelines.shared.console import Report
from ranktag.pipelines.shared.options import PlacePath
from ranktag.pipelines.shared.progress import progress
from ranktag.wording import count

if TYPE_CHECKING:
    from ranktag.feature_cache.inspection import Inspection

SHOWN_FAILURES = 10


@click.command(cls=Command)
@click.argument("cache", type=PlacePath)
@click.option(
    "--against",
    "images",
    type=PlacePath,
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
def command(cache: Path | str, images: Path | str | None, verify_content: bool) -> Report:
    """Say what a feature cache, or its folder of shards, holds and whether it is whole.

    Every number is read. The exit code is 1 if the file is damaged; images that
    failed are part of a whole cache. With --json, the statistics of each feature are
    told, too. With --against, the exit code is 1 if the cache is not up to date with
    the photos, and the numbers are not read.
    """
    if images is not None:
        return _compare(cache, images, verify_content)
    if verify_content:
        raise Usage("--verify-content goes with --against PHOTOS; give the photos or leave it out")
    from ranktag.feature_cache.inspection import inspect_cache

    found = inspect_cache(cache, progress(quiet=False))
    for problem in found.problems:
        click.echo(one_line(problem), err=True)
    return Report(found.to_dict(), list(_described(found)), code=1 if found.problems else 0)


def _compare(cache: Path | str, images: Path | str, verify_content: bool) -> Report:
    """Say what has become of the photos since the cache was made."""
    from ranktag.features.changes import KINDS, changes_since

    changes = changes_since(cache, images, content=verify_content, progress=progress(quiet=False))
    found = {name: list(getattr(changes, name)) for name in KINDS if name != "kept"}
    lines = [f"{changes}."]
    if changes.unknown:
        lines.append(f"Of {count(changes.unknown, 'row')} the cache does not say of which files they were computed.")
    for name in ("new", "changed", "gone"):
        lines += [f"{name}: {one_line(image_id)}" for image_id in found[name][:SHOWN_FAILURES]]
        if len(found[name]) > SHOWN_FAILURES:
            lines.append(f"and {len(found[name]) - SHOWN_FAILURES:,} more {name} (--json lists them all)")
    lines.append(
        "The cache is up to date."
        if changes.none
        else "The same extract-features that made the cache brings it up to date."
    )
    facts = {"up_to_date": changes.none, "counts": changes.counts(), **found}
    return Report(facts, lines, code=0 if changes.none else 1)


def _described(found: Inspection) -> Iterator[str]:
    """What a cache holds, a line each."""
    if found.provenance is not None:
        for name, value in dataclasses.asdict(found.provenance).items():
            yield f"{name:<19} {one_line(value)}"
        valid = found.images - len(found.failures)
        yield f"{'images':<19} {found.images:,}: {valid:,} valid, {len(found.failures):,} failed"
        yield f"{'stored':<19} {found.dtype}, {found.size:,} bytes; rows with NaN: {found.nan_rows:,}"
    if found.statistics is not None:
        of = found.statistics.summary()
        zeros = found.statistics.zeros
        yield (
            f"{'features':<19} {of['zeros']:.1%} zeros (a feature: {zeros.min():.1%} to {zeros.max():.1%}), "
            f"mean {of['mean']:.4g}, range {of['minimum']:.4g} to {of['maximum']:.4g}; "
            f"{of['features_always_zero']:,} of {len(zeros):,} always 0"
        )
    for image_id, error in found.failures[:SHOWN_FAILURES]:
        yield f"failed: {one_line(image_id)}: {one_line(error)}"
    if len(found.failures) > SHOWN_FAILURES:
        yield f"and {len(found.failures) - SHOWN_FAILURES:,} more (--json lists them all)"
    if not found.problems:
        yield "The file is whole."
