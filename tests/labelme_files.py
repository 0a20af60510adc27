"""Annotations of LabelMe's two tools, made for tests."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from outcome import Outcome
from PIL import Image

from ranktag.tags.lists import read_tag_lists

Ranktag = Callable[..., Outcome]
# What stands in a file in place of an image's width or height.
SIZES = (None, "", "0", "-3", "nan", "wide")


def polygon(name: str, *points: tuple[float, float], deleted: int = 0) -> str:
    corners = "".join(f"<pt><x>{x}</x><y>{y}</y></pt>" for x, y in points)
    drawn = f"<polygon><username>a</username>{corners}</polygon>"
    return f"<object><name>{name}</name><deleted>{deleted}</deleted>{drawn}</object>"


def square(name: str, side: float, deleted: int = 0) -> str:
    return polygon(name, (0, 0), (side, 0), (side, side), (0, side), deleted=deleted)


def mask(name: str, file: str, box: tuple[float, float, float, float]) -> str:
    edges = "".join(f"<{tag}>{value}</{tag}>" for tag, value in zip(("xmin", "ymin", "xmax", "ymax"), box, strict=True))
    return f"<object><name>{name}</name><deleted>0</deleted><segm><box>{edges}</box><mask>{file}</mask></segm></object>"


def web(*objects: str, folder: str = "street", filename: str = "a.jpg", size: str = "100") -> str:
    return (
        f"<annotation><filename>{filename}</filename><folder>{folder}</folder>{''.join(objects)}"
        f"<imagesize><nrows>{size}</nrows><ncols>{size}</ncols></imagesize></annotation>"
    )


def write(path: Path, content: str | bytes | dict[str, Any]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps(content) if isinstance(content, dict) else content
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def png(pixels: list[list[int]]) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.array(pixels, dtype=np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


def shape(
    label: object, kind: str | None, *points: tuple[float, float], group: int | None = None, **more: Any
) -> dict[str, Any]:
    return {
        "label": label,
        "points": [list(p) for p in points],
        "group_id": group,
        "shape_type": kind,
        "flags": {},
        **more,
    }


def desktop(*shapes: dict[str, Any], image: str = "a.jpg") -> dict[str, Any]:
    return {
        "version": "5.0",
        "shapes": list(shapes),
        "imagePath": image,
        "imageData": None,
        "imageHeight": 9,
        "imageWidth": 9,
    }


def assert_missing_size_is_skipped_or_kept(ranktag: Ranktag, name: str, folder: Path, prefix: str) -> None:
    """``a`` is of no size and holds a sky and something that is dropped, ``b`` is sound and holds a tree."""
    suffix, tags = name[8:], folder / "t.csv"
    skipped = ranktag("prepare", name, folder, "-o", tags, "--overwrite")
    assert (skipped.code, skipped.err) == (
        1,
        f"files skipped: 1\n  a.{suffix} gives no image size (kept with --missing-size keep)\n",
    )
    assert read_tag_lists(tags).lists == {f"{prefix}b.jpg": [("tree",)]} and "dropped" not in skipped.out
    kept = ranktag("prepare", name, folder, "-o", tags, "--overwrite", "--missing-size", "keep")
    assert (kept.code, kept.err) == (0, "")
    assert (
        f"note: files without an image size, which were kept: 1 (a.{suffix})" in kept.out
        and "dropped: 1 objects" in kept.out
    )
    assert read_tag_lists(tags).lists == {f"{prefix}a.jpg": [("sky",)], f"{prefix}b.jpg": [("tree",)]}
