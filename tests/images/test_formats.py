"""Photos of phones and cameras, and files that are not what their names say."""

from __future__ import annotations

import io
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from drawing import BLUE, RED, VGG, photo, reference, saved
from PIL import Image, features

from ranktag.images import decode
from ranktag.images.decode import FORMATS, ImageError
from ranktag.images.pixels import read_pixels


def far(a: np.ndarray, b: np.ndarray) -> float:
    """Levels apart, on average."""
    return float(np.abs(a.astype(int) - b.astype(int)).mean())


def heic(path: Path, image: Image.Image, **options: object) -> Path:
    heif = pytest.importorskip("pillow_heif", reason="pillow-heif is not installed")
    heif.from_pillow(image).save(path, quality=95, **options)
    return path


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


def ifd(entries: dict[int, tuple[str, tuple[object, ...]]], offset: int) -> bytes:
    """A TIFF directory at an offset: tag -> (kind, values), kinds B, H, I and s; what does not fit stands behind it."""
    codes = {"B": 1, "s": 2, "H": 3, "I": 4}
    table, behind = struct.pack("<H", len(entries)), b""
    end = offset + 2 + 12 * len(entries) + 4
    for tag, (kind, values) in sorted(entries.items()):
        data = values[0] if kind == "s" else struct.pack(f"<{len(values)}{kind}", *values)
        assert isinstance(data, bytes)
        count = len(data) if kind == "s" else len(values)
        place = data.ljust(4, b"\0") if len(data) <= 4 else struct.pack("<I", end + len(behind))
        behind += b"" if len(data) <= 4 else data + b"\0" * (len(data) % 2)
        table += struct.pack("<HHI", tag, codes[kind], count) + place
    return table + struct.pack("<I", 0) + behind


def dng(path: Path, preview: Image.Image | None, orientation: int = 1) -> Path:
    """A DNG as cameras write them, with a grey sensor image of 64 x 48 and a JPEG preview in its first directory."""
    encoded = io.BytesIO()
    if preview is not None:
        preview.save(encoded, "JPEG", quality=95)
    jpeg = encoded.getvalue() + b"\0" * (len(encoded.getvalue()) % 2)
    raw = struct.pack("<H", 2000) * (64 * 48)
    begin_raw = 8 + len(jpeg)
    begin_sub = begin_raw + len(raw)
    sub = ifd(
        {
            254: ("I", (0,)),
            256: ("I", (64,)),
            257: ("I", (48,)),
            258: ("H", (16,)),
            259: ("H", (1,)),
            262: ("H", (32803,)),
            273: ("I", (begin_raw,)),
            277: ("H", (1,)),
            278: ("I", (48,)),
            279: ("I", (len(raw),)),
            33421: ("H", (2, 2)),
            33422: ("B", (0, 1, 1, 2)),
        },
        begin_sub,
    )
    first: dict[int, tuple[str, tuple[object, ...]]] = {
        254: ("I", (1,)),
        271: ("s", (b"Maker\0",)),
        272: ("s", (b"Model\0",)),
        274: ("H", (orientation,)),
        330: ("I", (begin_sub,)),
        50706: ("B", (1, 4, 0, 0)),
        50708: ("s", (b"Maker Model\0",)),
    }
    if preview is not None:
        first |= {
            256: ("I", (preview.width,)),
            257: ("I", (preview.height,)),
            258: ("H", (8, 8, 8)),
            259: ("H", (7,)),
            262: ("H", (6,)),
            273: ("I", (8,)),
            277: ("H", (3,)),
            278: ("I", (preview.height,)),
            279: ("I", (len(jpeg),)),
        }
    begin_first = begin_sub + len(sub)
    path.write_bytes(b"II*\0" + struct.pack("<I", begin_first) + jpeg + raw + sub + ifd(first, begin_first))
    return path


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


POSTSCRIPT = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\n(x) print\nshowpage\n%%EOF\n"


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
