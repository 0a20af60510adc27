"""Annotation sources: the files of a source, read so that one broken file never stops the others."""

from __future__ import annotations

import functools
import importlib
import io
import os
import re
import warnings
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from ranktag.errors import RanktagError

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element


class BrokenFile(Exception):
    """One file that cannot be used; the message says why. It is listed and skipped, the others are read."""


def need(module: str, purpose: str) -> ModuleType:
    """Import a module of the extra ``datasets``. Raises RanktagError, naming the pip command, where it is not installed."""
    try:
        return importlib.import_module(module)
    except ImportError:
        package = module.split(".")[0]
        raise RanktagError(
            f"{purpose} needs the package {package}, which is not installed; pip install 'ranktag[datasets]'"
        ) from None


def files_below(source: Path, suffix: str, without: Sequence[str] = ()) -> tuple[Path, list[Path], int]:
    """(folder, files, left out): the files below ``source`` whose names end in ``suffix``, in sorted order.

    ``source`` may be one such file; ``folder`` is then the one it lies in. Folders
    named in ``without`` are not entered; the number of files in them is given.

    Raises RanktagError if there is no such file.
    """
    source = Path(source)
    if source.is_file():
        return source.parent, [source], 0
    if not source.is_dir():
        raise RanktagError(f"{source}: no such file or folder; check the path")
    everything = [
        Path(folder, name)
        for folder, _, names in os.walk(source, onerror=_unreadable)
        for name in names
        if name.lower().endswith(suffix)
    ]
    files = sorted(path for path in everything if not set(path.relative_to(source).parts[:-1]) & set(without))
    if not files:
        left_out = f" outside of {', '.join(without)} folders" if everything else ""
        raise RanktagError(f"{source}: holds no *{suffix} file{left_out}; name the folder of the annotations")
    return source, files, len(everything) - len(files)


def _unreadable(error: OSError) -> None:
    raise RanktagError(f"{error.filename}: cannot be read ({error.strerror}); check its permissions")


def read_bytes(path: Path) -> bytes:
    """Contents of a file. Raises BrokenFile if it cannot be read or is empty."""
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise BrokenFile(f"cannot be read ({error.strerror})") from None
    if not data.strip(b"\0\t\n\r "):
        raise BrokenFile("is empty")
    return data


def read_xml(path: Path) -> tuple[Element, bool]:
    """(root element, whether the encoding had to be guessed) of an XML file from anywhere.

    Document type definitions, and with them entity bombs and external entities, are
    refused (defusedxml). The LabelMe tools wrote files that name no encoding, or
    UTF-8, in the one of the annotator's machine: what is not UTF-8 is then read as
    Windows-1252.

    Raises BrokenFile.
    """
    etree = need("defusedxml.ElementTree", "reading XML")
    data = read_bytes(path)
    try:
        return _parse_xml(etree, data), False
    except BrokenFile:
        declared = re.match(rb"[^>]{0,200}?encoding\s*=\s*[\"']([\w.-]+)", data)
        if declared and declared[1].lower() not in (b"utf-8", b"utf8"):
            raise
        try:
            data.decode("utf-8")
        except UnicodeDecodeError:
            # An explicit declaration would contradict the text that is handed over.
            text = re.sub(r"^\s*<\?xml[^>]*\?>", "", data.decode("cp1252", "replace"))
            return _parse_xml(etree, text.encode("utf-8")), True
        raise


def _parse_xml(etree: Any, data: bytes) -> Element:
    from xml.etree.ElementTree import ParseError

    from defusedxml import DefusedXmlException

    try:
        root: Element = etree.fromstring(data, forbid_dtd=True)
    except DefusedXmlException:
        raise BrokenFile("declares a document type or entities, which is refused") from None
    except (ParseError, LookupError, ValueError) as error:
        # LookupError and ValueError: an encoding that Python does not know, or that XML cannot be in.
        raise BrokenFile(f"is not well-formed XML ({error})") from None
    return root


def text_of(element: Element, path: str) -> str:
    """Text of the first element at ``path`` below ``element``, stripped; '' if there is none."""
    return (element.findtext(path) or "").strip()


def number(text: object) -> float | None:
    """A finite number, from text or JSON; None for anything else."""
    if isinstance(text, bool) or not isinstance(text, (str, int, float)):
        return None
    try:
        value = float(text)
    except (ValueError, OverflowError):
        return None
    return value if abs(value) < float("inf") else None


def image_size(width: object, height: object) -> tuple[float, float] | None:
    """Width and height in pixels, from text or JSON; None unless both are numbers above 0."""
    w, h = number(width), number(height)
    return (w, h) if w and h and w > 0 and h > 0 else None


def count_mask(png: bytes) -> float:
    """Area of a mask: its number of pixels above 0. Raises BrokenFile if it is not a readable PNG."""
    import numpy as np
    from PIL import Image

    try:
        with warnings.catch_warnings():
            # Pillow warns of an image that is too large before it refuses one.
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(io.BytesIO(png), formats=("PNG",)) as image:
                # Of a palette the number counts, not the colour.
                grey = image if image.mode in ("1", "L", "P", "I", "I;16") else image.convert("L")
                return float(np.count_nonzero(np.asarray(grey)))
    except Exception as error:  # noqa: BLE001 - Pillow raises a dozen kinds on damaged data, and no common one
        raise BrokenFile(f"mask that is not a readable PNG ({type(error).__name__})") from None


@functools.lru_cache(maxsize=1)
def image_suffixes() -> tuple[str, ...]:
    """Extensions of image files in lower case, the usual ones first."""
    from PIL import Image

    usual = (".jpg", ".jpeg", ".png")
    return (*usual, *sorted(set(Image.registered_extensions()) - set(usual)))


def is_image_name(name: str) -> bool:
    """Whether the file extension is one of an image format."""
    return os.path.splitext(name)[1].lower() in image_suffixes()


def split_in_name(path: Path) -> str | None:
    """'train', 'val' or 'test' if that word stands in the file's name (``captions_val2017.json``, ``test.mat``)."""
    words = set(re.findall(r"(?<![a-z])(train|val|test)(?![a-z])", path.stem.lower()))
    return words.pop() if len(words) == 1 else None
