"""Lists that one file alone may be the source of, and which file that is."""

from __future__ import annotations

import os.path
from collections import defaultdict


class Claims:
    """Which files say that a list is an image's, within a scope: a folder, say."""

    def __init__(self) -> None:
        self._files: dict[tuple[str, str], list[tuple[str, int]]] = defaultdict(list)

    def add(self, image_id: str, scope: str, file: str, number: int) -> None:
        """The image's list of that number is from ``file``."""
        self._files[image_id, scope].append((file, number))

    def settle(self) -> list[tuple[str, int, str, str]]:
        """(image id, number of its list, file, reason) of the lists to leave out; afterwards nothing is claimed.

        Of several files that claim an image, that which has its name is kept; without such a one, none.
        """
        out = []
        for (image_id, _), files in self._files.items():
            kept = _own(image_id, files)
            for claim in files if len(files) > 1 else ():
                if claim is not kept:
                    other = kept or next(other for other in files if other is not claim)
                    reason = f"is of '{image_id}', and so is {other[0]}; keep one, or tell the photos apart"
                    out.append((image_id, claim[1], claim[0], reason))
        self._files.clear()
        return out


def _own(image_id: str, claims: list[tuple[str, int]]) -> tuple[str, int] | None:
    """The claim whose file is called as the image: altogether, else but for the extension, else but for letter case."""
    for form in (str, _stem, lambda path: _stem(path).casefold()):
        own = [claim for claim in claims if form(claim[0]) == form(image_id)]
        if own:
            return own[0] if len(own) == 1 else None
    return None


def _stem(path: str) -> str:
    """A file's name without folders and its last extension."""
    return os.path.splitext(os.path.basename(path))[0]
