"""A folder of shards, read as if it was joined: nothing is copied, and how many shards there are makes no difference.

Every shard's form is checked and what made it is compared, once; not every number of it (``ranktag inspect`` does).
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from ranktag.errors import Mismatch, NotFound, RanktagError
from ranktag.feature_cache.digest import image_list_sha256
from ranktag.feature_cache.gather import gathered_files
from ranktag.feature_cache.rows import ChainedRows, ChosenRows, OpenFiles
from ranktag.feature_cache.shards import KEPT, as_shard, in_order, pending_rows, shard_files, whole_set
from ranktag.feature_cache.store import FeatureStore, open_own, refuse_crashes
from ranktag.progress import Progress


def open_shards(folder: Path) -> FeatureStore:
    """The shards in ``folder`` as one cache, its rows in the order of the image list.

    Raises RanktagError unless they are all there, whole, of one run, and no image is in two of them.
    """
    files = OpenFiles()
    paths = [*shard_files(folder), *([folder / KEPT] if (folder / KEPT).exists() else [])]
    if not paths:
        raise NotFound(
            f"{folder}: is a folder that holds no finished shard; name the .h5 file, or the folder NAME.h5.shards of "
            "an extract-features that is done"
        )
    refuse_crashes(paths)
    _refuse_no_shards(folder, paths)
    kept = open_own(folder / KEPT, files) if (folder / KEPT).exists() else None
    shards = (
        whole_set(folder, Progress(), lambda path: as_shard(open_own(path, files)), then="run this again")
        if kept is None or pending_rows(kept)
        else []
    )
    image_ids, stores, source, row = in_order(kept, shards)
    _refuse_repeated(stores, image_ids)
    order = np.cumsum([0, *map(len, stores)])[source] + row
    in_sequence = kept is None
    chained = cast("npt.NDArray[Any]", ChainedRows([store.features for store in stores]))
    error = [error for store in stores for error in store.error]
    content = "".join(str(store.attributes.get("content_sha256", "")) for store in stores)
    list_sha256 = image_list_sha256(image_ids)
    return FeatureStore(
        folder,
        replace(stores[0].provenance, image_list_sha256=list_sha256),
        image_ids,
        np.concatenate([store.valid for store in stores])[order],
        error if in_sequence else [error[row] for row in order.tolist()],
        chained if in_sequence else cast("npt.NDArray[Any]", ChosenRows(chained, order)),
        {"content_sha256": hashlib.sha256((content + list_sha256).encode()).hexdigest()},
        gathered_files(stores, source, row),
        stores,
        None if in_sequence else order,
    )


def _refuse_no_shards(folder: Path, paths: Sequence[Path]) -> None:
    """Raise RanktagError for a folder of other files: caches, say. Nobody should be told to remove one of those."""
    if folder.name.endswith(".shards"):
        return
    for path in paths:
        with contextlib.suppress(RanktagError):
            as_shard(open_own(path, OpenFiles()))
            return
    raise NotFound(f"{folder}: is a folder, and none of its .h5 files is a shard; name the file, {paths[0].name} say")


def _refuse_repeated(stores: Sequence[FeatureStore], image_ids: Sequence[str]) -> None:
    """Raise RanktagError if two stores hold one image."""
    if len(set(image_ids)) == len(image_ids):
        return
    place: dict[str, Path] = {}
    for store in stores:
        for image_id in store.image_id:
            if (other := place.setdefault(image_id, store.path)) is not store.path:
                raise Mismatch(
                    f"'{image_id}' is in {other} and in {store.path}; remove one of them and run the same "
                    "extract-features again"
                )
