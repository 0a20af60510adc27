"""A photo as a caller has it: a path, an open file, the bytes of one, an image of Pillow's, or an array."""

from __future__ import annotations

import functools
import io
import os
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt
from PIL import Image

from ranktag.errors import Usage
from ranktag.images.batches import outages, read_patiently
from ranktag.images.decode import ImageError, decoded_here, not_too_large
from ranktag.images.pixels import Preprocessing, cropped, pixels_in, read_pixels

Photo = str | Path | bytes | BinaryIO | Image.Image | npt.NDArray[np.uint8]


def is_one(photos: Any) -> bool:
    """Whether it is a photo, and no number of them. Raises Usage for what is neither."""
    if isinstance(photos, np.ndarray):
        return photos.ndim < 4
    if not hasattr(photos, "__iter__") and not hasattr(photos, "read") and not isinstance(photos, (Path, Image.Image)):
        raise _no_photo(photos)
    return isinstance(photos, (str, Path, bytes, bytearray, memoryview, Image.Image)) or hasattr(photos, "read")


def name_of(photo: Photo) -> str:
    """The path of a photo that has one, else ''."""
    path = photo if isinstance(photo, (str, Path)) else getattr(photo, "filename", "") or getattr(photo, "name", "")
    return os.fsencode(path).decode("utf-8", "backslashreplace") if isinstance(path, (str, Path)) else ""


def pixels_of(photo: Photo, preprocessing: Preprocessing) -> npt.NDArray[np.uint8]:
    """The uint8 pixels, of ``preprocessing.shape``, a network sees of a photo, not yet normalised.

    photo: an array is (H, W, 3) uint8, sRGB. Images and open files stay as they are, but that files are read
    to their end. The photo is decoded in this process and thread.

    Raises ImageError, with the reason, for what cannot be read as an image; Outage where the disk or the
    network does not give a file; Usage for what is none of these.
    """
    if isinstance(photo, (str, Path)):
        path = os.fsencode(photo)
        with outages():
            return read_patiently(path, functools.partial(read_pixels, path, preprocessing))
    if isinstance(photo, np.ndarray):
        photo = _from_array(photo)
    if isinstance(photo, Image.Image):
        image = photo
        return decoded_here(lambda: cropped(not_too_large(image), preprocessing))
    content = photo.read() if hasattr(photo, "read") else photo
    if not isinstance(content, (bytes, bytearray, memoryview)):
        raise _no_photo(photo)
    file, name = io.BytesIO(content), os.fsencode(name_of(photo))
    return decoded_here(lambda: pixels_in(file, name, preprocessing), file.getvalue()[:64])


def _no_photo(photo: object) -> Usage:
    kind = type(photo).__name__
    return Usage(f"{kind}: is no photo; give a path, a file opened 'rb', bytes, an image of Pillow's or an array")


def _from_array(array: npt.NDArray[np.uint8]) -> Image.Image:
    if array.dtype != np.uint8 or array.ndim != 3 or array.shape[2] != 3:
        raise Usage(f"an array of {array.dtype} of shape {array.shape} is no photo; give (H, W, 3) uint8")
    if not array.size:
        raise ImageError("empty (no pixels)")
    return Image.fromarray(np.ascontiguousarray(array))
