"""Which sidecars belong to a photo.

====================  ================================================================================
``photo.jpg.xmp``     of darktable, digiKam and immich: belongs to photo.jpg alone
``photo.xmp``         of Adobe's programs: belongs to all photos of that name, photo.jpg and photo.cr2
====================  ================================================================================
"""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Iterable

SUFFIX = ".xmp"


class Sidecars:
    """The sidecars below a folder of photos, found by name without regard to letter case and
    Unicode's form.

    unused: those that belong to none of the photos that were asked for.
    """

    def __init__(self) -> None:
        self._found: dict[str, dict[str, list[str]]] = {}
        self._used: set[str] = set()

    def of(self, photo: str) -> list[str]:
        """The paths of a photo's sidecars, the one named after the whole of its name first."""
        folder, name = os.path.split(photo)
        there = self._in(folder)
        names = [name + SUFFIX, os.path.splitext(name)[0] + SUFFIX]
        found: list[str] = []
        for wanted in names:
            spelt = there.get(_form(wanted), [])
            # Where letter case tells two files apart, the one that is spelt alike.
            for sidecar in [s for s in spelt if os.path.splitext(s)[0] == os.path.splitext(wanted)[0]] or spelt:
                if sidecar not in found:
                    found.append(sidecar)
        paths = [os.path.join(folder, sidecar) for sidecar in found]
        self._used.update(paths)
        return paths

    def _in(self, folder: str) -> dict[str, list[str]]:
        if folder not in self._found:
            by_name: dict[str, list[str]] = {}
            with os.scandir(folder or ".") as entries:
                for name in sorted(entry.name for entry in entries):
                    if name.lower().endswith(SUFFIX) and not name.startswith("."):
                        by_name.setdefault(_form(name), []).append(name)
            self._found[folder] = by_name
        return self._found[folder]

    @property
    def unused(self) -> list[str]:
        """Paths of the sidecars, in the folders that were looked into, that belong to no photo."""
        named = ((folder, names) for folder, found in self._found.items() for names in found.values())
        everything = (os.path.join(folder, name) for folder, names in named for name in names)
        return sorted(path for path in everything if path not in self._used)


def _form(name: str) -> str:
    """What names have in common that differ in letter case and Unicode's form only."""
    return unicodedata.normalize("NFC", name).casefold()


def serves(extension: str, photo: str, siblings: Iterable[str]) -> bool:
    """Whether a sidecar that says it is for ``extension`` ('cr2'; '' if it does not say) serves a photo.

    siblings: photos that share its name, but for the ending. One that is for a RAW serves the photo that was
    developed from it, unless the RAW is a photo of its own.
    """
    mine = os.path.splitext(photo)[1].lower().lstrip(".")
    others = {os.path.splitext(sibling)[1].lower().lstrip(".") for sibling in siblings}
    return extension in ("", mine) or extension not in others
