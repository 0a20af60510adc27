"""Digests of a cache: of its image ids, and of all that it holds."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt

from ranktag.feature_cache.store import FeatureStore
from ranktag.progress import Progress


def image_list_sha256(image_ids: Iterable[str]) -> str:
    """SHA-256 of the ids in order, with a newline between them, in UTF-8."""
    digest = hashlib.sha256()
    for number, image_id in enumerate(image_ids):
        digest.update((f"\n{image_id}" if number else image_id).encode("utf-8"))
    return digest.hexdigest()


class ContentDigest:
    """SHA-256 of a cache's datasets, features first, fed a block of rows at a time."""

    def __init__(self) -> None:
        self._digest = hashlib.sha256()

    def features(self, block: npt.NDArray[Any]) -> None:
        """Take the next rows of features, (rows, D) in the stored type."""
        self._digest.update(np.ascontiguousarray(block).data)

    def finish(self, image_ids: Iterable[str], valid: npt.NDArray[np.bool_], error: Iterable[str]) -> str:
        """The hexadecimal digest, once all features are taken; the N ids, marks and reasons come last."""
        for texts in (image_ids, error):
            self._digest.update(image_list_sha256(texts).encode())
        self._digest.update(np.asarray(valid, np.uint8).tobytes())
        return self._digest.hexdigest()


def content_sha256(store: FeatureStore, block: int = 1024, progress: Progress | None = None) -> str:
    """What the attribute ``content_sha256`` should be, from the data as they are on disk now.

    block: rows read at once. progress: is told how many rows are read.
    """
    digest, progress = ContentDigest(), progress or Progress()
    for features in store.blocks(block):
        digest.features(features)
        progress.advance(len(features))
    return digest.finish(store.image_id, store.valid, store.error)
