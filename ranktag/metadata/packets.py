"""XMP packets, the XML in photos and sidecars: from bytes to properties and back."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any
from xml.parsers import expat

from ranktag.files.text import marked_encoding, without_xml_declaration, xml_encoding
from ranktag.metadata.exiv2 import Damaged, exiv2
from ranktag.metadata.fields import FIELDS, XMP, Lists

RDF = "http://www.w3.org/1999/02/22-rdf-syntax-ns#"
# Namespaces of what holds properties, and is none, as ``_named`` writes them.
_SYNTAX = ("http://www.w3.org/1999/02/22-rdf-syntax-ns/", "adobe:ns:meta/")


def text_of(data: bytes) -> str:
    """A sidecar's text, in the encoding that its first bytes or its XML declaration say, else in UTF-8.

    Raises Damaged.
    """
    if not data.strip(b"\0\t\n\r "):
        raise Damaged("is empty")
    encoding = marked_encoding(data) or xml_encoding(data) or "utf-8"
    try:
        text = data.decode(encoding)
    except LookupError:
        raise Damaged(f"is in an unknown encoding ({encoding[:40]})") from None
    except UnicodeError:
        raise Damaged(f"is not text in {encoding}") from None
    return without_xml_declaration(text)


class Packet:
    """The XMP properties of a file.

    data: exiv2's own. They are changed in place.
    """

    def __init__(self, data: Any, owner: Any = None) -> None:
        """owner: the image that they are part of, which has to live as long."""
        self.data, self._owner = data, owner

    @classmethod
    def parse(cls, text: str) -> Packet:
        """The properties in an XMP packet. Raises Damaged."""
        library = exiv2()
        image = library.ImageFactory.create(library.ImageType.xmp)
        try:
            image.setXmpPacket(text)
        except (library.Exiv2Error, TypeError):
            # TypeError: bytes of a photo that are no UTF-8.
            raise Damaged("holds XMP that is damaged") from None
        data = image.xmpData()
        if not data.count() and "adobe:ns:meta/" not in text and RDF not in text:
            raise Damaged("holds no XMP")
        return cls(data, image)

    def entries(self, key: str) -> list[str]:
        """The entries of a list, in order; a single text is a list of one."""
        found = self.data.findKey(exiv2().XmpKey(key))
        if found == self.data.end():
            return []
        value = found.value()
        entries = [str(entry) for entry in value] if isinstance(value, exiv2().XmpArrayValue) else [str(value)]
        return [entry for entry in entries if entry.strip()]

    def lists(self) -> Lists:
        """The fields of keywords that are there."""
        found = {name: self.entries(FIELDS[name].key) for name in XMP}
        return {name: entries for name, entries in found.items() if entries}

    def put(self, key: str, entries: Sequence[str], ordered: bool) -> None:
        """Make a list of a property, a Seq or a Bag as it is already; without entries there is none."""
        library = exiv2()
        kind = library.TypeId.xmpSeq if ordered else library.TypeId.xmpBag
        found = self.data.findKey(library.XmpKey(key))
        if found != self.data.end():
            there = found.typeId()
            kind = there if there in (library.TypeId.xmpSeq, library.TypeId.xmpBag) else kind
            self.data.erase(found)
        if entries:
            value = library.XmpArrayValue(kind)
            for entry in entries:
                value.read(entry)
            self.data.add(library.XmpKey(key), value)

    def put_text(self, key: str, text: str) -> None:
        """Make a property a text; without one there is none."""
        self.put(key, [], ordered=False)
        if text:
            self.data[key] = text

    def encode(self) -> bytes:
        """The bytes of a sidecar with these properties."""
        library = exiv2()
        # A new one, as exiv2 makes EXIF and IPTC of a sidecar that it opens, and writes them back over the XMP.
        image = library.ImageFactory.create(library.ImageType.xmp)
        image.setXmpData(self.data)
        image.writeMetadata()
        return content(image)


def content(image: Any) -> bytes:
    """The bytes of an image of exiv2's that lies in memory."""
    io = image.io()
    io.open()
    try:
        return bytes(io.mmap())
    finally:
        io.munmap()
        io.close()


def values(text: str) -> Counter[tuple[str, str]]:
    """(property, value) of all that stands in a packet, however its XML is written, and how often.

    What a program that rewrites a packet must not lose. Raises Damaged for what is no XML.
    """
    found: Counter[tuple[str, str]] = Counter()
    path: list[str] = []
    words: list[str] = [""]

    def start(name: str, attributes: dict[str, str]) -> None:
        # The entries of a list belong to the property that the list is of.
        path.append(path[-1] if _named(name).startswith(_SYNTAX) and path else _named(name))
        words.append("")
        for key, value in attributes.items():
            if not _named(key).startswith(_SYNTAX):
                found[_named(key), " ".join(value.split())] += 1

    def end(_: str) -> None:
        value, name = words.pop(), path.pop()
        if value.strip():
            found[name, " ".join(value.split())] += 1

    def say(data: str) -> None:
        words[-1] += data

    parser = expat.ParserCreate(encoding="utf-8", namespace_separator=" ")
    parser.StartElementHandler, parser.EndElementHandler, parser.CharacterDataHandler = start, end, say
    parser.StartDoctypeDeclHandler = _refuse
    try:
        parser.Parse(text.encode("utf-8", "surrogatepass").rstrip(b"\0"), True)
    except expat.ExpatError as error:
        raise Damaged(f"holds XMP that is damaged ({error})") from None
    return found


def _named(name: str) -> str:
    """A property's full name. exiv2 ends every namespace in a slash, exiftool not that of Microsoft's photo tags."""
    namespace, _, local = name.rpartition(" ")
    return f"{namespace.rstrip('/#')}/{local}"


def _refuse(*_: object) -> None:
    raise Damaged("declares a document type, which is refused")
