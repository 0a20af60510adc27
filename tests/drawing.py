"""Pictures that the tests draw, and what torchvision makes of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image
from torchvision.transforms import CenterCrop, Compose, Resize

from ranktag.features.backbones import vgg16

RED, GREEN, BLUE, WHITE, BLACK = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255), (0, 0, 0)
VGG = vgg16.BACKBONE.preprocessing
torchvision_crop = Compose([Resize(256), CenterCrop(224)])


def photo(width: int, height: int, seed: int = 0) -> Image.Image:
    """Smooth noise, as detailed as a photo."""
    coarse = np.random.default_rng(seed).integers(0, 256, (max(2, height // 12), max(2, width // 12), 3), np.uint8)
    return Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)


def saved(path: Path, image: Image.Image, **options: object) -> Path:
    image.save(path, **options)
    return path


def reference(image: Image.Image) -> np.ndarray:
    """Torchvision's own evaluation transforms, before normalisation."""
    return np.asarray(torchvision_crop(image.convert("RGB")))


def worst(a: np.ndarray, b: np.ndarray) -> int:
    return int(np.abs(a.astype(int) - b.astype(int)).max())
