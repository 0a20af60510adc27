"""A cache that is written to a URL: made in a copy on this machine, each of its files put there once it is verified."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from ranktag.errors import RanktagError, Usage
from ranktag.feature_cache.shards import KEPT, Shard, folder_of, join_shards, shard_files
from ranktag.feature_cache.store import FeatureStore
from ranktag.features.job import Job
from ranktag.features.progress import ExtractionProgress, ExtractionReport
from ranktag.files.mirror import Mirror
from ranktag.files.remote import name_in
from ranktag.progress import Progress
from ranktag.urls import without_secrets


def extract_to_url(
    url: str, executor: str, progress: ExtractionProgress, extract: Callable[[Mirror], ExtractionReport]
) -> ExtractionReport:
    """What ``extract`` does in a copy of what is at ``url``, which is then there too.

    Raises RanktagError as ``extract``, and Outage where the server fails: what is computed is kept in the copy.
    """
    if executor != "local":
        raise Usage(
            f"{without_secrets(url)}: --executor {executor} works in a folder that all machines see; name one, "
            "or share the work with --worker-index and --worker-count"
        )
    mirror = _mirror_of(url)
    with _named(mirror):
        mirror.pull(progress=progress)
        report = extract(mirror)
        put_all(mirror, mirror.path)
    return replace(report, output=mirror.shown, cache=None if report.cache is None else mirror.shown)


def join_at_url(url: str, *, overwrite: bool = False, progress: Progress | None = None) -> FeatureStore:
    """``join_shards`` of shards that are at a URL; the cache is put there, and the shards are removed there."""
    mirror = _mirror_of(url)
    with _named(mirror):
        mirror.pull(progress=progress)
        store = join_shards(mirror.path, overwrite=overwrite, progress=progress)
        put_all(mirror, mirror.path)
    return store


def put_shard(job: Job, shard: Shard) -> None:
    """Put a shard that has been written and read again to where the job's output is."""
    if job.mirror is not None:
        job.mirror.put(folder_of(job.output) / shard.name)


def put_kept(job: Job, pending: Sequence[Shard]) -> None:
    """Put what earlier runs have made and not put, as the server did not take it; then what they replaced goes."""
    if job.mirror is not None:
        put_all(job.mirror, job.output, {shard.name for shard in pending})


def put_all(mirror: Mirror, output: Path, without: set[str] | frozenset[str] = frozenset()) -> None:
    """Put the cache, or its shards, and remove there what is gone here. without: names of shards that are not whole."""
    files = [output, folder_of(output) / KEPT, *shard_files(folder_of(output))]
    mirror.push(path for path in files if path.exists() and path.name not in without)


def _mirror_of(url: str) -> Mirror:
    if not name_in(url).endswith(".h5"):
        raise Usage(f"{without_secrets(url)}: name the object to be written, say {without_secrets(url)}/features.h5")
    return Mirror(url)


@contextmanager
def _named(mirror: Mirror) -> Iterator[None]:
    """Errors name the URL, not the copy."""
    try:
        yield
    except RanktagError as error:
        error.args = (str(error).replace(str(mirror.path), mirror.shown),)
        raise
