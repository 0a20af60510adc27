"""The pixels a network sees are torchvision's: turned upright, resized, cropped."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from drawing import BLUE, GREEN, RED, VGG, photo, reference, saved, worst
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps
from torchvision.models import VGG16_Weights, VGG19_Weights
from torchvision.transforms import CenterCrop, Compose, FiveCrop, InterpolationMode, Resize

from ranktag.features.backbones import vgg16, vgg19
from ranktag.images.pixels import Preprocessing, crop_boxes, read_pixels

# Of a network that wants its images larger and resized otherwise.
OTHER = Preprocessing(resize=320, crop=288, interpolation="bicubic", mean=(0.5, 0.5, 0.5), std=(0.25, 0.25, 0.25))


def test_the_recipe_is_torchvisions() -> None:
    for weights, network in ((VGG16_Weights.IMAGENET1K_V1, vgg16), (VGG19_Weights.IMAGENET1K_V1, vgg19)):
        ours, theirs = network.BACKBONE.preprocessing, weights.transforms()
        assert theirs.resize_size == [ours.resize] and theirs.crop_size == [ours.crop]
        assert theirs.interpolation == InterpolationMode.BILINEAR and theirs.antialias
        assert ours.interpolation == "bilinear"
        assert tuple(theirs.mean) == ours.mean and tuple(theirs.std) == ours.std


def test_the_rules_are_written_as_every_cache_has_them() -> None:
    assert VGG.to_json() == (
        '{"resize": 256, "crop": 224, "interpolation": "bilinear, antialiased, Pillow", '
        '"mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225], "exif": "turned upright", '
        '"colour": "ICC profile to sRGB where it is another, transparency on white, 16 bits to 8, first frame"}'
    )


@pytest.mark.parametrize("rules", [VGG, OTHER, replace(VGG, crops="ten"), replace(OTHER, squash=True, crops="flip")])
def test_the_rules_are_read_as_they_are_written(rules: Preprocessing) -> None:
    assert Preprocessing.from_json(rules.to_json()) == rules


@pytest.mark.parametrize("text", ["{}", "", "[]", "null", VGG.to_json().replace("Pillow", "others")])
def test_other_rules_are_not_read(text: str) -> None:
    with pytest.raises(ValueError):
        Preprocessing.from_json(text)


@pytest.mark.parametrize("orientation", [1, 3, 6])
def test_ten_crops_are_the_center_and_the_corners_of_the_upright_image(tmp_path: Path, orientation: int) -> None:
    image, exif = photo(403, 301), Image.Exif()
    exif[0x0112] = orientation
    path = saved(tmp_path / "a.png", image, exif=exif)
    upright = Resize(256)(ImageOps.exif_transpose(Image.open(path)))
    corners = FiveCrop(224)(upright)
    pixels = read_pixels(path, replace(VGG, crops="ten"))
    assert pixels.shape == (5, 224, 224, 3)
    for ours, theirs in zip(pixels, (corners[4], *corners[:4])):
        assert worst(ours, np.asarray(theirs)) <= 1
    np.testing.assert_array_equal(read_pixels(path, VGG), pixels[0])


def test_a_squashed_image_is_resized_on_both_sides(tmp_path: Path) -> None:
    image = photo(500, 375)
    expected = Compose([Resize((320, 320), InterpolationMode.BICUBIC), CenterCrop(288)])(image)
    pixels = read_pixels(saved(tmp_path / "a.png", image), replace(OTHER, squash=True))
    assert worst(pixels, np.asarray(expected)) <= 2


@pytest.mark.parametrize(("resize", "crop"), [(224, 256), (256, 0)])
def test_a_crop_lies_within_what_it_is_cut_from(resize: int, crop: int) -> None:
    with pytest.raises(ValueError, match=f"a crop of {crop} pixels"):
        Preprocessing(resize, crop, "bilinear", VGG.mean, VGG.std)


@pytest.mark.parametrize("size", [(500, 375), (375, 500), (100, 80), (1023, 768)])
def test_another_networks_pixels_equal_torchvisions_to_two_levels(tmp_path: Path, size: tuple[int, int]) -> None:
    image = photo(*size)
    expected = Compose([Resize(320, InterpolationMode.BICUBIC), CenterCrop(288)])(image)
    pixels = read_pixels(saved(tmp_path / "a.png", image), OTHER)
    # Bicubic weights are larger than 1 in places, and so are roundings.
    assert pixels.shape == (288, 288, 3) and worst(pixels, np.asarray(expected)) <= 2


@pytest.mark.parametrize(
    "size",
    [(500, 375), (375, 500), (256, 256), (333, 257), (224, 224), (100, 80), (1023, 768), (640, 257), (1, 1), (3, 900)],
)
def test_pixels_equal_torchvisions_to_one_level(tmp_path: Path, size: tuple[int, int]) -> None:
    image = photo(*size)
    assert worst(read_pixels(saved(tmp_path / "a.png", image), VGG), reference(image)) <= 1


@settings(deadline=None)
@given(st.integers(1, 5000), st.integers(1, 5000))
def test_the_crop_lies_within_the_image(width: int, height: int) -> None:
    [(left, top, right, bottom)] = crop_boxes(width, height, VGG)
    assert 0 <= left < right <= width + 1e-9 and 0 <= top < bottom <= height + 1e-9
    # 224 of 256 of the shorter side, whatever the image's size.
    short, size = (width, right - left) if width <= height else (height, bottom - top)
    assert size == pytest.approx(short * 224 / 256)


def test_a_banner_costs_no_more_than_a_photo_and_keeps_its_middle(tmp_path: Path) -> None:
    banner = Image.new("RGB", (20_000, 10), RED)
    banner.paste(GREEN, (9_990, 0, 10_010, 10))
    assert (read_pixels(saved(tmp_path / "wide.png", banner), VGG) == GREEN).all()
    assert (read_pixels(saved(tmp_path / "tall.png", banner.rotate(90, expand=True)), VGG) == GREEN).all()


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_turns_an_image_upright(tmp_path: Path, orientation: int) -> None:
    image = photo(403, 301)
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = saved(tmp_path / "a.png", image, exif=exif)
    upright = ImageOps.exif_transpose(Image.open(path))
    assert (upright.size == (301, 403)) == (orientation >= 5)
    pixels = read_pixels(path, VGG)
    assert worst(pixels, reference(upright)) <= 1 and pixels.flags["C_CONTIGUOUS"] and pixels.flags["WRITEABLE"]


def test_a_tiff_is_turned_upright_once(tmp_path: Path) -> None:
    image = Image.new("RGB", (300, 300), RED)
    image.paste(BLUE, (0, 0, 300, 150))
    exif = Image.Exif()
    exif[0x0112] = 6
    # Stored with blue above; a quarter turn clockwise puts the upper side right.
    pixels = read_pixels(saved(tmp_path / "a.tiff", image, exif=exif), VGG)
    assert tuple(pixels[112, 200]) == BLUE and tuple(pixels[112, 20]) == RED


def test_damaged_exif_data_does_not_cost_the_image(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.jpg", Image.new("RGB", (300, 300), RED), exif=b"Exif\0\0II*\0\xff\xff\xff\xff junk")
    assert worst(read_pixels(path, VGG), np.full((224, 224, 3), RED)) <= 2


@pytest.mark.parametrize("size", [(1024, 1024), (2003, 1501), (1501, 2100)])
@pytest.mark.parametrize("orientation", [1, 6])
def test_a_large_jpeg_decoded_at_reduced_size_is_within_the_bound(
    tmp_path: Path, size: tuple[int, int], orientation: int
) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = saved(tmp_path / "a.jpg", photo(*size), quality=90, exif=exif)
    difference = np.abs(read_pixels(path, VGG).astype(int) - reference(ImageOps.exif_transpose(Image.open(path))))
    # The bound that ranktag.images.pixels states.
    assert difference.mean() < 1 and difference.max() <= 8
