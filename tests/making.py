"""What the tests of stage two are made of: tiny caches, tag files and settings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ranktag.config import TrainingConfig
from ranktag.feature_cache.write import cache_features
from ranktag.tags.lists import TagLists, write_tag_lists

# The models are so small that a second thread costs more than it gives.
torch.set_num_threads(1)

SPLIT_OF_TEN = ("train",) * 7 + ("val",) * 2 + ("test",)
TAGS = ("sky", "tree", "dog", "cat", "car", "boat")


def features_of(n: int, seed: int = 0) -> np.ndarray:
    """(n, 4096) float32, sparse and not negative like activations after a ReLU."""
    return np.maximum(np.random.default_rng(seed).normal(size=(n, 4096)), 0).astype(np.float32)


def make_cache(path: Path, image_ids: Sequence[str], features: np.ndarray | None = None, **options: Any) -> Path:
    """A feature cache; random features unless they are given."""
    return cache_features(features_of(len(image_ids)) if features is None else features, image_ids, path, **options)


def make_tags(path: Path, lists: Mapping[str, Sequence[Sequence[str]]], split: Mapping[str, str] | None = None) -> Path:
    """A tag file. lists: image id -> its people's lists."""
    write_tag_lists(path, TagLists({i: [tuple(tags) for tags in people] for i, people in lists.items()}, split))
    return path


def make_data(folder: Path, images: int = 30, seed: int = 0) -> tuple[Path, Path]:
    """A cache and a tag file that belong together: a list of one to four tags an image, seven of ten to train on."""
    generator = np.random.default_rng(seed)
    ids = [f"{n:03}.jpg" for n in range(images)]
    lists = {i: [list(generator.permutation(TAGS)[: generator.integers(1, 5)])] for i in ids}
    split = {i: SPLIT_OF_TEN[n % 10] for n, i in enumerate(ids)}
    return make_cache(folder / "cache.h5", ids, features_of(images, seed)), make_tags(folder / "tags.csv", lists, split)


def tiny(**changes: Any) -> TrainingConfig:
    """Settings of a training that takes a blink: a small model, three epochs of batches of eight, in float32."""
    settings = {
        "members": 1,
        "head": 0.0,
        "projection": 8,
        "hidden": 8,
        "embedding": 4,
        "epochs": 3,
        "batch_size": 8,
        "precision": "fp32",
        "device": "cpu",
    }
    return TrainingConfig(**(settings | changes))
