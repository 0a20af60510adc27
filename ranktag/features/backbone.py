"""What a network is, as far as stage one asks: its layers, its weights, how it wants its images.

The modules of ``ranktag.features.backbones`` describe one network each, in a ``Backbone`` named
BACKBONE. Torch is imported only when a network is built, so that a finished cache is
compared with what is asked for, and a wrong layer refused, without it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ranktag import registry
from ranktag.errors import RanktagError
from ranktag.features.weights import PublishedWeights
from ranktag.images.pixels import Preprocessing

if TYPE_CHECKING:
    from torch import nn

FOLDER = "ranktag.features.backbones"


@dataclass(frozen=True)
class Backbone:
    """A network of stage one.

    layers: the name of each layer that can be cached -> D, the width of its features.
    layer: the one that is cached unless another is asked for. preprocessing: of images.
    build: makes the network; the names in its state dict are those in a weights file.
    cut: the network and a layer -> what computes (B, 3, crop, crop) normalised pixels to
    (B, D), without dropout; of convolutions and matrices, ``nn.Flatten`` stands between.
    published: weights that can be downloaded. unused: what the names of weights begin with
    that a file may hold and the network, cut off behind its layers, does not.
    """

    name: str
    layers: Mapping[str, int]
    layer: str
    preprocessing: Preprocessing
    build: Callable[[], nn.Module]
    cut: Callable[[nn.Module, str], nn.Sequential]
    published: PublishedWeights | None = None
    unused: tuple[str, ...] = ()

    def choose_layer(self, layer: str | None) -> str:
        """The layer asked for; None: the network's own. Raises RanktagError for one that it does not have."""
        if layer is not None and layer not in self.layers:
            raise RanktagError(
                f"--layer {layer}: {self.name} has no such layer; choose one of {', '.join(self.layers)}"
            )
        return layer or self.layer


def find_backbone(name: str) -> Backbone:
    """The network of that name. Raises RanktagError if there is none."""
    try:
        module = registry.load(FOLDER, name)
    except ValueError as error:
        raise RanktagError(f"backbone: {error}") from None
    backbone: Backbone = module.BACKBONE
    return backbone
