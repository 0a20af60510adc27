"""XML files of annotation tools, read without trusting them."""

from __future__ import annotations

import codecs
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ranktag.files.text import marked_encoding, without_xml_declaration, xml_encoding
from ranktag.tags.annotations.files import BrokenFile, need, read_bytes

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element


def read_xml(path: Path) -> tuple[Element, bool]:
    """(root element, whether the encoding had to be guessed) of an XML file.

    The encoding is the one that the file declares, any that Python knows. Document type
    definitions, and with them entity bombs and external entities, are refused
    (defusedxml). The LabelMe tools wrote files that name no encoding, or UTF-8, in the
    one of the annotator's machine: what is not UTF-8 is then read as Windows-1252.

    Raises BrokenFile.
    """
    etree = need("defusedxml.ElementTree", "reading XML")
    data = read_bytes(path)
    text, guessed = _text(data)
    # Nothing may stand before the root.
    return _parse(etree, without_xml_declaration(text).lstrip().encode("utf-8", "surrogatepass")), guessed


def _text(data: bytes) -> tuple[str, bool]:
    """(text, whether its encoding had to be guessed)."""
    unmarked = {b"<\0": "utf-16-le", b"\0<": "utf-16-be"}.get(data[:2])
    if (certain := marked_encoding(data) or unmarked) is not None:
        return _decoded(data, certain), False
    name = xml_encoding(data) or "utf-8"
    try:
        # A declaration that can be read as bytes is in no encoding of two bytes a letter, whatever it says.
        if codecs.lookup(name).name.startswith(("utf-16", "utf-32", "utf-8")):
            name = "utf-8"
    except LookupError:
        raise BrokenFile(f"is in an encoding that Python does not know ('{name[:40]}')") from None
    try:
        return _decoded(data, name), False
    except BrokenFile:
        if name != "utf-8":
            raise
        return data.decode("cp1252", "replace"), True


def _decoded(data: bytes, encoding: str) -> str:
    try:
        return data.decode(encoding)
    except (LookupError, UnicodeError):
        raise BrokenFile(f"is not text in the encoding {encoding}") from None


def _parse(etree: Any, data: bytes) -> Element:
    from xml.etree.ElementTree import ParseError

    from defusedxml import DefusedXmlException

    try:
        root: Element = etree.fromstring(data, forbid_dtd=True)
    except DefusedXmlException:
        raise BrokenFile("declares a document type or entities, which is refused") from None
    except (ParseError, ValueError) as error:
        raise BrokenFile(f"is not well-formed XML ({error})") from None
    return root


def text_of(element: Element, path: str) -> str:
    """Text of the first element at ``path`` below ``element``, stripped; '' if there is none."""
    return (element.findtext(path) or "").strip()
