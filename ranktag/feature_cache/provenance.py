"""What made a cache: the fields that a model and a cache must agree on."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Provenance:
    """What made the features. ``preprocessing`` is JSON; ``created`` is UTC in ISO 8601."""

    backbone: str
    layer: str
    weights: str
    weights_sha256: str
    preprocessing: str
    compute_dtype: str
    image_list_sha256: str
    ranktag_version: str = ""
    torch_version: str = ""
    torchvision_version: str = ""
    created: str = ""

    # What the numbers mean, and so what a model and a cache must agree on. What they were computed in, when and by
    # which versions is not part of it.
    MEANING = ("backbone", "layer", "weights", "weights_sha256", "preprocessing")

    def differences(self, other: Provenance, names: Sequence[str] = MEANING) -> list[str]:
        """'name: ours / theirs' for each of ``names`` that differs."""
        return [
            f"{name}: {getattr(self, name)!r} / {getattr(other, name)!r}"
            for name in names
            if getattr(self, name) != getattr(other, name)
            # The same numbers under another file name are the same weights.
            and not (name == "weights" and self.weights_sha256 and self.weights_sha256 == other.weights_sha256)
        ]


def utc_now() -> str:
    """The time now, UTC, ISO 8601, to the second."""
    return datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
