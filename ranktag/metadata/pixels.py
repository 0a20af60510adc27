"""Whether two files hold the same picture."""

from __future__ import annotations

import io
import warnings

from ranktag.metadata.exiv2 import Damaged

# What exiv2 writes to and Pillow decodes itself.
FORMATS = ("JPEG", "MPO", "PNG", "TIFF", "WEBP", "JPEG2000", "GIF")


def same_pixels(one: bytes, other: bytes) -> bool:
    """Whether two images have the same frames, pixel by pixel, in the same mode.

    Raises Damaged for what Pillow cannot decode.
    """
    from PIL import Image

    Image.init()
    known = [name for name in FORMATS if name in Image.ID]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            with Image.open(io.BytesIO(one), formats=known) as a, Image.open(io.BytesIO(other), formats=known) as b:
                frames = getattr(a, "n_frames", 1)
                if (a.format, a.size, a.mode, frames) != (b.format, b.size, b.mode, getattr(b, "n_frames", 1)):
                    return False
                for frame in range(frames):
                    a.seek(frame)
                    b.seek(frame)
                    if a.size != b.size or a.mode != b.mode or a.tobytes() != b.tobytes():
                        return False
                return True
        except Exception as error:  # noqa: BLE001 (decoders raise anything; such a photo is not written to)
            raise Damaged(f"cannot be decoded to compare it with its copy ({type(error).__name__})") from None
