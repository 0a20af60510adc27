"""Which weights a network has: torchvision's ImageNet weights, seeded random ones, or a file's.

Nothing here loads them (``ranktag.features.backbone`` does), so that a finished cache can be
compared with what is asked for without importing torch.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from ranktag.errors import RanktagError

# Torchvision's names of the weights it trained.
IMAGENET = {"vgg16": "VGG16_Weights.IMAGENET1K_V1", "vgg19": "VGG19_Weights.IMAGENET1K_V1"}


@dataclass(frozen=True)
class Weights:
    """A choice of weights. ``name`` is what the cache records; of ``seed`` and ``file`` at most one is set (ImageNet: neither)."""

    name: str
    seed: int | None = None
    file: Path | None = None


def choose_weights(weights: str, backbone: str) -> Weights:
    """``imagenet``, ``random``, ``random:SEED``, a recorded name of either, or a file.

    Raises RanktagError for a seed that is no whole number and a file that is not there.
    """
    if weights in ("imagenet", IMAGENET[backbone]):
        return Weights(IMAGENET[backbone])
    if weights == "random" or weights.startswith("random:"):
        seed = weights.partition(":")[2] or "0"
        if not re.fullmatch(r"[0-9]{1,18}", seed):
            raise RanktagError(f"--weights {weights}: '{seed}' is not a whole number; write random:0, say")
        return Weights(f"random:{int(seed)}", seed=int(seed))
    file = Path(weights)
    if not file.is_file():
        raise RanktagError(
            f"--weights {weights}: no such file; choose imagenet, random, random:SEED or a file holding a torchvision state dict"
        )
    return Weights(file.name, file=file)
