"""Several caches as one, without copying them: of one network, no image in two of them."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeAlias, cast

import numpy as np
import numpy.typing as npt

from ranktag.errors import Mismatch, RanktagError
from ranktag.feature_cache.digest import image_list_sha256
from ranktag.feature_cache.gather import gathered_files
from ranktag.feature_cache.rows import ChainedRows
from ranktag.feature_cache.shard_folder import open_shards
from ranktag.feature_cache.shards import join_rows
from ranktag.feature_cache.store import FeatureStore, open_features, opening
from ranktag.files.atomic import refuse_existing
from ranktag.files.mirror import local_copy
from ranktag.progress import Progress
from ranktag.urls import is_url

# A cache or its folder of shards, by path or URL, or several; written PREFIX=CACHE, its image ids begin with PREFIX.
Caches: TypeAlias = Path | str | Sequence[Path | str]


def open_together(caches: Caches) -> FeatureStore:
    """Open a cache or a folder of shards, or several as one whose rows are those of the first, then of the second, ...

    Raises RanktagError for what ``open_features`` and ``open_shards`` refuse, features that were made unlike, and
    an image id that two caches hold.
    """
    paths = [caches] if isinstance(caches, (str, Path)) else list(caches)
    stores = [_opened(path) for path in paths]
    if not stores:
        raise RanktagError("no cache is given; name at least one")
    first = stores[0]
    if len(stores) == 1:
        return first
    _refuse_unlike(stores)
    _refuse_repeated(stores)
    image_id = [image_id for store in stores for image_id in store.image_id]
    content = "".join(str(store.attributes.get("content_sha256", "")) for store in stores)
    source = np.repeat(np.arange(len(stores)), [len(store) for store in stores])
    row = np.concatenate([np.arange(len(store)) for store in stores])
    digest = hashlib.sha256((content + image_list_sha256(image_id)).encode()).hexdigest()
    return FeatureStore(
        first.path,
        replace(first.provenance, image_list_sha256=image_list_sha256(image_id)),
        image_id,
        np.concatenate([store.valid for store in stores]),
        [error for store in stores for error in store.error],
        cast("npt.NDArray[Any]", ChainedRows([store.features for store in stores])),
        {"content_sha256": digest},
        gathered_files(stores, source, row),
        stores,
    )


@contextmanager
def opening_together(caches: Caches) -> Iterator[Callable[[], FeatureStore]]:
    """``open_together``, which for a single file works beside what is done within; what is given returns the cache."""
    if isinstance(caches, (str, Path)) and not is_url(caches) and os.path.isfile(caches):
        with opening(Path(caches)) as opened:
            yield opened
    else:
        store = open_together(caches)
        yield lambda: store


def join_caches(
    output: str | Path, caches: Sequence[Path | str], *, overwrite: bool = False, progress: Progress | None = None
) -> FeatureStore:
    """Copy the rows of several caches into one, ``output``, and return it.

    Raises RanktagError for what ``open_together`` refuses, and if ``output`` exists.
    """
    output = Path(output)
    refuse_existing(output, overwrite)
    together = open_together(caches)
    stores = [together] if together.order is not None else together.parts or [together]
    source = np.repeat(np.arange(len(stores)), [len(store) for store in stores])
    row = np.concatenate([np.arange(len(store)) for store in stores])
    return join_rows(output, together.image_id, stores, source, row, progress or Progress())


def _opened(cache: Path | str) -> FeatureStore:
    """A cache; where it is written PREFIX=CACHE and is no file of that name, its ids begin with the prefix."""
    prefix, equals, path = os.fspath(cache).partition("=")
    if not equals or is_url(cache) or os.path.lexists(cache):
        return open_cache(cache)
    store = open_cache(path)
    return replace(store, image_id=[prefix + image_id for image_id in store.image_id])


def open_cache(cache: Path | str) -> FeatureStore:
    """Open a cache or a folder of shards, or a copy of what is at a URL.

    Raises RanktagError for what is neither, or not whole.
    """
    path = local_place(cache)
    return open_shards(path) if path.is_dir() else open_features(path)


def local_place(cache: Path | str) -> Path:
    """The path of a cache or a folder of shards; of one at a URL that of a copy, brought up to date. Raises Outage."""
    if not is_url(cache):
        return Path(cache)
    path = local_copy(os.fspath(cache))
    shards = path.with_name(path.name + ".shards")
    return shards if shards.is_dir() and not path.exists() else path


def _refuse_unlike(stores: Iterable[FeatureStore]) -> None:
    first, *others = stores
    for store in others:
        unlike = first.provenance.differences(store.provenance)
        if first.width != store.width:
            unlike.append(f"width: {first.width} / {store.width}")
        if first.features.dtype != store.features.dtype:
            unlike.append(f"dtype: '{first.features.dtype}' / '{store.features.dtype}'")
        if unlike:
            raise Mismatch(
                f"{store.path}: was made otherwise than {first.path} ({'; '.join(unlike)}); "
                "only features of one network go together"
            )


def _refuse_repeated(stores: Iterable[FeatureStore]) -> None:
    place: dict[str, FeatureStore] = {}
    for store in stores:
        for image_id in store.image_id:
            if (other := place.setdefault(image_id, store)) is not store:
                raise Mismatch(
                    f"'{image_id}' is in {other.path} and in {store.path}; leave one out, or tell their images apart "
                    "by a prefix: PREFIX=CACHE"
                )
