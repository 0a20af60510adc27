"""The bytes of photos that are no files of their own: objects, members of tars, rows of Parquet files.

Each process opens what it reads. Nothing is kept open but the Parquet file that was read last.
"""

from __future__ import annotations

import os
import tarfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from ranktag.files.locations import Within, is_file, within
from ranktag.files.parquet_rows import NoBytes, bytes_of_row
from ranktag.files.remote import NotAnswered, Range, read, read_all
from ranktag.urls import is_url

BLOCK = tarfile.BLOCKSIZE

# Members of a tar at a URL that lie closer together are asked for in one piece, of no more bytes than that.
GAP, PIECE = 1 << 17, 1 << 26


class NoContent(Exception):
    """Why there are no bytes to be read where a photo should be; one line."""


_ahead: dict[bytes, bytes] = {}


def content_of(location: bytes) -> bytes:
    """The bytes of a photo that is no file of its own; asked for once.

    Raises NoContent, and NotAnswered where the disk, the network or the tar as a whole does not give them.
    """
    if location in _ahead:
        return _ahead[location]
    photo = within(location)
    try:
        if photo is None:
            return read(os.fsdecode(location))
        if photo.size is None:
            return bytes_of_row(photo.archive, photo.start)
        return _member(photo)
    except FileNotFoundError as error:
        if photo is not None:
            raise NotAnswered(f"{photo.archive} is not there any more") from None
        raise NoContent("no such object") from error
    except NoBytes as error:
        raise NoContent(str(error)) from None


@contextmanager
def fetched(locations: Sequence[bytes]) -> Iterator[None]:
    """Within, those of the photos that are at URLs or in Parquet files have been read, at once where that is possible.

    What could not be read is tried again when it is asked for.
    """
    elsewhere = [location for location in locations if not is_file(location)]
    if elsewhere:
        _ahead.update(_read_together(elsewhere))
    try:
        yield
    finally:
        _ahead.clear()


def _read_together(locations: Sequence[bytes]) -> Iterator[tuple[bytes, bytes]]:
    """(location, bytes) of the photos that could be read."""
    photos = {location: within(location) for location in locations}
    pieces: dict[Range, list[bytes]] = {}
    for location, photo in photos.items():
        if photo is None:
            pieces[os.fsdecode(location), None, None] = [location]
    pieces |= _pieces({one: photo for one, photo in photos.items() if photo and photo.size and is_url(photo.archive)})
    for (_, start, _), found, members in zip(pieces, read_all(list(pieces)), pieces.values()):
        if isinstance(found, Exception):
            continue
        for location in members:
            photo = photos[location]
            if photo is None:
                yield location, found
            elif photo.size is not None and start is not None:
                first = photo.start - BLOCK - start
                yield location, _checked(photo, found[first : first + BLOCK + photo.size])
    for location, photo in photos.items():
        if photo is not None and photo.size is None:
            try:
                yield location, bytes_of_row(photo.archive, photo.start)
            except (NotAnswered, NoBytes, FileNotFoundError):
                continue


def _pieces(photos: Mapping[bytes, Within]) -> dict[Range, list[bytes]]:
    """The ranges that hold members of tars at URLs -> their locations."""
    pieces: dict[Range, list[bytes]] = {}
    last: tuple[str, int, int] | None = None
    for location, photo in sorted(photos.items(), key=lambda item: (item[1].archive, item[1].start)):
        assert photo.size is not None
        start, stop = photo.start - BLOCK, photo.start + photo.size
        near = last is not None and last[0] == photo.archive and start - last[2] <= GAP and stop - last[1] <= PIECE
        if last is not None and near:
            together = pieces.pop(last)
            last = (photo.archive, last[1], max(last[2], stop))
            pieces[last] = [*together, location]
        else:
            last = (photo.archive, start, stop)
            pieces[last] = [location]
    return pieces


def _member(photo: Within) -> bytes:
    assert photo.size is not None
    start, stop = photo.start - BLOCK, photo.start + photo.size
    if start < 0:
        raise NoContent("a link, or of a kind that its tar does not hold as a plain file")
    if is_url(photo.archive):
        return _checked(photo, read(photo.archive, start, stop))
    try:
        with open(photo.archive, "rb") as file:
            return _checked(photo, os.pread(file.fileno(), stop - start, start))
    except FileNotFoundError:
        raise
    except OSError as error:
        raise NotAnswered(error.strerror or str(error)) from None


def _checked(photo: Within, found: bytes) -> bytes:
    """What is behind a member's header; of a tar that has been written anew since, there is another header, or none."""
    try:
        header = tarfile.TarInfo.frombuf(found[:BLOCK], "utf-8", "surrogateescape")
    except tarfile.HeaderError:
        header = None
    if header is None or header.size != photo.size or len(found) != BLOCK + photo.size:
        raise NotAnswered(f"{photo.archive} is no longer as it was when its members were listed")
    return found[BLOCK:]
