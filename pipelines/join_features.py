"""``ranktag join-features``: the shards of many workers to one cache."""

from __future__ import annotations

from pathlib import Path

import click

from ranktag.pipelines.shared.options import FilePath, overwrite_option, quiet_option
from ranktag.pipelines.shared.progress import progress


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("output", type=FilePath)
@overwrite_option
@quiet_option
def command(output: Path, overwrite: bool, quiet: bool) -> int:
    """Join the shards of an extraction by many workers.

    OUTPUT is the cache that was given to extract-features. The shards are removed
    once the cache is whole; which are missing, doubled or of another run is said.
    """
    from ranktag.feature_cache.shards import join_shards

    store = join_shards(output, overwrite=overwrite, progress=progress(quiet))
    failed = int((~store.valid).sum())
    if not quiet:
        click.echo(f"{len(store):,} images, {failed:,} of which failed. Features: {output}")
    return 1 if failed else 0
