"""Ranked tags for photos.

An LSTM that sees the image at every step writes the tags of a photo in order of
importance (Yan, Wang and Liao, "LSTM for Image Annotation with Relative Visual
Importance", BMVC 2016), trained on cached VGG features.

The functions below mirror the commands; each is imported on first use, so that
``import ranktag`` does not import torch.

Letters used in every docstring: B batch, N images, T steps, D = 4096 feature
size, d projection, H hidden, V vocabulary.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from ranktag.decoding import decode as decode
    from ranktag.evaluation import evaluate as evaluate
    from ranktag.extraction import extract_features as extract_features
    from ranktag.feature_store import cache_features as cache_features
    from ranktag.training import train as train

_HOME = {
    "extract_features": "ranktag.extraction",
    "cache_features": "ranktag.feature_store",
    "train": "ranktag.training",
    "decode": "ranktag.decoding",
    "evaluate": "ranktag.evaluation",
}
__all__ = ["__version__", *_HOME]


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(importlib.import_module(_HOME[name]), name)
    raise AttributeError(f"module 'ranktag' has no attribute {name!r}")
