"""The files of an image list as they are now: how large, of what time, what is in them."""

from __future__ import annotations

import hashlib
import os
import stat

import numpy as np
import numpy.typing as npt

from ranktag.feature_cache.file_states import UNKNOWN, FileStates
from ranktag.files.contents import NoContent, content_of
from ranktag.files.locations import is_file, within
from ranktag.files.remote import NotAnswered, ObjectState, states_of
from ranktag.files.tars import archive_state
from ranktag.images.listing import ImageList


def stat_files(images: ImageList) -> FileStates:
    """Size and time of every file of the list; no file is opened. Digests are left empty.

    Of a photo in a tar the size is its own and the time the tar's; of one in a Parquet file both are the file's. An
    object has in place of a time a number made of its ETag. Raises Outage where a server or a tar cannot be asked.
    """
    states = FileStates.unknown(len(images))
    elsewhere = []
    for number in range(len(images)):
        path = images.path(number)
        if not is_file(path):
            elsewhere.append(number)
            continue
        try:
            found = os.stat(path)
        except (OSError, ValueError):
            states.size[number] = states.mtime_ns[number] = UNKNOWN
        else:
            states.size[number], states.mtime_ns[number] = found.st_size, found.st_mtime_ns
    if elsewhere:
        _ask(images, elsewhere, states)
    return states


def _ask(images: ImageList, numbers: list[int], states: FileStates) -> None:
    """Fill in the states of photos that are no files of their own."""
    archives: dict[str, ObjectState] = {}
    objects: list[str] = []
    for number in numbers:
        path = images.path(number)
        photo = within(path)
        if photo is None:
            objects.append(os.fsdecode(path))
            continue
        if photo.archive not in archives:
            archives[photo.archive] = archive_state(photo.archive)
        state = archives[photo.archive]
        states.size[number] = state.size if photo.size is None else photo.size
        states.mtime_ns[number] = state.number
    found = states_of(objects)
    for number in numbers:
        there = found.get(os.fsdecode(images.path(number)))
        if there is not None:
            states.size[number], states.mtime_ns[number] = there.size, there.number


def file_sha256(path: bytes) -> str:
    """Hexadecimal SHA-256 of a file's bytes; '' for what is no regular file or cannot be read."""
    digest = hashlib.sha256()
    try:
        if not is_file(path):
            digest.update(content_of(path))
            return digest.hexdigest()
        if not stat.S_ISREG(os.stat(path).st_mode):
            return ""
        with open(path, "rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
    except (OSError, NoContent, NotAnswered):
        return ""
    return digest.hexdigest()


def picked(images: ImageList, rows: npt.NDArray[np.int64]) -> ImageList:
    """The images of the given numbers, as a list of their own."""
    numbers = rows.tolist()
    return ImageList.of(images.folder, [images.ids[n] for n in numbers], [images.path(n) for n in numbers])
