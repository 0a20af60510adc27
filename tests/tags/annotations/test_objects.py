"""Areas of annotated objects, and the order that they give."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from ranktag.tags.annotations.files import BrokenFile
from ranktag.tags.annotations.objects import AnnotatedObject, mask_area, polygon_area, tags_by_size


def test_polygon_area_by_hand() -> None:
    assert polygon_area([(0, 0), (4, 0), (4, 3)]) == 6
    assert polygon_area([(1000000, 1000000), (1000004, 1000000), (1000004, 1000003), (1000000, 1000003)]) == 12
    assert polygon_area([(0, 0), (4, 0)]) is None
    assert polygon_area([(0, 0), (1e308, 0), (1e308, 1e308)]) is None


def test_the_largest_object_of_a_name_counts_and_parts_add_up() -> None:
    things = [
        AnnotatedObject("car", 5),
        AnnotatedObject("car", 5),
        AnnotatedObject("tree", 4, part_of=0),
        AnnotatedObject("tree", 4, part_of=0),
        AnnotatedObject("bus", 6, part_of=0),
        AnnotatedObject("point", None),
        AnnotatedObject("dot", None),
    ]
    # Two cars stay two objects of 5; the two parts are one tree of 8; a bus with the tree's number is no part of it.
    assert tags_by_size(things) == ["tree", "bus", "car", "point", "dot"]


def test_masks_of_any_kind_are_counted() -> None:
    pixels = Image.fromarray(np.array([[0, 2, 2]], dtype=np.uint8))
    palette = Image.frombytes("P", (3, 1), bytes([0, 2, 2]))
    palette.putpalette([0] * 768)  # every colour is black: the numbers count
    for image in (pixels, pixels.convert("RGB"), pixels.point(lambda v: 255 * (v > 0)).convert("1"), palette):
        buffer = io.BytesIO()
        image.save(buffer, "PNG")
        assert mask_area(buffer.getvalue()) == 2


def test_a_mask_that_would_fill_the_memory_is_not_unpacked() -> None:
    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 0, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(bytes(99))), (b"IEND", b"")]
    bomb = b"".join(struct.pack(">I", len(d)) + k + d + struct.pack(">I", zlib.crc32(k + d)) for k, d in chunks)
    with pytest.raises(BrokenFile, match="DecompressionBomb"):
        mask_area(b"\x89PNG\r\n\x1a\n" + bomb)
