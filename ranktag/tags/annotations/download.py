"""Data sets that ``ranktag prepare --download`` fetches, by torchvision's own data set classes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from ranktag.errors import Outage

SILENCE = 60.0
"""Seconds a server may be silent; torchvision sets no limit and would wait for ever."""


class DataSet(NamedTuple):
    """A data set that can be fetched.

    title: its name in a sentence. fetch: puts it into a folder and returns the folder
    of its annotations. reader: the format they are in, as ``ranktag prepare`` calls
    it. photos: the folder of the photos, below that of the annotations.
    """

    title: str
    fetch: Callable[[Path], Path]
    reader: str
    photos: str


def fetch_voc2007(folder: Path) -> Path:
    """Fetch PASCAL VOC 2007, train, val and test (880 MB): its folder ``VOCdevkit/VOC2007`` below ``folder``.

    The archives are checked by MD5, unpacked, and stay in ``folder``; whole ones that
    are there already are not fetched again.

    Raises RanktagError, naming the URL, if an archive cannot be had.
    """
    import http.client
    import socket
    import tarfile

    from torchvision.datasets import VOCDetection, voc

    known = socket.getdefaulttimeout()
    for image_set, key in (("trainval", "2007"), ("test", "2007-test")):
        url = voc.DATASET_YEAR_DICT[key]["url"]
        try:
            socket.setdefaulttimeout(SILENCE)
            VOCDetection(folder, year="2007", image_set=image_set, download=True)
        except (OSError, RuntimeError, tarfile.TarError, http.client.HTTPException, EOFError) as error:
            raise Outage(
                f"{url}: cannot be fetched ({error}); "
                f"fetch it some other way, unpack it into {folder} and run 'ranktag prepare voc {folder}'"
            ) from None
        finally:
            socket.setdefaulttimeout(known)
    return Path(folder) / "VOCdevkit" / "VOC2007"


DATA_SETS = {"voc2007": DataSet("PASCAL VOC 2007", fetch_voc2007, "voc", "JPEGImages")}
