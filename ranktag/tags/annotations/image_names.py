"""The names that annotation tools give images: paths and URLs, made into image ids."""

from __future__ import annotations

import posixpath
import re
import urllib.parse
from collections.abc import Iterable
from pathlib import Path

from ranktag.errors import RanktagError
from ranktag.files.photos import photos_below
from ranktag.tags.annotations.files import BrokenFile

_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")


def image_path(name: object) -> str:
    """The image_id of an image's name: ``/`` between folders, nothing before the first; of a URL, its path.

    Raises BrokenFile if it is no text, is empty, or leads out of the folder of images.
    """
    if not isinstance(name, str) or not name.strip():
        raise BrokenFile("names no image")
    text = name.strip()
    if _URL.match(text):
        try:
            text = urllib.parse.unquote(urllib.parse.urlsplit(text).path)
        except ValueError as error:
            raise BrokenFile(f"names no image ('{text[:60]}': {error})") from None
    path = posixpath.normpath("/".join(text.replace("\\", "/").split("/"))).lstrip("/")
    if path in ("", ".", "..") or path.startswith("../"):
        raise BrokenFile(f"names an image outside of the image folder, or a folder ('{text[:60]}')")
    return path


class Photos:
    """The photos below a folder, to be found by their paths without the extension."""

    def __init__(self, paths: Iterable[str]) -> None:
        self._by_stem: dict[str, list[str]] = {}
        self.paths = frozenset(paths)
        for path in sorted(self.paths):
            self._by_stem.setdefault(posixpath.splitext(path)[0], []).append(path)

    @classmethod
    def below(cls, folder: Path) -> Photos:
        """The photos of a folder (see ``photos_below``), by their paths relative to it; it may have none."""
        try:
            return cls(path for path, _ in photos_below(folder)[0])
        except RanktagError:
            return cls(())

    def named(self, path: str) -> str:
        """The photo of this path, with or without its extension. Raises BrokenFile if there is none, or are several."""
        if path in self.paths:
            return path
        found = self._by_stem.get(path, [])
        if not found:
            raise BrokenFile(f"is for '{path[:60]}', and there is no such photo")
        if len(found) > 1:
            raise BrokenFile(f"may be for any of {', '.join(found)}; keep one")
        return found[0]
