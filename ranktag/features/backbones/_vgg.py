"""What VGG-16 and VGG-19 have in common (Simonyan and Zisserman, "Very Deep Convolutional Networks", ICLR 2015)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ranktag.features.backbone import Backbone
from ranktag.features.weights import PublishedWeights
from ranktag.images.pixels import Preprocessing

if TYPE_CHECKING:
    from torch import nn

# How many modules of torchvision's ``classifier`` (Linear, ReLU, Dropout, Linear, ReLU, Dropout, Linear) a layer takes.
LAYERS = {"fc7": 5, "fc6": 2}

# Torchvision's evaluation recipe for ImageNet.
IMAGENET = Preprocessing(
    resize=256, crop=224, interpolation="bilinear", mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225)
)


def vgg(name: str, published: PublishedWeights) -> Backbone:
    """Torchvision's ``name`` up to fc7, the second of its two layers of 4096 numbers before the classes."""
    return Backbone(
        name=name,
        layers=dict.fromkeys(LAYERS, 4096),
        layer="fc7",
        preprocessing=IMAGENET,
        build=lambda: _build(name),
        cut=_cut,
        published=published,
        unused=("classifier.6.",),
    )


def _build(name: str) -> nn.Module:
    import torchvision

    network: nn.Module = getattr(torchvision.models, name)(weights=None, init_weights=False)
    network.classifier = network.classifier[: LAYERS["fc7"]]  # type: ignore[index]  # an nn.Sequential
    return network


def _cut(network: nn.Module, layer: str) -> nn.Sequential:
    from torch import nn

    # Torchvision's pooling in between is left out: of a crop of 224 pixels it gets what it gives, 7 x 7.
    convolutions, classifier = network.get_submodule("features"), network.get_submodule("classifier")
    matrices = list(classifier.children())[: LAYERS[layer]]
    kept = [module for module in matrices if not isinstance(module, nn.Dropout)]
    return nn.Sequential(*convolutions.children(), nn.Flatten(), *kept)
