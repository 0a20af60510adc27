"""Train, val and test: the names, and a seeded split by image."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping

SPLITS = ("train", "val", "test")
# What others call them, in lower case.
SPLIT_NAMES: Mapping[str, str] = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "dev"), "val"),
    **dict.fromkeys(("test", "testing"), "test"),
}


def assign_splits(image_ids: Iterable[str], seed: int) -> dict[str, str]:
    """A seeded 80/10/10 split into train, val and test, whatever the order of ``image_ids``.

    Of two or more images at least one is train and one val, of three or more one is test.
    """
    ranked = shuffled(image_ids, seed)
    n = len(ranked)
    held_out = max(1, round(0.1 * n)) if n > 1 else 0
    val, test = ranked[:held_out], ranked[held_out : 2 * held_out] if n > 2 else []
    return dict.fromkeys(ranked, "train") | dict.fromkeys(val, "val") | dict.fromkeys(test, "test")


def shuffled(image_ids: Iterable[str], seed: int) -> list[str]:
    """Different ids in a seeded random order, whatever theirs is: by SHA-256 of seed and id."""
    return sorted(set(image_ids), key=lambda i: hashlib.sha256(f"{seed}:{i}".encode("utf-8", "surrogatepass")).digest())
