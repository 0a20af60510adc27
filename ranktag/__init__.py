"""Ranked tags for photos.

An LSTM that sees the image at every step writes the tags of a photo in order of
importance (Yan, Wang and Liao, "LSTM for Image Annotation with Relative Visual
Importance", BMVC 2016), trained on cached VGG features.

The functions below mirror the commands, and ``Tagger`` tags photos in a service; each is imported on first use, so that
``import ranktag`` does not import torch.

Letters used in every docstring: B batch, N images, T steps, D feature width,
d projection, H hidden, V vocabulary.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from ranktag.version import __version__

if TYPE_CHECKING:
    from ranktag.decoding.decode import decode as decode
    from ranktag.decoding.suggest import Suggester as Suggester
    from ranktag.evaluation.evaluate import evaluate as evaluate
    from ranktag.feature_cache.write import cache_features as cache_features
    from ranktag.features.extract import extract_features as extract_features
    from ranktag.tagging import Tagger as Tagger
    from ranktag.training.train import train as train

_HOME = {
    "extract_features": "ranktag.features.extract",
    "cache_features": "ranktag.feature_cache.write",
    "train": "ranktag.training.train",
    "decode": "ranktag.decoding.decode",
    "evaluate": "ranktag.evaluation.evaluate",
    "Tagger": "ranktag.tagging",
    "Suggester": "ranktag.decoding.suggest",
}
__all__ = ["__version__", *_HOME]


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(importlib.import_module(_HOME[name]), name)
    raise AttributeError(f"module 'ranktag' has no attribute {name!r}")
