"""Every classifier of torchvision: torchvision:resnet50 and others."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

import torchvision.models
from torch import nn

from ranktag.errors import RanktagError, one_line
from ranktag.features.backbone import Backbone
from ranktag.features.backbones._library import POOLED, built, refuse_unknown, width_of
from ranktag.features.weights import PublishedWeights
from ranktag.images.pixels import Preprocessing

if TYPE_CHECKING:
    from collections.abc import Sequence

# What the published weights of these networks go with, and their constructors do not do by themselves.
OPTIONS: dict[str, dict[str, Any]] = {
    "googlenet": {"transform_input": True, "aux_logits": False, "init_weights": False},
    "inception_v3": {"transform_input": True, "aux_logits": False, "init_weights": False},
}
# Classifiers on the way, which help to train and are left out.
HELPERS = ("AuxLogits.", "aux1.", "aux2.")

CLASSES = 1000


def names() -> list[str]:
    """The networks there are."""
    return sorted(torchvision.models.list_models(module=torchvision.models))


@functools.lru_cache
def find(name: str) -> Backbone:
    """The classifier ``name``, up to its last layer. Raises RanktagError if there is none."""
    refuse_unknown("torchvision", name, names())
    weights = torchvision.models.get_model_weights(name).DEFAULT
    preprocessing = _preprocessing(weights.transforms())

    classifiers: set[str] = set()

    def build() -> nn.Module:
        network, classifier = _headless(name, preprocessing.crop)
        classifiers.add(f"{classifier}.")
        return network

    try:
        width = width_of(build, preprocessing.crop)
    except ValueError as error:
        raise RanktagError(f"--backbone torchvision:{name}: {one_line(str(error))}; choose another network") from None
    return Backbone(
        name=f"torchvision:{name}",
        layers={POOLED: width},
        layer=POOLED,
        preprocessing=preprocessing,
        build=lambda: built(build),
        cut=lambda network, layer: nn.Sequential(network),
        published=PublishedWeights(str(weights), weights.url),
        unused=(*classifiers, *HELPERS),
    )


def _preprocessing(transform: Any) -> Preprocessing:
    """What a torchvision weights' own transform does."""
    return Preprocessing(
        resize=_one(transform.resize_size),
        crop=_one(transform.crop_size),
        interpolation=transform.interpolation.value,
        mean=tuple(transform.mean),
        std=tuple(transform.std),
    )


def _one(sizes: Sequence[int]) -> int:
    """Of a side that is given once."""
    (size,) = sizes
    return size


def _headless(name: str, crop: int) -> tuple[nn.Module, str]:
    """The network with an identity in the place of its classifier, and the classifier's name.

    That is the last layer of as many outputs as there are classes: a matrix, or, in
    SqueezeNet, the convolution before the pooling.
    """
    options = OPTIONS.get(name, {"image_size": crop} if name.startswith("vit_") else {})
    network: nn.Module = torchvision.models.get_model(name, weights=None, **options)
    classifier = [
        place
        for place, module in network.named_modules()
        if (isinstance(module, nn.Linear) and module.out_features == CLASSES)
        or (isinstance(module, nn.Conv2d) and module.out_channels == CLASSES and module.kernel_size == (1, 1))
    ][-1]
    parent, _, last = classifier.rpartition(".")
    setattr(network.get_submodule(parent), last, nn.Identity())
    return network, classifier
