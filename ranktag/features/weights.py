"""Which weights a network has: its published ones, seeded random ones, or a file's.

Nothing here loads them (``ranktag.features.read_weights`` does), so that a finished cache can be
compared with what is asked for without importing torch.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from ranktag.errors import NotFound, Usage

# What the network's published weights are called.
DEFAULTS = ("default", "imagenet")


@dataclass(frozen=True)
class PublishedWeights:
    """Weights that can be downloaded. name: what a cache records.

    url: of a torch file with its digest in the name. hub, file: or else a repository of
    Hugging Face's hub, and the file in it if it is not the usual one.
    """

    name: str
    url: str = ""
    hub: str = ""
    file: str = ""


@dataclass(frozen=True)
class Weights:
    """A choice of weights. name: what a cache records. Of the others one is set."""

    name: str
    published: PublishedWeights | None = None
    seed: int | None = None
    file: Path | None = None


def choose_weights(weights: str, published: PublishedWeights | None) -> Weights:
    """``default`` (or ``imagenet``), ``random``, ``random:SEED``, a recorded name of either, or a file.

    published: of the network, what ``default`` stands for.

    Raises RanktagError for a seed that is no whole number, a file that is not there, and
    ``default`` for a network that has no published weights.
    """
    if published is not None and weights in (*DEFAULTS, published.name):
        return Weights(published.name, published=published)
    if weights == "random" or weights.startswith("random:"):
        seed = weights.partition(":")[2] or "0"
        if not re.fullmatch(r"[0-9]{1,18}", seed):
            raise Usage(f"--weights {weights}: '{seed}' is not a whole number; write random:0, say")
        return Weights(f"random:{int(seed)}", seed=int(seed))
    file = Path(weights)
    if file.is_file():
        return Weights(file.name, file=file)
    if weights in DEFAULTS:
        raise Usage(f"--weights {weights}: this network has no published weights; choose random, random:SEED or a file")
    raise NotFound(
        f"--weights {weights}: no such file; "
        "choose default, random, random:SEED or a file holding a state dict (torch's or safetensors')"
    )
