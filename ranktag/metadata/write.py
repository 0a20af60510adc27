"""Ranked tags written into a sidecar or a photo: a copy is made, checked, and put in the file's place.

Whatever happens in between, a file holds either what it held or all of the new. It keeps its
permissions, owner and extended attributes; its modification time is that of the change, as backups and photo
programs find changed files by it.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypedDict

from ranktag.errors import one_line
from ranktag.files.atomic import atomic_path
from ranktag.files.photos import RAW_EXTENSIONS
from ranktag.metadata.exiv2 import NAMESPACE, Damaged, exiv2
from ranktag.metadata.fields import FIELDS, XMP, Lists
from ranktag.metadata.keywords import OWN_ERRORS
from ranktag.metadata.packets import Packet, content, text_of, values
from ranktag.metadata.pixels import same_pixels
from ranktag.metadata.ranked import Record, put_tags

# Longer XMP lies in further pieces of a JPEG, which exiv2 does not keep in order (its issue 2150).
_EXTENDED = b"http://ns.adobe.com/xmp/extension/\0"
# EXIF entries that say where something lies in the file, and TIFF's own copy of the XMP.
_PLACES = frozenset((
    "ExifTag", "GPSTag", "InteroperabilityTag", "JPEGInterchangeFormat", "MakerNote", "Offset", "StripOffsets",
    "SubIFDs", "TileOffsets", "XMLPacket",
))  # fmt: skip
_KEYWORDS = frozenset((
    "http://purl.org/dc/elements/1.1/subject", "http://www.digikam.org/ns/1.0/TagsList",
    "http://ns.adobe.com/lightroom/1.0/hierarchicalSubject",
))  # fmt: skip


class Change(TypedDict):
    """What was done to a file.

    outcome: 'written' (it is new, or changed), 'removed' (a sidecar that only ranktag's tags were in), 'unchanged' or
    'failed'. reason: why it failed, else ''. before, after: field -> entries.
    """

    outcome: str
    reason: str
    before: Lists
    after: Lists


def write_tags(path: str, tags: list[str], prefix: str, embed: bool, dry_run: bool) -> Change:
    """Put ranked tags, the most important first, into the file at ``path``; no tags take ranktag's own out.

    What an earlier run wrote is replaced (see ``ranktag.metadata.ranked``). embed: the file is a photo, else a
    sidecar, which need not be there. dry_run: change nothing and say what would be.

    Raises OSError if the disk or the network fails; what is wrong with one file is a failed outcome.
    """
    change = Change(outcome="unchanged", reason="", before={}, after={})
    try:
        _write(Path(path), tags, prefix, embed, dry_run, change)
    except Damaged as error:
        change["outcome"], change["reason"] = "failed", str(error)
    except OSError as error:
        if error.errno not in OWN_ERRORS:
            raise
        change["outcome"], change["reason"] = "failed", f"cannot be written ({error.strerror})"
    return change


def _write(path: Path, tags: Sequence[str], prefix: str, embed: bool, dry_run: bool, change: Change) -> None:
    known = _state(path)
    old = path.read_bytes() if known is not None else None
    if old is None and embed:
        raise Damaged("there is no such photo")
    if old is None and not tags:
        return
    form = _Photo(path, old or b"") if embed else _Sidecar(old)
    change["before"] = form.packet.lists()
    before = (change["before"], Record.of(form.packet, prefix))
    put_tags(form.packet, tags, prefix, fresh=form.fresh)
    change["after"] = form.packet.lists()
    if before == (change["after"], Record.of(form.packet, prefix)):
        return
    _refuse_what_is_not_ours_to_write(path, known)
    new = form.made_without(before[1])
    if not dry_run:
        if _state(path) != known:
            raise Damaged("was changed by another program just now; run the same command again")
        if new is None:
            path.unlink()
        else:
            with atomic_path(path, like=path if known is not None else None) as temporary:
                temporary.write_bytes(new)
    change["outcome"] = "removed" if new is None else "written"


def _state(path: Path) -> tuple[int, int, int] | None:
    """What tells whether a file has changed; None if there is none."""
    try:
        found = os.stat(path)
    except FileNotFoundError:
        if path.is_symlink():
            raise Damaged("is a link to a file that is not there") from None
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns


def _refuse_what_is_not_ours_to_write(path: Path, known: object) -> None:
    if path.is_symlink():
        # A link would become a file, or one in another folder would change.
        raise Damaged("is a link, and is left as it is; name the folder that it leads to")
    # Asked of the permissions themselves: a superuser may write what its owner has protected.
    if known is not None and not path.stat().st_mode & 0o222:
        raise Damaged("is write-protected; make it writable, or write elsewhere with -o FOLDER")


class _Sidecar:
    """A sidecar in the making. fresh: whether there is none yet."""

    def __init__(self, old: bytes | None) -> None:
        self.fresh = old is None
        self._text = "" if old is None else text_of(old)
        self.packet = Packet(exiv2().XmpData()) if old is None else Packet.parse(self._text)

    def made_without(self, before: Record) -> bytes | None:
        """The new bytes, checked; None if nothing is left of a sidecar that ranktag made."""
        if before.made and not self.packet.data.count():
            return None
        new = self.packet.encode()
        _check(self._text, text_of(new), self.packet)
        return new


class _Photo:
    """A photo in the making. fresh: whether it holds no XMP yet."""

    def __init__(self, path: Path, old: bytes) -> None:
        if path.suffix.lower() in RAW_EXTENSIONS:
            raise Damaged("is a camera's RAW, which is never written to; write a sidecar")
        if _EXTENDED in old:
            raise Damaged("holds XMP in several pieces, which exiv2 does not keep; write a sidecar")
        self._old = old
        self._image = _opened(old)
        self._text = self._image.xmpPacket().strip("\0")
        self.fresh = not self._text.strip()
        if not self.fresh and not self._image.xmpData().count():
            Packet.parse(self._text)
        self.packet = Packet(self._image.xmpData(), self._image)

    def made_without(self, before: Record) -> bytes:
        """The new bytes, checked: all else in the photo is as it was."""
        library = exiv2()
        others = _others(_opened(self._old))
        if before.made and not self.packet.data.count():
            self._image.clearXmpPacket()
        try:
            self._image.writeMetadata()
        except library.Exiv2Error:
            raise Damaged("is of a kind that exiv2 does not write; write a sidecar") from None
        new = content(self._image)
        after = _opened(new)
        _check(self._text, after.xmpPacket().strip("\0"), self.packet)
        if _others(after) != others or not same_pixels(self._old, new):
            raise Damaged("would not stay what it is but for its tags; it is left as it is: write a sidecar")
        return new


def _opened(data: bytes) -> Any:
    library = exiv2()
    try:
        image = library.ImageFactory.open(data)
        image.readMetadata()
    except library.Exiv2Error:
        raise Damaged("is damaged, or of a kind that exiv2 does not know; write a sidecar") from None
    return image


def _others(image: Any) -> tuple[object, ...]:
    """EXIF, IPTC, the colour profile and the comment of an image."""
    exif = Counter((d.key(), d.toString()) for d in image.exifData() if d.key().rsplit(".", 1)[1] not in _PLACES)
    iptc = [(d.key(), d.toString()) for d in image.iptcData()]
    profile = bytes(image.iccProfile().data()) if image.iccProfileDefined() else b""
    return exif, iptc, profile, image.comment()


def _check(before: str, after: str, meant: Packet) -> None:
    """Raise Damaged unless a new packet reads back as it is meant, and has all that the old one had but keywords."""
    written = Packet.parse(after) if after.strip() else Packet(exiv2().XmpData())
    if any(written.entries(FIELDS[name].key) != meant.entries(FIELDS[name].key) for name in XMP):
        raise Damaged("its tags do not read back as they were written; it is left as it is")
    old = values(before) if before.strip() else Counter()
    lost = old - (values(after) if after.strip() else Counter())
    others = [name for name, _ in lost if name not in _KEYWORDS and not name.startswith(NAMESPACE)]
    if others:
        raise Damaged(one_line(f"holds XMP that exiv2 would lose ({others[0][-60:]}); it is left as it is"))
