"""Reading a photo's file: which decoder it gets, what is the file's fault, and what is the disk's.

Only formats that are decoded within this process are opened, whatever a file's name says:
a PostScript text called ``a.jpg`` must not start Ghostscript. HEIC is read by pillow-heif
(extra ``heif``), camera RAW by the preview within it (extra ``raw``: rawpy).
"""

from __future__ import annotations

import errno
import functools
import io
import os
import stat
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import BinaryIO, TypeVar

from PIL import Image, UnidentifiedImageError

from ranktag.errors import one_line
from ranktag.files.contents import NoContent, content_of
from ranktag.files.locations import is_file
from ranktag.files.photos import RAW_EXTENSIONS
from ranktag.files.remote import NotAnswered

T = TypeVar("T")

# A 100-megapixel camera's photo is read; a decompression bomb is not. Decoding takes some 8 bytes a pixel.
MAX_PIXELS = 2**27

# What Pillow, or pillow-heif within it, decodes itself; not EPS, WMF and others that start programs.
# fmt: off
FORMATS = frozenset((
    "AVIF", "BLP", "BMP", "CUR", "DCX", "DDS", "DIB", "FITS", "FLI", "FTEX", "GBR", "GIF", "HEIF", "ICNS", "ICO", "IM",
    "IMT", "JPEG", "JPEG2000", "MCIDAS", "MSP", "PCD", "PCX", "PIXAR", "PNG", "PPM", "PSD", "QOI", "SGI", "SPIDER",
    "SUN", "TGA", "TIFF", "WEBP", "XBM", "XPM", "XVTHUMB",
))
# fmt: on
RAW_HEADS = (b"FUJIFILMCCD-RAW", b"IIRO", b"IIRS", b"MMOR", b"IIU\0")
DNG_VERSION = 0xC612

# The brands of the HEIF family: HEVC within (HEIC), AV1 within (AVIF), or either.
HEIC_BRANDS = frozenset(b"heic heix hevc hevx heim heis hevm hevs mif1 msf1".split())
AVIF_BRANDS = frozenset((b"avif", b"avis"))

# Of the disk or the network, not of a file. By name: not every system has all of them.
# fmt: off
OUTAGES = frozenset(getattr(errno, name) for name in (
    "EIO", "ESTALE", "ETIMEDOUT", "EAGAIN", "EBUSY", "EINTR", "EMFILE", "ENFILE", "ENODEV", "ENXIO", "ENOTCONN",
    "EHOSTDOWN", "EHOSTUNREACH", "ENETDOWN", "ENETRESET", "ENETUNREACH", "ECONNABORTED", "ECONNREFUSED", "ECONNRESET",
    "ESHUTDOWN", "EREMOTEIO", "ENOLINK", "ECOMM",
) if hasattr(errno, name))
# fmt: on

# Bytes of the largest file that is read whole to tell damage from an error of the disk.
READ_WHOLE = 2**28


class ImageError(Exception):
    """Why an image gives no feature; one line."""


class Unreachable(Exception):
    """The disk or the network did not give a file; one line. It says nothing about the image.

    remedy: what to do where it is no use to try again; else ''.
    """

    def __init__(self, reason: str, remedy: str = "") -> None:
        super().__init__(reason, remedy)
        self.remedy = remedy

    def __str__(self) -> str:
        return str(self.args[0])


def decoded(path: bytes, read: Callable[[BinaryIO], T]) -> T:
    """What ``read`` makes of the image file at ``path``, opened; it opens the image by ``open_image``.

    path: or what stands for a photo that is no file of its own (see ``ranktag.files.locations``).
    Raises ImageError, with the reason, for whatever cannot be read as an image, and Unreachable.
    """
    if not is_file(path):
        try:
            content = content_of(path)
        except NoContent as error:
            raise ImageError(str(error)) from None
        except NotAnswered as error:
            raise Unreachable(str(error), error.remedy) from None
        return decoded_here(lambda: read(io.BytesIO(content)), content[:64])
    with warnings.catch_warnings():
        # Pillow warns of odd but readable files; a run over 100,000 photos cannot stop for each.
        warnings.simplefilter("ignore")
        try:
            try:
                _refuse_no_file(path)
                with open(path, "rb") as file:
                    return read(file)
            except Exception as error:
                if not _may_be_the_disks(path, error):
                    raise
            # Some decoders take what the disk did not give for damage. What is in memory is what is there.
            return read(io.BytesIO(_content(path)))
        except (ImageError, Unreachable):
            raise
        except MemoryError:
            raise _no_memory() from None
        except Exception as error:  # noqa: BLE001 (decoders of forty formats raise anything; no image may stop a run)
            if isinstance(error, OSError) and error.errno in OUTAGES:
                raise Unreachable(one_line(error.strerror or str(error))) from None
            try:
                raise ImageError(_reason(path, error)) from None
            except OSError as other:
                raise Unreachable(one_line(other.strerror or str(other))) from None


def decoded_here(read: Callable[[], T], head: bytes = b"") -> T:
    """What ``read`` makes of an image that is in memory. head: its first bytes, which tell what is no image.

    Raises ImageError, with the reason, for whatever cannot be read as an image.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return read()
        except ImageError:
            raise
        except MemoryError:
            raise _no_memory() from None
        except UnidentifiedImageError:
            raise ImageError(_unidentified(head) if head else "empty (0 bytes)") from None
        except Exception as error:  # noqa: BLE001 (as above)
            raise ImageError(_reason(b"", error)) from None


def _no_memory() -> ImageError:
    return ImageError("not enough memory to decode it")


def _may_be_the_disks(path: bytes, error: Exception) -> bool:
    """Whether a decoder's complaint may be one of the disk's in disguise, and the file can be read whole to see."""
    if isinstance(error, (ImageError, Unreachable, MemoryError, Image.DecompressionBombError)):
        return False
    if isinstance(error, OSError) and error.errno is not None:
        return False
    return os.stat(path).st_size <= READ_WHOLE


def _content(path: bytes) -> bytes:
    with open(path, "rb") as file:
        return file.read()


def _refuse_no_file(path: bytes) -> None:
    """Raise ImageError for what is not a regular file that holds something."""
    status = os.stat(path)
    if stat.S_ISDIR(status.st_mode):
        # A name that ends in .jpg may be a folder's; one that may not be searched is a failure of its own.
        raise ImageError(
            "a folder, not an image"
            if os.access(path, os.R_OK | os.X_OK)
            else "a folder that may not be searched; check its permissions"
        )
    if not stat.S_ISREG(status.st_mode):
        raise ImageError("not a regular file")
    if status.st_size == 0:
        raise ImageError("empty (0 bytes)")


@contextmanager
def open_image(file: BinaryIO, path: bytes) -> Iterator[Image.Image]:
    """The image in ``file``, not decoded yet; of a RAW, its preview. path: its name, which says what a RAW is.

    Raises ImageError for one that is too large or for which a package is missing, and what Pillow raises.
    """
    head = file.read(64)
    file.seek(0)
    if _is_raw(head, os.path.splitext(path)[1]):
        file = _preview(file)
    elif _is_heic(head):
        _register_heif()
    with _opened(file) as image:
        if image.format == "TIFF" and DNG_VERSION in getattr(image, "tag_v2", ()):
            file.seek(0)
            with _opened(_preview(file)) as preview:
                yield not_too_large(preview)
        else:
            yield not_too_large(image)


def not_too_large(image: Image.Image) -> Image.Image:
    """``image``. Raises ImageError for one of more than MAX_PIXELS."""
    width, height = image.size
    if width * height > MAX_PIXELS:
        raise ImageError(f"{width:,} x {height:,} pixels, more than the {MAX_PIXELS:,} that are read")
    return image


def _opened(file: BinaryIO) -> Image.Image:
    """The image in ``file``, of a format that is opened. The rare ones are looked at where it is none of the common."""
    Image.preinit()
    try:
        return Image.open(file, formats=_formats())
    except UnidentifiedImageError:
        # To load what reads the rare ones takes as long as twenty photos.
        Image.init()
        return Image.open(file, formats=_formats())


def _formats() -> list[str]:
    """The formats that are opened, of those that are loaded, in the order in which Pillow tries them."""
    return [name for name in Image.ID if name in FORMATS]


def _is_heic(head: bytes) -> bool:
    return head[4:8] == b"ftyp" and head[8:12] in HEIC_BRANDS and not AVIF_BRANDS & _compatible(head)


def _compatible(head: bytes) -> set[bytes]:
    """The brands an ISO media file says it is compatible with, as far as they stand in its first bytes."""
    size = min(int.from_bytes(head[:4], "big"), len(head))
    return {head[start : start + 4] for start in range(16, size, 4)}


@functools.cache
def _register_heif() -> None:
    try:
        from pillow_heif import register_heif_opener
    except ImportError:
        raise ImageError(
            "a HEIC image, which needs the package pillow-heif; pip install 'ranktag[heif]', "
            "or convert it to JPEG or PNG"
        ) from None
    register_heif_opener()


def _is_raw(head: bytes, extension: bytes) -> bool:
    named = extension.lower().decode("ascii", "replace") in RAW_EXTENSIONS
    # A JPEG that was renamed is a JPEG.
    if named and head[:3] != b"\xff\xd8\xff" and head[:4] != b"\x89PNG":
        return True
    return head.startswith(RAW_HEADS) or head[8:10] == b"CR" or head[4:12] == b"ftypcrx "


def _preview(file: BinaryIO) -> BinaryIO:
    """The largest preview in a camera's RAW, as the camera made it: what a viewer shows.

    It is turned as the RAW is: most previews say so in EXIF data of their own, and rawpy says it for the others.
    """
    try:
        import rawpy
    except ImportError:
        raise ImageError(
            "a camera's RAW, which needs the package rawpy; pip install 'ranktag[raw]', or convert it to JPEG"
        ) from None
    try:
        with rawpy.imread(file) as raw:
            thumb = raw.extract_thumb()
            turned = raw.sizes.flip
    except (rawpy.LibRawNoThumbnailError, rawpy.LibRawUnsupportedThumbnailError):
        raise ImageError("a camera's RAW without a preview that can be read; convert it to JPEG") from None
    except rawpy.LibRawError as error:
        text = error.args[0] if error.args else error
        text = text.decode("utf-8", "replace") if isinstance(text, bytes) else text
        raise ImageError(one_line(f"a camera's RAW that is damaged or of an unknown kind ({text})")) from None
    if isinstance(thumb.data, bytes):
        return _turned(thumb.data, turned)
    encoded = io.BytesIO()
    Image.fromarray(thumb.data).save(encoded, "PNG", exif=_exif(turned))
    encoded.seek(0)
    return encoded


# LibRaw's flip -> EXIF's orientation.
_FLIPS = {3: 3, 5: 8, 6: 6}


def _exif(flip: int) -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = _FLIPS.get(flip, 1)
    return exif


def _turned(jpeg: bytes, flip: int) -> BinaryIO:
    """A JPEG with the RAW's orientation in EXIF data, unless it has one of its own."""
    with Image.open(io.BytesIO(jpeg), formats=["JPEG"]) as image:
        if flip not in _FLIPS or "exif" in image.info:
            return io.BytesIO(jpeg)
    data = _exif(flip).tobytes()
    return io.BytesIO(jpeg[:2] + b"\xff\xe1" + (len(data) + 2).to_bytes(2, "big") + data + jpeg[2:])


def _reason(path: bytes, error: Exception) -> str:
    if isinstance(error, FileNotFoundError):
        return "a link to a file that is not there" if os.path.islink(path) else "no such file"
    if isinstance(error, PermissionError):
        return "may not be read; check its permissions"
    if isinstance(error, UnidentifiedImageError):
        with open(path, "rb") as file:
            return _unidentified(file.read(64))
    if isinstance(error, Image.DecompressionBombError):
        return f"more than the {MAX_PIXELS:,} pixels that are read"
    if isinstance(error, OSError) and error.errno is not None:
        return one_line(f"cannot be read ({error.strerror})")
    return one_line(f"damaged or of an unknown kind ({str(error) or type(error).__name__})")[:300]


def _unidentified(head: bytes) -> str:
    if head[4:8] == b"ftyp" and head[8:12] in HEIC_BRANDS | AVIF_BRANDS:
        if not _is_heic(head) and "AVIF" not in Image.OPEN:
            return "an AVIF image, which Pillow reads from version 11.3 on; pip install -U pillow"
        return "a damaged HEIC or AVIF image, or one of an unknown kind; convert it to JPEG or PNG"
    if head.startswith((b"%!PS", b"\xc5\xd0\xd3\xc6")):
        return "PostScript, which another program would have to run; convert it to PNG"
    return "not an image, or of an unknown format"
