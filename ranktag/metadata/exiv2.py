"""The library exiv2 (extra ``xmp``), ready for use.

It is C++ that reads whatever a file holds, so the commands call what is here in a process apart
(``ranktag.files.isolation.Apart``).
"""

from __future__ import annotations

import functools
import importlib
from types import ModuleType

from ranktag.errors import RanktagError

NAMESPACE = "urn:x-ranktag:xmp/1.0/"
"""Of the properties in which ranktag records what it wrote (see ``ranktag.metadata.ranked``)."""


class Damaged(Exception):
    """The metadata of one file cannot be used; the message says why."""


def need_exiv2() -> None:
    """Raise RanktagError, naming the pip command, if exiv2 is not installed."""
    try:
        importlib.import_module("exiv2")
    except ImportError:
        raise RanktagError(
            "keywords in photos and sidecars need the package exiv2, which is not installed; pip install 'ranktag[xmp]'"
        ) from None


@functools.cache
def exiv2() -> ModuleType:
    """The library: silent, and knowing ranktag's own namespace."""
    need_exiv2()
    library = importlib.import_module("exiv2")
    library.LogMsg.setLevel(library.LogMsg.Level.mute)
    library.XmpParser.initialize()
    library.XmpProperties.registerNs(NAMESPACE, "ranktag")
    return library
