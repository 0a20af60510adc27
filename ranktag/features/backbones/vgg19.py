"""VGG-19, torchvision's."""

from __future__ import annotations

from ranktag.features.backbones._vgg import vgg
from ranktag.features.weights import PublishedWeights

PUBLISHED = PublishedWeights(
    name="VGG19_Weights.IMAGENET1K_V1", url="https://download.pytorch.org/models/vgg19-dcbb9e9d.pth"
)
BACKBONE = vgg("vgg19", PUBLISHED)
