"""Every kind of image a person might have gives the right pixels or a failure with its reason."""

from __future__ import annotations

import io
import os
import socket
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageCms, ImageOps
from torchvision.models import VGG16_Weights, VGG19_Weights
from torchvision.transforms import CenterCrop, Compose, InterpolationMode, Resize

from ranktag.errors import RanktagError
from ranktag.images.listing import EXTENSIONS, ImageList, list_images
from ranktag.images.pixels import MAX_PIXELS, MEAN, PREPROCESSING, STD, ImageError, crop_box, read_pixels

RED, GREEN, BLUE, WHITE, BLACK = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255), (0, 0, 0)
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


# --- geometry -----------------------------------------------------------------


def test_the_recipe_is_torchvisions() -> None:
    for weights in (VGG16_Weights.IMAGENET1K_V1, VGG19_Weights.IMAGENET1K_V1):
        transforms = weights.transforms()
        assert transforms.resize_size == [PREPROCESSING["resize"]] and transforms.crop_size == [PREPROCESSING["crop"]]
        assert transforms.interpolation == InterpolationMode.BILINEAR and transforms.antialias
        assert tuple(transforms.mean) == MEAN and tuple(transforms.std) == STD


@pytest.mark.parametrize(
    "size",
    [(500, 375), (375, 500), (256, 256), (333, 257), (224, 224), (100, 80), (1023, 768), (640, 257), (1, 1), (3, 900)],
)
def test_pixels_equal_torchvisions_to_one_level(tmp_path: Path, size: tuple[int, int]) -> None:
    image = photo(*size)
    assert worst(read_pixels(saved(tmp_path / "a.png", image)), reference(image)) <= 1


@settings(deadline=None)
@given(st.integers(1, 5000), st.integers(1, 5000))
def test_the_crop_lies_within_the_image(width: int, height: int) -> None:
    left, top, right, bottom = crop_box(width, height)
    assert 0 <= left < right <= width + 1e-9 and 0 <= top < bottom <= height + 1e-9
    # 224 of 256 of the shorter side, whatever the image's size.
    short, size = (width, right - left) if width <= height else (height, bottom - top)
    assert size == pytest.approx(short * 224 / 256)


def test_a_banner_costs_no_more_than_a_photo_and_keeps_its_middle(tmp_path: Path) -> None:
    banner = Image.new("RGB", (20_000, 10), RED)
    banner.paste(GREEN, (9_990, 0, 10_010, 10))
    assert (read_pixels(saved(tmp_path / "wide.png", banner)) == GREEN).all()
    assert (read_pixels(saved(tmp_path / "tall.png", banner.rotate(90, expand=True))) == GREEN).all()


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_turns_an_image_upright(tmp_path: Path, orientation: int) -> None:
    image = photo(403, 301)
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = saved(tmp_path / "a.png", image, exif=exif)
    upright = ImageOps.exif_transpose(Image.open(path))
    assert (upright.size == (301, 403)) == (orientation >= 5)
    assert worst(read_pixels(path), reference(upright)) <= 1


def test_a_tiff_is_turned_upright_once(tmp_path: Path) -> None:
    image = Image.new("RGB", (300, 300), RED)
    image.paste(BLUE, (0, 0, 300, 150))
    exif = Image.Exif()
    exif[0x0112] = 6
    # Stored with blue above; a quarter turn clockwise puts the upper side right.
    pixels = read_pixels(saved(tmp_path / "a.tiff", image, exif=exif))
    assert tuple(pixels[112, 200]) == BLUE and tuple(pixels[112, 20]) == RED


def test_damaged_exif_data_does_not_cost_the_image(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.jpg", Image.new("RGB", (300, 300), RED), exif=b"Exif\0\0II*\0\xff\xff\xff\xff junk")
    assert worst(read_pixels(path), np.full((224, 224, 3), RED)) <= 2


@pytest.mark.parametrize("size", [(1024, 1024), (2003, 1501), (1501, 2100)])
@pytest.mark.parametrize("orientation", [1, 6])
def test_a_large_jpeg_decoded_at_reduced_size_is_within_the_bound(
    tmp_path: Path, size: tuple[int, int], orientation: int
) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = saved(tmp_path / "a.jpg", photo(*size), quality=90, exif=exif)
    difference = np.abs(read_pixels(path).astype(int) - reference(ImageOps.exif_transpose(Image.open(path))))
    # The bound that ranktag.images.pixels states.
    assert difference.mean() < 1 and difference.max() <= 8


# --- colours ------------------------------------------------------------------


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
    pixels = read_pixels(make(tmp_path / file))
    assert pixels.shape == (224, 224, 3) and pixels.dtype == np.uint8 and pixels.flags["C_CONTIGUOUS"]
    assert worst(pixels, np.broadcast_to(np.array(colour), pixels.shape)) <= tolerance


def test_a_soft_edge_of_transparency_has_no_dark_rim(tmp_path: Path) -> None:
    image = Image.new("RGBA", (300, 300), (0, 0, 0, 0))
    image.paste((*RED, 255), (150, 0, 300, 300))
    # Red over white: the red channel is 255 everywhere, which black hidden under the clear half must not change.
    assert (read_pixels(saved(tmp_path / "a.png", image))[..., 0] == 255).all()


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
            read_pixels(saved(tmp_path / "a.png", image, icc_profile=swapped_profile())), np.full((224, 224, 3), GREEN)
        )
        <= 2
    )
    clear = Image.new("RGBA", (300, 300), (*RED, 255))
    assert (
        worst(
            read_pixels(saved(tmp_path / "b.png", clear, icc_profile=swapped_profile())), np.full((224, 224, 3), GREEN)
        )
        <= 2
    )


@pytest.mark.parametrize(
    "profile", [ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes(), b"no profile", b"\0" * 200]
)
def test_srgb_and_damaged_profiles_change_nothing(tmp_path: Path, profile: bytes) -> None:
    image = photo(300, 300)
    assert worst(read_pixels(saved(tmp_path / "a.png", image, icc_profile=profile)), reference(image)) <= 1


def test_a_profile_meant_for_another_mode_is_ignored(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.png", Image.new("L", (300, 300), 77), icc_profile=swapped_profile())
    assert (read_pixels(path) == 77).all()


# --- failures -----------------------------------------------------------------


def bomb(path: Path) -> Path:
    """A PNG that says it is 60,000 x 60,000."""
    buffer = io.BytesIO()
    Image.new("1", (8, 8)).save(buffer, "PNG")
    data = bytearray(buffer.getvalue())
    data[16:24] = struct.pack(">II", 60_000, 60_000)
    data[29:33] = struct.pack(">I", zlib.crc32(data[12:29]))
    path.write_bytes(data)
    return path


def truncated(path: Path) -> Path:
    data = saved(path, photo(400, 300)).read_bytes()
    path.write_bytes(data[: len(data) // 2])
    return path


def with_bytes(data: bytes) -> Callable[[Path], Path]:
    def make(path: Path) -> Path:
        path.write_bytes(data)
        return path

    return make


def link_to_nowhere(path: Path) -> Path:
    path.symlink_to("nowhere.jpg")
    return path


def folder(path: Path) -> Path:
    path.mkdir()
    return path


def fifo(path: Path) -> Path:
    os.mkfifo(path)
    return path


def unix_socket(path: Path) -> Path:
    where = os.getcwd()
    os.chdir(path.parent)
    try:
        socket.socket(socket.AF_UNIX).bind(path.name)
    finally:
        os.chdir(where)
    return path


FAILURES: dict[str, tuple[Callable[[Path], Path], str, str]] = {
    # name: (maker, file name, words of the reason)
    "bomb": (bomb, "a.png", "more than the 134,217,728 pixels that are read"),
    "bomb within Pillow's limit": (
        lambda p: saved(p, Image.new("1", (12_000, 11_200))),
        "a.png",
        "12,000 x 11,200 pixels",
    ),
    "truncated JPEG": (truncated, "a.jpg", "truncated"),
    "truncated PNG": (truncated, "a.png", "damaged"),
    "no bytes": (with_bytes(b""), "a.jpg", "empty (0 bytes)"),
    "text": (with_bytes(b"not a picture\n" * 20), "a.jpg", "not an image"),
    "HEIC": (with_bytes(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + b"\0" * 100), "a.heic", "HEIC"),
    "broken link": (link_to_nowhere, "a.jpg", "link to a file that is not there"),
    "folder": (folder, "a.jpg", "a folder, not an image"),
    "pipe": (fifo, "a.jpg", "not a regular file"),
    "socket": (unix_socket, "a.jpg", "not a regular file"),
    "missing": (lambda p: p, "a.jpg", "no such file"),
    "floating point": (lambda p: saved(p, Image.new("F", (30, 30), 0.5)), "a.tif", "no set range"),
    "name too long": (lambda p: p.with_name("x" * 300 + ".jpg"), "a.jpg", "cannot be read (File name too long)"),
}


@pytest.mark.parametrize("name", FAILURES)
def test_failures_have_a_reason(tmp_path: Path, name: str) -> None:
    make, file, words = FAILURES[name]
    with pytest.raises(ImageError) as caught:
        read_pixels(make(tmp_path / file))
    assert words in str(caught.value)
    assert str(tmp_path) not in str(caught.value) and str(caught.value).isprintable()


def test_the_bound_on_pixels_lets_a_hundred_megapixels_through() -> None:
    assert 12_000 * 9_000 <= MAX_PIXELS < 12_000 * 11_200


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_permissions_are_a_reason(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.png", Image.new("RGB", (30, 30)))
    path.chmod(0)
    with pytest.raises(ImageError, match="may not be read; check its permissions"):
        read_pixels(path)


def test_permissions_are_a_reason_even_for_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: object) -> None:
        raise PermissionError(13, "Permission denied")

    path = saved(tmp_path / "a.png", Image.new("RGB", (30, 30)))
    monkeypatch.setattr("builtins.open", refuse)
    with pytest.raises(ImageError, match="may not be read; check its permissions"):
        read_pixels(path)


@settings(deadline=None, max_examples=60)
@given(
    st.binary(max_size=400),
    st.sampled_from([b"", b"\xff\xd8\xff\xe0", b"\x89PNG\r\n\x1a\n", b"GIF89a", b"II*\0", b"RIFF....WEBP", b"BM"]),
)
def test_any_bytes_give_pixels_or_a_reason(tmp_path_factory: pytest.TempPathFactory, data: bytes, head: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "any.jpg"
    path.write_bytes(head + data)
    try:
        assert read_pixels(path).shape == (224, 224, 3)
    except ImageError as error:
        assert str(error).isprintable()


# --- lists --------------------------------------------------------------------


def test_a_folder_is_listed_by_relative_path_in_sorted_order(tmp_path: Path) -> None:
    names = [
        "b.JPG",
        "a/1.png",
        "a/1.jpg",
        "ü😀 ,x\ny.webp",
        "a.jpg/inside.gif",
        ".hidden.jpg",
        ".cache/a.jpg",
        "notes.txt",
        "a/deep/er/z.tif",
    ]
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    images = list_images(tmp_path)
    # The folder a.jpg carries an image's name, so it is listed (and will be a failure), and searched as well.
    assert list(images.ids) == [
        "a.jpg",
        "a.jpg/inside.gif",
        "a/1.jpg",
        "a/1.png",
        "a/deep/er/z.tif",
        "b.JPG",
        "ü😀 ,x\ny.webp",
    ]
    assert [os.fsdecode(images.path(k)) for k in range(len(images))] == [str(tmp_path / i) for i in images.ids]


def test_a_name_that_is_not_utf8_is_written_with_backslashes(tmp_path: Path) -> None:
    name = b"caf\xe9.jpg"
    try:
        (tmp_path / os.fsdecode(name)).touch()
    except OSError:
        pytest.skip("this file system takes UTF-8 names only")
    images = list_images(tmp_path)
    assert list(images.ids) == ["caf\\xe9.jpg"] and images.path(0) == os.fsencode(tmp_path) + b"/" + name
    images.sha256()


def test_links_are_followed_and_loops_end(tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    (photos / "real").mkdir(parents=True)
    (photos / "real" / "a.jpg").touch()
    (photos / "a_link_before_real").symlink_to("real")
    (photos / "real" / "loop").symlink_to("..")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "b.jpg").touch()
    (photos / "other").symlink_to(tmp_path / "elsewhere")
    (photos / "broken.jpg").symlink_to("nowhere")
    # A folder is searched once, by its own name rather than a link's.
    assert list(list_images(photos).ids) == ["broken.jpg", "other/b.jpg", "real/a.jpg"]


def test_a_folder_that_may_not_be_searched_is_listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.jpg").touch()
    (tmp_path / "locked").mkdir()
    scandir = os.scandir

    def guarded(path: bytes) -> object:
        if path.endswith(b"locked"):
            raise PermissionError(13, "Permission denied")
        return scandir(path)

    monkeypatch.setattr(os, "scandir", guarded)
    assert list(list_images(tmp_path).ids) == ["a.jpg", "locked"]
    monkeypatch.setattr(os, "access", lambda *arguments: False)
    with pytest.raises(ImageError, match="a folder that may not be searched"):
        read_pixels(tmp_path / "locked")


def test_two_names_with_one_id_are_refused(tmp_path: Path) -> None:
    with pytest.raises(RanktagError, match=r"caf\\xe9.jpg.*would both have the id"):
        ImageList.of(tmp_path, ["caf\\xe9.jpg", "caf\\xe9.jpg"], [b"caf\xe9.jpg", b"caf\\xe9.jpg"])


def test_a_table_lists_images_in_its_order_with_paths_relative_to_it(tmp_path: Path) -> None:
    table = tmp_path / "list.csv"
    table.write_text('image_id,path,other\nz,sub/1.jpg,x\na.bin,,y\n"b, c",/abs/2.png,z\n', encoding="utf-8")
    images = list_images(table)
    assert list(images.ids) == ["z", "a.bin", "b, c"] and images.folder == tmp_path
    assert [os.fsdecode(images.path(k)) for k in range(3)] == [
        str(tmp_path / "sub/1.jpg"),
        str(tmp_path / "a.bin"),
        "/abs/2.png",
    ]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("image_id\na\nb\na\n", ("'a'", "line 2", "line 4")),
        ("image_id,path\n,x.jpg\n", ("line 2 has no image_id",)),
        ("image_id\n", ("lists no image",)),
        ("", ("is empty",)),
        ("name,path\na,b\n", ("no column 'image_id'", "'name', 'path'")),
    ],
)
def test_bad_tables_are_refused(tmp_path: Path, text: str, words: tuple[str, ...]) -> None:
    table = tmp_path / "list.csv"
    table.write_text(text, encoding="utf-8")
    with pytest.raises(RanktagError) as caught:
        list_images(table)
    assert all(word in str(caught.value) for word in words)


def test_bad_sources_are_refused(tmp_path: Path) -> None:
    with pytest.raises(RanktagError, match="no such file or folder"):
        list_images(tmp_path / "nowhere")
    with pytest.raises(RanktagError, match="holds no image"):
        list_images(tmp_path)
    with pytest.raises(RanktagError, match="is a single image"):
        list_images(saved(tmp_path / "a.png", Image.new("RGB", (3, 3))))


@settings(deadline=None)
@given(st.lists(st.binary(min_size=1, max_size=20).filter(lambda b: b"\0" not in b), max_size=20))
def test_paths_survive_being_packed(paths: list[bytes]) -> None:
    images = ImageList.of(Path(), [str(k) for k in range(len(paths))], paths)
    assert [images.path(k) for k in range(len(images))] == paths


def test_extensions_are_lower_case() -> None:
    assert {".jpg", ".jpeg", ".png", ".gif", ".webp", ".tiff", ".bmp", ".heic"} <= EXTENSIONS
    assert all(e.startswith(".") and e == e.lower() for e in EXTENSIONS)
