"""The files of an image list as they are now: how large, of what time, what is in them."""

from __future__ import annotations

import hashlib
import os
import stat

import numpy as np
import numpy.typing as npt

from ranktag.feature_cache.file_states import UNKNOWN, FileStates
from ranktag.images.listing import ImageList


def stat_files(images: ImageList) -> FileStates:
    """Size and time of every file of the list; no file is opened. Digests are left empty."""
    states = FileStates.unknown(len(images))
    for number in range(len(images)):
        try:
            found = os.stat(images.path(number))
        except (OSError, ValueError):
            states.size[number] = states.mtime_ns[number] = UNKNOWN
        else:
            states.size[number], states.mtime_ns[number] = found.st_size, found.st_mtime_ns
    return states


def file_sha256(path: bytes) -> str:
    """Hexadecimal SHA-256 of a file's bytes; '' for what is no regular file or cannot be read."""
    digest = hashlib.sha256()
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):
            return ""
        with open(path, "rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
    except OSError:
        return ""
    return digest.hexdigest()


def picked(images: ImageList, rows: npt.NDArray[np.int64]) -> ImageList:
    """The images of the given numbers, as a list of their own."""
    numbers = rows.tolist()
    return ImageList.of(images.folder, [images.ids[n] for n in numbers], [images.path(n) for n in numbers])
