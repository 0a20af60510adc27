"""The keywords that a photo and its sidecars hold."""

from __future__ import annotations

import errno
import os
from typing import Any, TypedDict

from ranktag.metadata.exiv2 import Damaged, exiv2
from ranktag.metadata.fields import FIELDS, Lists
from ranktag.metadata.packets import Packet, text_of
from ranktag.metadata.ranked import Record

# What the system says of one file. All else is the disk's or the network's, and no verdict on a file.
OWN_ERRORS = frozenset((
    errno.EACCES, errno.EPERM, errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.ELOOP, errno.ENAMETOOLONG, errno.EROFS,
))  # fmt: skip
# 1:90, which says the character set: escapes of ISO 2022.
_UTF8, _LATIN1 = b"\x1b%G", b"\x1b.A"
# Photos that exiv2 does not know are no damaged ones, unless they are called what it knows.
_KNOWN = frozenset((".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".tif", ".tiff", ".webp", ".dng", ".cr2", ".nef", ".arw"))


class Found(TypedDict):
    """What one file holds.

    path: the file. error: why it cannot be used, else ''. lists: field -> entries. written: those of them that ranktag
    wrote. prefix: below which ones in a hierarchy. guessed: the character set that IPTC keywords were taken to
    be in, where they do not say. extension: that of the photo a sidecar is for, where it says so.
    """

    path: str
    error: str
    lists: Lists
    written: Lists
    prefix: str
    guessed: str
    extension: str


def read_photo(photo: str, sidecars: list[str]) -> list[Found]:
    """What each of the sidecars, in their order, and then the photo itself hold.

    Raises OSError if the disk or the network fails.
    """
    return [_found(path, _read_sidecar) for path in sidecars] + [_found(photo, _read_image)]


def _found(path: str, read: Any) -> Found:
    found = Found(path=path, error="", lists={}, written={}, prefix="", guessed="", extension="")
    try:
        read(path, found)
    except Damaged as error:
        found["error"] = str(error)
    except OSError as error:
        if error.errno not in OWN_ERRORS:
            raise
        found["error"] = f"cannot be read ({error.strerror})"
    return found


def _read_sidecar(path: str, found: Found) -> None:
    with open(path, "rb") as file:
        packet = Packet.parse(text_of(file.read()))
    _take(packet, found)
    found["extension"] = "".join(packet.entries("Xmp.photoshop.SidecarForExtension")).lower()


def _take(packet: Packet, found: Found) -> None:
    record = Record.of(packet)
    found["lists"], found["written"], found["prefix"] = packet.lists(), record.lists, record.prefix


def _read_image(path: str, found: Found) -> None:
    image = _open(path)
    if image is None:
        return
    packet = image.xmpPacket()
    if packet.strip("\0 \n") and not image.xmpData().count():
        # exiv2 passes damage over in silence.
        Packet.parse(packet)
    _take(Packet(image.xmpData(), image), found)
    keywords, found["guessed"] = _iptc(image.iptcData())
    if keywords:
        found["lists"]["iptc"] = keywords


def _open(path: str) -> Any:
    """The image, its metadata read; None for one of a kind that exiv2 does not know. Raises Damaged."""
    library = exiv2()
    if not os.path.isfile(path):
        os.stat(path)
        raise Damaged("is no file")
    try:
        image = library.ImageFactory.open(path)
        image.readMetadata()
        return image
    except (library.Exiv2Error, TypeError):
        # exiv2 takes what the disk does not give for damage: what Python reads is what is there. And it cannot
        # open names that are not UTF-8.
        with open(path, "rb") as file:
            data = file.read()
    try:
        image = library.ImageFactory.open(data)
        image.readMetadata()
        return image
    except library.Exiv2Error as error:
        codes = library.ErrorCode
        unknown = (codes.kerMemoryContainsUnknownImageType, codes.kerFileContainsUnknownImageType)
        if data and error.code in unknown and os.path.splitext(path)[1].lower() not in _KNOWN:
            return None
        raise Damaged("is damaged, or no photo" if data else "is empty") from None


def _iptc(data: Any) -> tuple[list[str], str]:
    """The keywords, and the character set that was guessed, or ''."""
    field = FIELDS["iptc"].key
    raw = [bytes(datum.value().data()) for datum in data if datum.key() == field]
    said = [bytes(d.value().data()) for d in data if d.key() == "Iptc.Envelope.CharacterSet"]
    guessed = ""
    keywords = []
    for word in raw:
        text, guess = _decoded(word, said[0] if said else b"")
        keywords.append(text)
        guessed = guess or guessed
    return [word for word in keywords if word.strip("\0 ")], guessed


def _decoded(word: bytes, character_set: bytes) -> tuple[str, str]:
    word = word.rstrip(b"\0")
    if character_set.startswith(_LATIN1):
        return word.decode("latin-1"), ""
    try:
        # Many programs write UTF-8 and do not say so. What says so and is none was written by one that copies the mark.
        return word.decode("utf-8"), ""
    except UnicodeDecodeError:
        pass
    try:
        return word.decode("cp1252"), "Windows-1252"
    except UnicodeDecodeError:
        return word.decode("latin-1"), "Latin-1"
