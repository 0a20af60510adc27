"""What a network is, as far as stage one asks: its layers, its weights, how it wants its images.

A module of ``ranktag.features.backbones`` describes one network, in a ``Backbone`` named
BACKBONE, or a library of them, in two functions: ``find(NAME)`` gives the ``Backbone`` of
``--backbone module:NAME``, and ``names()`` all there are. For a network of its own module torch
is imported only when it is built, so that a finished cache is compared with what is asked
for, and a wrong layer refused, without it.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from ranktag import registry
from ranktag.errors import RanktagError, Usage
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
    (B, D), without dropout; in a plain sequence of convolutions and matrices ``nn.Flatten``
    stands between.
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
            raise Usage(f"--layer {layer}: {self.name} has no such layer; choose one of {', '.join(self.layers)}")
        return layer or self.layer

    def with_crops(self, crops: str) -> Backbone:
        """The same network, looking at so many crops of an image ('center', 'flip' or 'ten')."""
        return replace(self, preprocessing=replace(self.preprocessing, crops=crops))


def find_backbone(name: str) -> Backbone:
    """The network of that name, ``module`` or ``module:NAME``. Raises RanktagError if there is none."""
    module_name, colon, member = name.partition(":")
    try:
        module = registry.load(FOLDER, module_name)
    except ValueError as error:
        library = " (a network of a library is written torchvision:NAME or timm:NAME)"
        raise Usage(f"backbone: {error}{'' if colon else library}") from None
    if hasattr(module, "BACKBONE"):
        if colon:
            raise Usage(f"--backbone {name}: {module_name} is one network; write --backbone {module_name}")
        backbone: Backbone = module.BACKBONE
    elif member:
        backbone = module.find(member)
    else:
        raise Usage(
            f"--backbone {name}: {name} is a library of networks; write {name}:NAME "
            f"(extract-features --list-backbones '{name}:*' lists them)"
        )
    return backbone


def list_backbones(pattern: str, note: Callable[[str], None]) -> Iterator[str]:
    """The names of networks that ``pattern`` (with * and ?, or a part of the name) fits, library by library.

    note: is told of a library that is not installed.
    """
    wanted = pattern if any(sign in pattern for sign in "*?[") else f"*{pattern}*"
    for module_name in registry.names(FOLDER):
        try:
            module = registry.load(FOLDER, module_name)
        except RanktagError as error:
            note(str(error))
            continue
        names = [module_name] if hasattr(module, "BACKBONE") else [f"{module_name}:{name}" for name in module.names()]
        yield from fnmatch.filter(names, wanted)
