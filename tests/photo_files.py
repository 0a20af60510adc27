"""Photos as phones and cameras write them."""

from __future__ import annotations

import io
import struct
from pathlib import Path

import pytest
from PIL import Image

POSTSCRIPT = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\n(x) print\nshowpage\n%%EOF\n"


def heic(path: Path, image: Image.Image, **options: object) -> Path:
    heif = pytest.importorskip("pillow_heif", reason="pillow-heif is not installed")
    heif.from_pillow(image).save(path, quality=95, **options)
    return path


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
