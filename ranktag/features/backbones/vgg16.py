"""VGG-16, torchvision's."""

from __future__ import annotations

from ranktag.features.backbones._vgg import vgg
from ranktag.features.weights import PublishedWeights

PUBLISHED = PublishedWeights(
    name="VGG16_Weights.IMAGENET1K_V1", url="https://download.pytorch.org/models/vgg16-397923af.pth"
)
BACKBONE = vgg("vgg16", PUBLISHED)
