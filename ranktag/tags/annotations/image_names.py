"""The names that annotation tools give images: paths and URLs, made into image ids."""

from __future__ import annotations

import posixpath
import unicodedata
import urllib.parse
from collections.abc import Iterable
from pathlib import Path

from ranktag.errors import RanktagError
from ranktag.files.photos import photos_below
from ranktag.tags.annotations.files import BrokenFile, is_image_name
from ranktag.urls import is_url


def image_path(name: object) -> str:
    """The image_id of an image's name: ``/`` between folders, nothing before the first; of a URL, its path.

    Raises BrokenFile if it is no text, is empty, or leads out of the folder of images.
    """
    if not isinstance(name, str) or not name.strip():
        raise BrokenFile("names no image")
    text = name.strip()
    if is_url(text):
        try:
            text = urllib.parse.unquote(urllib.parse.urlsplit(text).path)
        except ValueError as error:
            raise BrokenFile(f"names no image ('{text[:60]}': {error})") from None
    path = posixpath.normpath("/".join(text.replace("\\", "/").split("/"))).lstrip("/")
    if path in ("", ".", "..") or path.startswith("../"):
        raise BrokenFile(f"names an image outside of the image folder, or a folder ('{text[:60]}')")
    return path


class Photos:
    """The photos below a folder, to be found by what annotations call them.

    An id must be that of a photo that is there, where photos are known: a reader asks
    ``find`` for every path that the photo may have, what the annotation says first and
    the annotation file's own place last. ``paths`` is empty where no photo is known.
    """

    def __init__(self, paths: Iterable[str]) -> None:
        self.paths = frozenset(paths)
        self._alike: dict[str, list[str]] = {}
        self._by_stem: dict[str, list[str]] = {}
        for path in sorted(self.paths):
            self._alike.setdefault(_form(path), []).append(path)
            self._by_stem.setdefault(_form(posixpath.splitext(path)[0]), []).append(path)

    @classmethod
    def below(cls, folder: Path) -> Photos:
        """The photos of a folder (see ``photos_below``), by their paths relative to it; it may have none."""
        try:
            return cls(path for path, _ in photos_below(folder)[0])
        except RanktagError:
            return cls(())

    def find(self, *paths: str) -> str | None:
        """The photo of the first of these paths that has one: as it is, but for letter case and Unicode's form, or,
        without an image's extension, with one. None if none has.

        Raises BrokenFile where several photos are meant alike.
        """
        for path in paths:
            if path in self.paths:
                return path
            found = self._alike.get(_form(path), [])
            if not found and not is_image_name(path):
                found = self._by_stem.get(_form(path), [])
            if len(found) > 1:
                raise BrokenFile(f"may be for any of {', '.join(found[:5])}; keep one")
            if found:
                return found[0]
        return None

    def named(self, path: str) -> str:
        """The photo of this path, with or without its extension. Raises BrokenFile if there is none, or are several."""
        found = self.find(path)
        if found is None:
            raise BrokenFile(f"is for '{path[:60]}', and there is no such photo")
        return found


def _form(path: str) -> str:
    """What paths have in common that differ in letter case and Unicode's form only."""
    return unicodedata.normalize("NFC", path).casefold()
