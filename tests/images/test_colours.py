"""Whatever colours an image is stored in, its pixels are sRGB on white."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from drawing import BLUE, GREEN, RED, VGG, WHITE, photo, reference, saved, worst
from PIL import Image, ImageCms

from ranktag.images.pixels import read_pixels


def adobe_cmyk(path: Path) -> Path:
    """A CMYK JPEG: Pillow writes it as Adobe's programs do, with inverted values and a marker."""
    Image.merge("CMYK", [Image.new("L", (300, 300), value) for value in (0, 255, 255, 0)]).save(path, quality=100)
    assert b"Adobe" in path.read_bytes()
    return path


def sixteen_bit_grey(path: Path) -> Path:
    return saved(path, Image.fromarray(np.full((300, 300), 0x80FF, np.uint16)))


def sixteen_bit_colour(path: Path) -> Path:
    """A PNG of 16 bits a channel, which Pillow cannot write: R = 0xffff, G = 0x8080, B = 0."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = (b"\0" + struct.pack(">HHH", 0xFFFF, 0x8080, 0) * 300) * 300
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", struct.pack(">IIBBBBB", 300, 300, 16, 2, 0, 0, 0))
        + chunk(b"IDAT", zlib.compress(rows))
        + chunk(b"IEND", b"")
    )
    return path


def palette(path: Path, transparent: int | None = None) -> Path:
    image = Image.new("P", (300, 300), 1)
    image.putpalette([*BLUE, *RED])
    return saved(path, image, **({} if transparent is None else {"transparency": transparent}))


def animated(path: Path) -> Path:
    return saved(
        path,
        Image.new("RGB", (300, 300), RED),
        save_all=True,
        append_images=[Image.new("RGB", (300, 300), BLUE)],
        lossless=True,
    )


def one_transparent_colour(path: Path) -> Path:
    return saved(path, Image.new("RGB", (300, 300), RED), transparency=RED)


COLOURS: dict[str, tuple[Callable[[Path], Path], str, tuple[int, int, int], int]] = {
    # name: (maker, file name, the colour of every pixel, tolerance in levels)
    "grey": (lambda p: saved(p, Image.new("L", (300, 300), 77)), "a.jpg", (77, 77, 77), 0),
    "black and white": (lambda p: saved(p, Image.new("1", (300, 300), 1)), "a.png", WHITE, 0),
    "grey with alpha": (lambda p: saved(p, Image.new("LA", (300, 300), (0, 0))), "a.png", WHITE, 0),
    "palette": (palette, "a.png", RED, 0),
    "palette, transparent": (lambda p: palette(p, 1), "a.png", WHITE, 0),
    "one transparent colour": (one_transparent_colour, "a.png", WHITE, 0),
    "RGBA, clear": (lambda p: saved(p, Image.new("RGBA", (300, 300), (0, 0, 0, 0))), "a.png", WHITE, 0),
    "RGBA, half red": (lambda p: saved(p, Image.new("RGBA", (300, 300), (*RED, 128))), "a.png", (255, 127, 127), 1),
    "CMYK JPEG, inverted": (adobe_cmyk, "a.jpg", RED, 2),
    "CMYK TIFF": (lambda p: saved(p, Image.new("CMYK", (300, 300), (0, 255, 255, 0))), "a.tif", RED, 1),
    "16 bits, grey": (sixteen_bit_grey, "a.png", (0x81, 0x81, 0x81), 1),
    "16 bits, colour": (sixteen_bit_colour, "a.png", (255, 128, 0), 1),
    "16 bits, grey TIFF": (sixteen_bit_grey, "a.tiff", (0x81, 0x81, 0x81), 1),
    "animated GIF": (animated, "a.gif", RED, 0),
    "animated WebP": (animated, "a.webp", RED, 0),
    "WebP": (lambda p: saved(p, Image.new("RGB", (300, 300), RED), lossless=True), "a.webp", RED, 0),
    "TIFF": (lambda p: saved(p, Image.new("RGB", (300, 300), BLUE), compression="tiff_lzw"), "a.tif", BLUE, 0),
    "BMP": (lambda p: saved(p, Image.new("RGB", (300, 300), BLUE)), "a.bmp", BLUE, 0),
    "PNG named .jpg": (lambda p: saved(p, Image.new("RGB", (300, 300), BLUE), format="PNG"), "a.jpg", BLUE, 0),
    "1 x 1": (lambda p: saved(p, Image.new("RGB", (1, 1), RED)), "a.png", RED, 0),
}


@pytest.mark.parametrize("name", COLOURS)
def test_colours(tmp_path: Path, name: str) -> None:
    make, file, colour, tolerance = COLOURS[name]
    pixels = read_pixels(make(tmp_path / file), VGG)
    assert pixels.shape == (224, 224, 3) and pixels.dtype == np.uint8 and pixels.flags["C_CONTIGUOUS"]
    assert worst(pixels, np.broadcast_to(np.array(colour), pixels.shape)) <= tolerance


def test_a_soft_edge_of_transparency_has_no_dark_rim(tmp_path: Path) -> None:
    image = Image.new("RGBA", (300, 300), (0, 0, 0, 0))
    image.paste((*RED, 255), (150, 0, 300, 300))
    # Red over white: the red channel is 255 everywhere, which black hidden under the clear half must not change.
    assert (read_pixels(saved(tmp_path / "a.png", image), VGG)[..., 0] == 255).all()


def swapped_profile() -> bytes:
    """An sRGB profile whose red and green primaries are exchanged."""
    data = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    count = struct.unpack(">I", data[128:132])[0]
    entries = {bytes(data[132 + 12 * i : 136 + 12 * i]): 136 + 12 * i for i in range(count)}
    red, green = entries[b"rXYZ"], entries[b"gXYZ"]
    data[red : red + 8], data[green : green + 8] = data[green : green + 8], data[red : red + 8]
    return bytes(data).replace("sRGB".encode("utf-16-be"), "test".encode("utf-16-be"))


def test_an_icc_profile_is_applied(tmp_path: Path) -> None:
    image = Image.new("RGB", (300, 300), RED)
    assert (
        worst(
            read_pixels(saved(tmp_path / "a.png", image, icc_profile=swapped_profile()), VGG),
            np.full((224, 224, 3), GREEN),
        )
        <= 2
    )
    clear = Image.new("RGBA", (300, 300), (*RED, 255))
    assert (
        worst(
            read_pixels(saved(tmp_path / "b.png", clear, icc_profile=swapped_profile()), VGG),
            np.full((224, 224, 3), GREEN),
        )
        <= 2
    )


@pytest.mark.parametrize(
    "profile",
    [ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes(), b"no profile", b"\0" * 200],
    # A profile holds the time at which it was made: a name made of it would differ from process to process.
    ids=["sRGB", "text", "zeros"],
)
def test_srgb_and_damaged_profiles_change_nothing(tmp_path: Path, profile: bytes) -> None:
    image = photo(300, 300)
    assert worst(read_pixels(saved(tmp_path / "a.png", image, icc_profile=profile), VGG), reference(image)) <= 1


def test_a_profile_meant_for_another_mode_is_ignored(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.png", Image.new("L", (300, 300), 77), icc_profile=swapped_profile())
    assert (read_pixels(path, VGG) == 77).all()
