"""What cannot be read as an image is a failure with its reason."""

from __future__ import annotations

import io
import os
import socket
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest
from drawing import VGG, photo, saved
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from ranktag.images.decode import MAX_PIXELS, ImageError
from ranktag.images.pixels import read_pixels


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
        read_pixels(make(tmp_path / file), VGG)
    assert words in str(caught.value)
    assert str(tmp_path) not in str(caught.value) and str(caught.value).isprintable()


def test_the_bound_on_pixels_lets_a_hundred_megapixels_through() -> None:
    assert 12_000 * 9_000 <= MAX_PIXELS < 12_000 * 11_200


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_permissions_are_a_reason(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.png", Image.new("RGB", (30, 30)))
    path.chmod(0)
    with pytest.raises(ImageError, match="may not be read; check its permissions"):
        read_pixels(path, VGG)


def test_permissions_are_a_reason_even_for_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: object) -> None:
        raise PermissionError(13, "Permission denied")

    path = saved(tmp_path / "a.png", Image.new("RGB", (30, 30)))
    monkeypatch.setattr("builtins.open", refuse)
    with pytest.raises(ImageError, match="may not be read; check its permissions"):
        read_pixels(path, VGG)


def assert_pixels_or_a_reason(path: Path) -> None:
    reason = ""
    try:
        pixels = read_pixels(path, VGG)
    except ImageError as error:
        reason = str(error)
    assert reason.isprintable() if reason else pixels.shape == (224, 224, 3)


@settings(deadline=None, max_examples=60)
@given(
    st.binary(max_size=400),
    st.sampled_from([b"", b"\xff\xd8\xff\xe0", b"\x89PNG\r\n\x1a\n", b"GIF89a", b"II*\0", b"RIFF....WEBP", b"BM"]),
)
def test_any_bytes_give_pixels_or_a_reason(tmp_path_factory: pytest.TempPathFactory, data: bytes, head: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "any.jpg"
    path.write_bytes(head + data)
    assert_pixels_or_a_reason(path)
