"""What is written down of a run: ``config.json``, and ``missing.csv`` where tagged images have no feature."""

from __future__ import annotations

import json
import math
from dataclasses import asdict
from pathlib import Path
from typing import Protocol

import torch

from ranktag.config import TrainingConfig
from ranktag.feature_cache.provenance import utc_now
from ranktag.feature_cache.together import Caches
from ranktag.files.atomic import atomic_path
from ranktag.files.tables import write_table
from ranktag.training.names import CONFIG_FILE, MISSING_FILE
from ranktag.training.run_folder import RunFolder
from ranktag.training_data.load import TrainingData
from ranktag.urls import without_secrets
from ranktag.version import __version__


class Kept(Protocol):
    """Of the weights that are kept: validation NDCG@5, and the epoch (0 of a baseline)."""

    ndcg5: float
    epoch: int


def write_missing(folder: RunFolder, data: TrainingData) -> None:
    """``missing.csv``, if a tagged image has no feature: image_id, split (if it has one) and why."""
    joined = data.joined
    if joined.missing:
        rows = [(i, joined.split.get(i, ""), why) for i, why in joined.missing.items()]
        write_table(folder.file(MISSING_FILE), ("image_id", "split", "reason"), rows)


def write_config(
    folder: RunFolder,
    config: TrainingConfig,
    data: TrainingData,
    cache: Caches,
    kept: Kept,
    interval: tuple[float, float],
) -> None:
    """``config.json``: for people and ``ranktag runs``. It is there once the run is finished. interval: 95%."""
    low, high = (None if math.isnan(bound) else bound for bound in interval)
    caches = [cache] if isinstance(cache, (str, Path)) else list(cache)
    named = [without_secrets(str(one)) for one in caches]
    content = {
        "ranktag_version": __version__,
        "torch_version": torch.__version__,
        "cache": named[0] if isinstance(cache, (str, Path)) else named,
        "tags": data.joined.tags_name,
        "settings": config.to_dict(),
        "images": data.joined.counts(),
        "split": "made from the split seed" if data.joined.made_split else "from the tag file",
        "training_lists": len(data.training.image),
        "vocabulary": len(data.vocabulary),
        "left_out": list(data.joined.notes),
        "features": asdict(data.joined.store.provenance),
        "finished": _finished(folder),
        "validation": {
            "ndcg5": kept.ndcg5,
            "epoch": kept.epoch,
            "images": len(data.validation.row),
            "low": low,
            "high": high,
        },
    }
    with atomic_path(folder.file(CONFIG_FILE)) as temporary:
        temporary.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _finished(folder: RunFolder) -> str:
    """When the run was finished: now, unless one that was finished already is gone on with."""
    try:
        before = json.loads(folder.file(CONFIG_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return utc_now()
    return str(before.get("finished") or utc_now()) if isinstance(before, dict) else utc_now()
