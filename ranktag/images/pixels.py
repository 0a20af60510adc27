"""The pixels a network sees of an image, and the rules they are made by (``Preprocessing``).

The pixels are those of torchvision's evaluation recipes (shorter side resized with
antialiasing, centre crop), computed with Pillow. Only the crop is computed, straight
from the decoded image, so that a 20,000 x 10 banner costs no more than a photo. Before
that an image is turned upright (EXIF) and afterwards its colours become sRGB and what
is transparent white.
"""

from __future__ import annotations

import functools
import io
import json
import math
import os
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageCms

from ranktag.images.decode import ImageError, decoded, open_image

EXIF_RULE = "turned upright"
COLOUR_RULE = "ICC profile to sRGB where it is another, transparency on white, 16 bits to 8, first frame"

CROPS = ("center", "flip", "ten")


@dataclass(frozen=True)
class Preprocessing:
    """How a network wants its images.

    resize: pixels of the shorter side. crop: pixels of the square that is cut from the
    middle, at most ``resize``. interpolation: one of Pillow's, 'bilinear' or 'bicubic' say.
    mean, std: of red, green and blue, for pixels in 0..1. crops: what of an image the network
    looks at, whose features are averaged: the 'center', 'flip' that and its mirror image, 'ten'
    the center, the four corners and their mirror images. squash: both sides are resized to
    ``resize``, whatever the image's form.
    """

    resize: int
    crop: int
    interpolation: str
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    crops: str = "center"
    squash: bool = False

    def __post_init__(self) -> None:
        if self.crops not in CROPS:
            raise ValueError(f"crops: '{self.crops}' is not one of {', '.join(CROPS)}")
        if self.interpolation.upper() not in Image.Resampling.__members__:
            raise ValueError(f"Pillow has no interpolation '{self.interpolation}'")
        if not 0 < self.crop <= self.resize:
            raise ValueError(f"a crop of {self.crop} pixels does not fit a shorter side of {self.resize}")

    def to_json(self) -> str:
        """All the rules as a cache records them; caches with another text hold other features."""
        rules = {
            "resize": self.resize,
            "crop": self.crop,
            "interpolation": f"{self.interpolation}, antialiased, Pillow",
            "mean": self.mean,
            "std": self.std,
            "exif": EXIF_RULE,
            "colour": COLOUR_RULE,
        }
        # Left out where they are as in the caches that knew nothing else.
        if self.squash:
            rules["aspect"] = "squashed to a square"
        if self.crops != "center":
            rules["crops"] = self.crops
        return json.dumps(rules)

    @classmethod
    def from_json(cls, text: str) -> Preprocessing:
        """The rules that a cache records. Raises ValueError for text that is not of ``to_json`` as it is now."""
        try:
            rules = json.loads(text)
            found = cls(
                rules["resize"],
                rules["crop"],
                rules["interpolation"].partition(",")[0],
                tuple(rules["mean"]),
                tuple(rules["std"]),
                rules.get("crops", "center"),
                "aspect" in rules,
            )
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"not the rules of images' preparation ({error!r})") from None
        if found.to_json() != text:
            raise ValueError("images are prepared by other rules now")
        return found

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the pixels of an image; mirror images are made of them where they are needed."""
        return (5, self.crop, self.crop, 3) if self.crops == "ten" else (self.crop, self.crop, 3)


def read_pixels(path: bytes | str | Path, preprocessing: Preprocessing) -> npt.NDArray[np.uint8]:
    """The uint8 sRGB pixels, of ``preprocessing.shape``, a network sees of an image file, not yet normalised.

    Raises ImageError, with the reason, for whatever cannot be read as an image, and
    Unreachable where the disk or the network does not give the file.
    """
    path = os.fsencode(path)
    return decoded(path, lambda file: pixels_in(file, path, preprocessing))


def pixels_in(file: BinaryIO, path: bytes, preprocessing: Preprocessing) -> npt.NDArray[np.uint8]:
    """``read_pixels`` of an open file. path: its name, which says what a RAW is. Raises what Pillow raises, too."""
    with open_image(file, path) as image:
        size = image.size
        _draft(image, preprocessing.resize)
        return cropped(image, preprocessing, size)


def cropped(
    image: Image.Image, preprocessing: Preprocessing, size: tuple[int, int] | None = None
) -> npt.NDArray[np.uint8]:
    """The pixels a network sees of an image, as ``read_pixels``. size: of the whole image, if it is loaded smaller."""
    width, height = size or image.size
    image.load()
    swap, flip_x, flip_y = _orientation(image)
    # Pillow itself turns some kinds upright while loading, so the size is asked for again; draft rounds it up.
    scale = max(1, round(max(width, height) / max(image.size)))
    if scale == 1:
        width, height = image.size
    upright = (height, width) if swap else (width, height)
    profile, source = image.info.get("icc_profile"), _resizable(image)
    crops = []
    for box in crop_boxes(*upright, preprocessing):
        x0, y0, x1, y1 = _stored(box, *upright, swap, flip_x, flip_y)
        limits = (x0 / scale, y0 / scale, min(x1 / scale, image.size[0]), min(y1 / scale, image.size[1]))
        crop = _resized(source, limits, preprocessing)
        pixels = np.asarray(_to_srgb(crop, profile))
        pixels = pixels.transpose(1, 0, 2) if swap else pixels
        crops.append(pixels[:: -1 if flip_y else 1, :: -1 if flip_x else 1])
    return np.stack(crops) if preprocessing.crops == "ten" else np.array(crops[0], order="C")


Box = tuple[float, float, float, float]

# Times the crop's height; a banner that is higher is cropped before it is resized.
WHOLE_HEIGHT = 4


def _resized(image: Image.Image, box: Box, preprocessing: Preprocessing) -> Image.Image:
    """What lies in a box of the image, resized to the crop.

    By bicubic weights, which overshoot, it shows whether Pillow resizes rows or columns first,
    and that follows from the height: it is cropped afterwards, as torchvision does.
    """
    left, top, right, bottom = box
    crop, resample = preprocessing.crop, Image.Resampling[preprocessing.interpolation.upper()]
    rows = round(image.height * crop / (bottom - top))
    if resample == Image.Resampling.BILINEAR or rows > WHOLE_HEIGHT * crop:
        return image.resize((crop, crop), resample, box)
    first = min(round(top * rows / image.height), rows - crop)
    return image.resize((crop, rows), resample, (left, 0, right, image.height)).crop((0, first, crop, first + crop))


def _stored(box: Box, width: int, height: int, swap: bool, flip_x: bool, flip_y: bool) -> Box:
    """Where a box of the upright image of that size lies in the image as it is stored."""
    x0, y0, x1, y1 = box
    if flip_x:
        x0, x1 = width - x1, width - x0
    if flip_y:
        y0, y1 = height - y1, height - y0
    return (y0, x0, y1, x1) if swap else (x0, y0, x1, y1)


def crop_boxes(width: int, height: int, preprocessing: Preprocessing) -> list[Box]:
    """(left, top, right, bottom), in source pixels, of what torchvision's Resize and then CenterCrop leave of an image.

    For ten crops it is followed by those of FiveCrop's corners.
    """
    resize, crop = preprocessing.resize, preprocessing.crop
    short = min(width, height)
    new_width, new_height = int(resize * width / short), int(resize * height / short)
    if preprocessing.squash:
        new_width = new_height = resize
    right, bottom = new_width - crop, new_height - crop
    places = [(round(right / 2), round(bottom / 2))]
    if preprocessing.crops == "ten":
        places += [(0, 0), (right, 0), (0, bottom), (right, bottom)]
    x, y = width / new_width, height / new_height
    return [(left * x, top * y, (left + crop) * x, (top + crop) * y) for left, top in places]


def _draft(image: Image.Image, resize: int) -> None:
    """Let a large JPEG be decoded at 1/2, 1/4 or 1/8 of its size, as long as twice the size needed is left.

    Three times as fast for a 12-megapixel photo. The pixels stay within 1 level of 255
    on average, and 8 at worst, of those of the whole image (tested).
    """
    reduce = min(image.size) // (2 * resize)
    if reduce > 1:
        image.draft(image.mode, (math.ceil(image.width / reduce), math.ceil(image.height / reduce)))


# EXIF orientation: (swap x and y, then flip x, flip y) that turns the stored pixels upright.
_ORIENTATIONS = {
    2: (False, True, False),
    3: (False, True, True),
    4: (False, False, True),
    5: (True, False, False),
    6: (True, True, False),
    7: (True, True, True),
    8: (True, False, True),
}


def _orientation(image: Image.Image) -> tuple[bool, bool, bool]:
    try:
        number = image.getexif().get(0x0112)
    except Exception:  # noqa: BLE001 (Pillow raises anything on damaged EXIF data; the picture is sound)
        number = None
    return _ORIENTATIONS.get(number if isinstance(number, int) else 1, (False, False, False))


def _resizable(image: Image.Image) -> Image.Image:
    """``image`` as L, RGB, CMYK or RGBA. Pillow resizes RGBA with its colours weighted by alpha."""
    if image.mode.startswith("I;16") or (image.mode == "I" and image.format in ("PNG", "PPM")):
        values = np.asarray(image).astype(np.uint32)
        return Image.fromarray(((values + 128) // 257).astype(np.uint8))
    if image.mode in ("I", "F"):
        kind = "whole" if image.mode == "I" else "floating-point"
        raise ImageError(f"{kind} numbers of 32 bits a pixel have no set range; convert it to 8 or 16 bits")
    if image.has_transparency_data:
        return image.convert("RGBA")
    if image.mode in ("L", "RGB", "CMYK"):
        return image
    return image.convert("L" if image.mode == "1" else "RGB")


def _to_srgb(image: Image.Image, profile: bytes | None) -> Image.Image:
    """``image`` (L, RGB, CMYK or RGBA) as RGB: its ICC profile applied, if it fits, then set on white."""
    colours = image.convert("RGB") if image.mode == "RGBA" else image
    transform = _transform(profile, colours.mode) if profile else None
    converted = ImageCms.applyTransform(colours, transform) if transform else None
    colours = converted or (colours if colours.mode == "RGB" else colours.convert("RGB"))
    if image.mode == "RGBA":
        white = Image.new("RGB", image.size, "white")
        white.paste(colours, mask=image.getchannel("A"))
        return white
    return colours


@functools.lru_cache(maxsize=32)
def _transform(profile: bytes, mode: str) -> ImageCms.ImageCmsTransform | None:
    """From an ICC profile to sRGB; None if it is sRGB, damaged, or meant for another mode."""
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        if mode == "RGB" and "sRGB" in ImageCms.getProfileDescription(source):
            return None
        return ImageCms.buildTransform(source, ImageCms.createProfile("sRGB"), mode, "RGB")
    except (ImageCms.PyCMSError, OSError, ValueError):
        return None


def read_small(path: bytes | str | Path, size: int) -> Image.Image:
    """The whole photo for people to look at: upright, sRGB, no side longer than ``size`` pixels, nothing but pixels.

    What an image file says of camera and place is not in it. Raises as ``read_pixels``.
    """
    path = os.fsencode(path)
    return decoded(path, lambda file: _read_small(file, path, size))


def _read_small(file: BinaryIO, path: bytes, size: int) -> Image.Image:
    with open_image(file, path) as image:
        longer, shorter = max(image.size), min(image.size)
        _draft(image, max(1, size * shorter // longer))
        image.load()
        swap, flip_x, flip_y = _orientation(image)
        profile, source = image.info.get("icc_profile"), _resizable(image)
    scale = min(1.0, size / max(source.size))
    width, height = (max(1, round(side * scale)) for side in source.size)
    small = _to_srgb(source.resize((width, height), Image.Resampling.BICUBIC), profile)
    turns = (
        (swap, Image.Transpose.TRANSPOSE),
        (flip_x, Image.Transpose.FLIP_LEFT_RIGHT),
        (flip_y, Image.Transpose.FLIP_TOP_BOTTOM),
    )
    for turned, turn in turns:
        small = small.transpose(turn) if turned else small
    small.info.clear()
    return small
