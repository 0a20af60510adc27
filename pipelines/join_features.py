"""``ranktag join-features``: the shards of many workers to one cache."""

from __future__ import annotations

from pathlib import Path

import click

from ranktag.errors import Usage
from ranktag.pipelines.shared.command import Command
from ranktag.pipelines.shared.console import Report
from ranktag.pipelines.shared.options import PlacePath, overwrite_option, quiet_option
from ranktag.pipelines.shared.progress import progress
from ranktag.urls import without_secrets
from ranktag.wording import count


@click.command(cls=Command)
@click.argument("output", type=PlacePath)
@click.argument("caches", type=PlacePath, nargs=-1, metavar="[CACHE]...")
@overwrite_option
@quiet_option
def command(output: Path | str, caches: tuple[Path | str, ...], overwrite: bool, quiet: bool) -> Report:
    """Join the shards of an extraction by many workers, or whole caches.

    OUTPUT is the cache that was given to extract-features, a path or a URL. The shards are removed
    once the cache is whole; which are missing, doubled or of another run is said.

    With one or more CACHE or folders of shards, which must be of one network, their rows are copied to OUTPUT;
    no image may be in two of them, so PREFIX=CACHE puts a prefix before its image ids.
    """
    from ranktag.feature_cache.shards import join_shards
    from ranktag.feature_cache.together import join_caches
    from ranktag.features.put import join_at_url

    if isinstance(output, str):
        if caches:
            raise Usage(f"{without_secrets(output)}: caches are joined to a file; name one, then copy it there")
        store = join_at_url(output, overwrite=overwrite, progress=progress(quiet))
        output = without_secrets(output)
    elif caches:
        store = join_caches(output, caches, overwrite=overwrite, progress=progress(quiet))
    else:
        store = join_shards(output, overwrite=overwrite, progress=progress(quiet))
    failed = int((~store.valid).sum())
    said = f"{count(len(store), 'image')}, {failed:,} of which failed. Features: {output}"
    facts = {"output": output, "images": len(store), "failed": failed}
    return Report(facts, [] if quiet else [said], code=1 if failed else 0)
