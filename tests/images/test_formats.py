"""Photos of phones and cameras, and files that are not what their names say."""

from __future__ import annotations

import io
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from drawing import BLUE, RED, VGG, photo, reference, saved
from photo_files import POSTSCRIPT, dng, heic
from PIL import Image, features

from ranktag.images import decode
from ranktag.images.decode import FORMATS, ImageError
from ranktag.images.pixels import read_pixels


def far(a: np.ndarray, b: np.ndarray) -> float:
    """Levels apart, on average."""
    return float(np.abs(a.astype(int) - b.astype(int)).mean())


def test_a_heic_photo_is_read(tmp_path: Path) -> None:
    image = photo(400, 300)
    pixels = read_pixels(heic(tmp_path / "a.heic", image), VGG)
    assert far(pixels, reference(image)) < 2
    # Whatever its name is.
    assert np.array_equal(read_pixels(heic(tmp_path / "a.jpg", image), VGG), pixels)


def test_a_heic_photo_is_turned_upright_once(tmp_path: Path) -> None:
    # Blue above red, stored lying on its side as phones do: orientation 6.
    stored = Image.new("RGB", (400, 300), BLUE)
    stored.paste(RED, (200, 0, 400, 300))
    exif = Image.Exif()
    exif[0x0112] = 6
    pytest.importorskip("pillow_heif", reason="pillow-heif is not installed").register_heif_opener()
    turned = read_pixels(saved(tmp_path / "a.heic", stored, exif=exif.tobytes()), VGG).astype(int)
    like = read_pixels(saved(tmp_path / "a.jpg", stored, exif=exif.tobytes()), VGG)
    assert far(turned, like) < 4
    assert turned[10, 112, 2] > 200 and turned[-10, 112, 0] > 200


@pytest.mark.skipif(not features.check("avif"), reason="this Pillow has no AVIF")
def test_an_avif_photo_is_read(tmp_path: Path) -> None:
    image = photo(400, 300)
    assert far(read_pixels(saved(tmp_path / "a.avif", image, quality=95), VGG), reference(image)) < 2


@pytest.mark.parametrize("name", ["a.dng", "a.NEF", "a.tif", "a.jpg"])
def test_a_raw_is_read_by_its_preview(tmp_path: Path, name: str) -> None:
    pytest.importorskip("rawpy", reason="rawpy is not installed")
    image = photo(400, 300)
    encoded = io.BytesIO()
    image.save(encoded, "JPEG", quality=95)
    (tmp_path / "b.jpg").write_bytes(encoded.getvalue())
    assert np.array_equal(read_pixels(dng(tmp_path / name, image), VGG), read_pixels(tmp_path / "b.jpg", VGG))


def test_a_raw_is_turned_as_the_camera_was_held(tmp_path: Path) -> None:
    pytest.importorskip("rawpy", reason="rawpy is not installed")
    stored = Image.new("RGB", (400, 300), BLUE)
    stored.paste(RED, (200, 0, 400, 300))
    pixels = read_pixels(dng(tmp_path / "a.dng", stored, orientation=6), VGG)
    assert pixels[10, 112, 2] > 200 and pixels[-10, 112, 0] > 200


def test_a_jpeg_that_is_named_as_a_raw_is_a_jpeg(tmp_path: Path) -> None:
    image = photo(400, 300)
    assert far(read_pixels(saved(tmp_path / "a.nef", image, format="JPEG", quality=95), VGG), reference(image)) < 4


def test_a_raw_without_a_preview_and_one_that_is_none_are_failures(tmp_path: Path) -> None:
    pytest.importorskip("rawpy", reason="rawpy is not installed")
    with pytest.raises(ImageError, match="a camera's RAW without a preview"):
        read_pixels(dng(tmp_path / "a.dng", None), VGG)
    (tmp_path / "b.nef").write_bytes(b"not a photo" * 50)
    with pytest.raises(ImageError, match="a camera's RAW that is damaged or of an unknown kind"):
        read_pixels(tmp_path / "b.nef", VGG)


def test_without_its_package_the_reason_names_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    decode._register_heif.cache_clear()
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    monkeypatch.setitem(sys.modules, "rawpy", None)
    (tmp_path / "a.heic").write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + b"\0" * 100)
    with pytest.raises(ImageError, match=r"HEIC.*pillow-heif; pip install 'ranktag\[heif\]'"):
        read_pixels(tmp_path / "a.heic", VGG)
    with pytest.raises(ImageError, match=r"RAW.*rawpy; pip install 'ranktag\[raw\]'"):
        read_pixels(dng(tmp_path / "a.dng", photo(40, 30)), VGG)


def test_without_avif_the_reason_names_the_pillow_that_has_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Image.init()
    monkeypatch.delitem(Image.OPEN, "AVIF", raising=False)
    monkeypatch.setattr(Image, "ID", [name for name in Image.ID if name != "AVIF"])
    (tmp_path / "a.avif").write_bytes(b"\0\0\0\x18ftypavif\0\0\0\0mif1avif" + b"\0" * 100)
    with pytest.raises(ImageError, match="AVIF image, which Pillow reads from version 11.3 on; pip install -U pillow"):
        read_pixels(tmp_path / "a.avif", VGG)


def test_a_file_that_is_not_what_its_name_says_starts_no_program(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def started(*arguments: object, **named: object) -> None:
        raise AssertionError(f"started {arguments}")

    monkeypatch.setattr(subprocess, "Popen", started)
    monkeypatch.setattr("PIL.EpsImagePlugin.has_ghostscript", lambda: True)
    monkeypatch.setattr("PIL.EpsImagePlugin.gs_binary", "gs")
    (tmp_path / "a.jpg").write_bytes(POSTSCRIPT)
    with pytest.raises(ImageError, match="PostScript, which another program would have to run"):
        read_pixels(tmp_path / "a.jpg", VGG)
    # Pillow itself would start it.
    with pytest.raises(AssertionError, match="started"):
        Image.open(tmp_path / "a.jpg").load()


def test_the_formats_that_are_opened_are_pillows_without_those_that_it_does_not_decode_itself() -> None:
    Image.init()
    assert set(Image.ID) - FORMATS == {"BUFR", "EPS", "GRIB", "HDF5", "IPTC", "MPEG", "WMF"}
