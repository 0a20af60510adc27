"""What is decoded, and by what: the models of run folders, a cache of their making, and which of its rows."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ranktag.errors import Mismatch, RanktagError
from ranktag.feature_cache.store import FeatureStore
from ranktag.feature_cache.together import Caches, open_together
from ranktag.models.checkpoint import Checkpoint, load_checkpoint
from ranktag.tags.splits import SPLITS


def open_models(
    cache: Caches, run: str | Path | Sequence[str | Path], force: bool
) -> tuple[list[Path], list[Checkpoint], FeatureStore]:
    """The runs' folders, their models and the cache. Raises RanktagError if they do not belong together."""
    runs = [Path(run)] if isinstance(run, (str, Path)) else [Path(one) for one in run]
    checkpoints = [load_checkpoint(one) for one in runs]
    store = open_together(cache)
    _refuse_unlike(runs, checkpoints, store, force)
    return runs, checkpoints, store


def _refuse_unlike(runs: Sequence[Path], checkpoints: Sequence[Checkpoint], store: FeatureStore, force: bool) -> None:
    """Raise RanktagError if models cannot decide together or were trained on other features."""
    refuse_other_vocabularies(runs, checkpoints)
    for path, checkpoint in zip(runs, checkpoints):
        checkpoint.refuse_other_features(store, path, force=force)


def refuse_other_vocabularies(runs: Sequence[Path], checkpoints: Sequence[Checkpoint]) -> None:
    """Raise Mismatch for a model that has other tags than the first, so that they cannot decide together."""
    for path, checkpoint in zip(runs, checkpoints):
        if checkpoint.vocabulary != checkpoints[0].vocabulary:
            raise Mismatch(f"{path}: has other tags than {runs[0]}; runs that decide together need one vocabulary")


def rows_to_decode(store: FeatureStore, checkpoint: Checkpoint, split: str | None, run: Path) -> npt.NDArray[np.int64]:
    """The cache's rows with features, or those that were in the split when the model was trained.

    Raises RanktagError if none was.
    """
    if split is None:
        return np.flatnonzero(store.valid)
    chosen = set(checkpoint.split.get(split, ()))
    rows = [row for row in np.flatnonzero(store.valid).tolist() if store.image_id[row] in chosen]
    if not rows:
        raise RanktagError(
            f"{store.path}: no image of split '{split}' of {run} is in it; leave out --split to decode every image"
        )
    return np.array(rows, dtype=np.int64)


def choose_rows(
    store: FeatureStore,
    rows: npt.NDArray[np.int64],
    images: Collection[str] | None,
    untagged: Collection[str] | None,
) -> npt.NDArray[np.int64]:
    """Those of ``rows`` that are of ``images`` and not of ``untagged``. Raises RanktagError if none is left."""
    if images is None and untagged is None:
        return rows
    if images is not None:
        known = set(store.image_id)
        lacking = [image_id for image_id in images if image_id not in known]
        if lacking:
            raise Mismatch(
                f"{store.path}: {len(lacking):,} of the {len(images):,} images that are listed are not in it "
                f"('{lacking[0]}' first); mend the list, or bring the cache up to date with extract-features"
            )
    wanted, left_out = None if images is None else set(images), set(untagged or ())
    kept = [
        row
        for row in rows.tolist()
        if (wanted is None or store.image_id[row] in wanted) and store.image_id[row] not in left_out
    ]
    if not kept and (wanted is not None or untagged is not None):
        raise RanktagError(f"{store.path}: no image is left to decode; choose other images or leave out the choice")
    return np.array(kept, np.int64)


class FeatureRows:
    """Chosen rows of a memory-mapped cache, read when they are sliced.

    Raises RanktagError at a row that is not finite: no decoder could tell it from any other.
    """

    def __init__(self, store: FeatureStore, rows: npt.NDArray[np.int64]) -> None:
        self._store, self._rows = store, rows

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, part: slice) -> Tensor:
        block = torch.from_numpy(self._store.features[self._rows[part]])
        bad = (~block.sum(dim=1, dtype=torch.float32).isfinite()).nonzero().flatten()
        if len(bad):
            raise self._store.not_finite(int(self._rows[part][int(bad[0])]))
        return block


def seen(checkpoints: Sequence[Checkpoint], image_ids: Sequence[str]) -> dict[str, str]:
    """Image id -> the split in which it was when the models were trained, '' for one that none of them saw."""
    known = known_splits(checkpoints)
    return {image_id: known.get(image_id, "") for image_id in image_ids}


def known_splits(checkpoints: Sequence[Checkpoint]) -> dict[str, str]:
    """Id of every image that a model saw -> the split in which it was then.

    Of several splits it is the one that the models knew most of: train before val before test.
    """
    known: dict[str, str] = {}
    for split in reversed(SPLITS):
        for checkpoint in checkpoints:
            known.update(dict.fromkeys(checkpoint.split.get(split, ()), split))
    return known
