"""The formats that predictions are written in: the modules of ``ranktag.tags.writers``.

What a format writes follows from the function that its module holds:

    write         one file of text, or what is printed
    write_file    one file of another kind
    write_folder  a folder of files, the module's ``FILES``, that are replaced together
    write_beside  a file beside each photo
"""

from __future__ import annotations

import os
import typing
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from ranktag import registry
from ranktag.config import Config
from ranktag.errors import RanktagError
from ranktag.files.atomic import refuse_existing
from ranktag.tags.predictions import WRITERS

KINDS = ("write", "write_file", "write_folder", "write_beside")


class Format(NamedTuple):
    """What is known of a format before anything is written.

    settings: its settings class; None if it has none. files: patterns of the files of a folder. photos: whether
    it makes use of the photos' folder. check: is given the settings, before anything is computed.
    """

    name: str
    kind: str
    function: Callable[..., None]
    settings: type[Config] | None
    files: tuple[str, ...]
    photos: bool
    check: Callable[..., None] | None

    @classmethod
    def of(cls, name: str) -> Format:
        """A module of ``ranktag.tags.writers``. Raises ValueError if there is none of that name."""
        module = registry.load(WRITERS, name)
        kind = next(kind for kind in KINDS if hasattr(module, kind))
        function = getattr(module, kind)
        # A format without settings need not annotate what it is given.
        settings = typing.get_type_hints(function).get("config") if hasattr(function, "__annotations__") else None
        photos = kind == "write_beside" or getattr(module, "PHOTOS", False)
        files = tuple(getattr(module, "FILES", ()))
        return cls(name, kind, function, settings, files, photos, getattr(module, "check", None))

    def refuse_place(self, path: Path | None, photos: Path | None, overwrite: bool, update: bool) -> None:
        """Raise RanktagError for a path or photos that it cannot write to or has no use for, and for what is there.

        What is there may be replaced (``overwrite``) or brought up to date (``update``).
        """
        if photos is not None and not self.photos:
            raise RanktagError(f"--format {self.name}: makes no use of --photos; leave it out")
        if photos is not None and not photos.is_dir():
            raise RanktagError(f"{photos}: no such folder; name the folder that the image ids are paths below")
        if path is None:
            if self.kind in ("write_file", "write_folder"):
                what = "file" if self.kind == "write_file" else "folder"
                raise RanktagError(f"--format {self.name}: writes a {what}; name it with -o")
        elif self.kind in ("write", "write_file"):
            refuse_existing(path, overwrite or update)
        elif os.path.lexists(path) and not path.is_dir():
            raise RanktagError(f"{path}: is a file, --format {self.name} writes a folder; name another with -o")
        elif not overwrite:
            for there in (found for pattern in self.files for found in path.glob(pattern)):
                refuse_existing(there, overwrite=False)
