"""XML files of annotation tools, read without trusting them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ranktag.tags.annotations.files import BrokenFile, need, read_bytes

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element


def read_xml(path: Path) -> tuple[Element, bool]:
    """(root element, whether the encoding had to be guessed) of an XML file.

    Document type definitions, and with them entity bombs and external entities, are
    refused (defusedxml). The LabelMe tools wrote files that name no encoding, or
    UTF-8, in the one of the annotator's machine: what is not UTF-8 is then read as
    Windows-1252.

    Raises BrokenFile.
    """
    etree = need("defusedxml.ElementTree", "reading XML")
    data = read_bytes(path)
    try:
        return _parse(etree, data), False
    except BrokenFile:
        declared = re.match(rb"[^>]{0,200}?encoding\s*=\s*[\"']([\w.-]+)", data)
        if declared and declared[1].lower() not in (b"utf-8", b"utf8"):
            raise
        try:
            data.decode("utf-8")
        except UnicodeDecodeError:
            # An explicit declaration would contradict the text that is handed over.
            text = re.sub(r"^\s*<\?xml[^>]*\?>", "", data.decode("cp1252", "replace"))
            return _parse(etree, text.encode("utf-8")), True
        raise


def _parse(etree: Any, data: bytes) -> Element:
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
