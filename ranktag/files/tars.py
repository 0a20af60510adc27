"""Tars of photos: which members they hold, and at which bytes, so that one is read without those before it.

What is found is kept in the user's cache folder, as it takes a look at all of the tar, and looked up there as long
as the tar has the same size and time (an object: the same ETag).
"""

from __future__ import annotations

import hashlib
import json
import os
import tarfile
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ranktag.errors import NotFound, Outage, RanktagError, unreadable
from ranktag.files.atomic import atomic_text
from ranktag.files.remote import (
    NotAnswered,
    ObjectState,
    answers,
    open_remote,
    outage,
    patiently,
    state_of,
)
from ranktag.files.user_cache import cache_folder, long_unused, note_use
from ranktag.urls import is_url, without_secrets

COMPRESSED = (".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tbz", ".tar.xz", ".txz", ".tar.zst", ".tzst", ".tar.lz4")
COMPRESSED_HEADS = (b"\x1f\x8b", b"BZh", b"\xfd7zXZ", b"\x28\xb5\x2f\xfd")
VERSION = 1
COPY_AGAIN = "copy or make it again"


@dataclass(frozen=True)
class TarMember:
    """name: without './' in front, bytes that are not UTF-8 as surrogates. start, size: bytes of the tar; a start of 0:
    a link to what is not in it, or a kind that is not stored as plain bytes."""

    name: str
    start: int
    size: int


def archive_state(archive: str) -> ObjectState:
    """A tar, or another file with photos in it, as it is now. Raises RanktagError if it is not there, and Outage."""
    if is_url(archive):
        state = state_of(archive)
        if state is None:
            raise NotFound(f"{without_secrets(archive)}: no such object; check the URL")
        return state
    try:
        found = os.stat(archive)
    except OSError as error:
        raise unreadable(archive, error, "check the path") from None
    return ObjectState(found.st_size, found.st_mtime_ns)


def refuse_compressed(archive: str, head: bytes = b"") -> None:
    """Raise RanktagError for a tar that is compressed, as its name or its first bytes say."""
    if without_secrets(archive).lower().endswith(COMPRESSED) or head.startswith(COMPRESSED_HEADS):
        raise RanktagError(
            f"{without_secrets(archive)}: is compressed as a whole, and no photo can be read without those before it; "
            "decompress it to a .tar (photos are compressed already, it will hardly be larger)"
        )


def members_of(tar: str) -> list[TarMember]:
    """The files in a tar, a path or a URL, in its order.

    Raises RanktagError if it is not there or compressed, Outage if it cannot be read to its end.
    """
    refuse_compressed(tar)
    state = archive_state(tar)
    name = hashlib.sha256(os.fsencode(tar if is_url(tar) else os.path.abspath(tar))).hexdigest()[:32]
    index = cache_folder() / "tars" / f"{name}.json"
    members = _kept(index, state)
    if members is None:
        members = _found(tar)
        if archive_state(tar) != state:
            raise Outage(f"{without_secrets(tar)}: is being written; wait until it is whole, then run the same again")
        _keep(index, state, members)
    else:
        note_use(index)
    return members


def _kept(index: Path, state: ObjectState) -> list[TarMember] | None:
    """What is kept of a tar of that state; None if nothing is, or it cannot be read."""
    with suppress(OSError, ValueError, KeyError, TypeError):
        kept = json.loads(index.read_text(encoding="utf-8"))
        if [kept["version"], kept["size"], kept["number"]] == [VERSION, state.size, state.number]:
            return [TarMember(str(name), int(start), int(size)) for name, start, size in kept["members"]]
    return None


def _keep(index: Path, state: ObjectState, members: Sequence[TarMember]) -> None:
    # A cache folder that cannot be written costs time, and no result.
    with suppress(OSError), atomic_text(index) as file:
        found = [(member.name, member.start, member.size) for member in members]
        json.dump({"version": VERSION, "size": state.size, "number": state.number, "members": found}, file)
    for unused in long_unused(index.parent, "*.json"):
        with suppress(OSError):
            unused.unlink()


def _found(tar: str) -> list[TarMember]:
    """What all of the tar says."""
    if is_url(tar):

        def ask() -> list[TarMember]:
            with answers(tar), open_remote(tar) as file:
                return _read(tar, file)

        return patiently(tar, ask)
    try:
        with open(tar, "rb") as file:
            return _read(tar, file)
    except NotAnswered as error:
        raise outage(tar, error) from None
    except OSError as error:
        raise unreadable(tar, error, "bring the disk back or check its permissions") from None


def _read(tar: str, file: Any) -> list[TarMember]:
    refuse_compressed(tar, file.read(8))
    file.seek(0)
    try:
        with tarfile.open(fileobj=file, mode="r:", encoding="utf-8", errors="surrogateescape") as opened:
            infos = list(opened)
            # It ends silently at whatever is no header: at a block of zeros, or where it is damaged or cut short.
            file.seek(opened.offset)
            if file.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
                raise tarfile.ReadError("no end of a tar where its last member ends")
    except tarfile.TarError as error:
        raise NotAnswered(f"is no whole tar: cut short or damaged ({error})", COPY_AGAIN) from None
    return _members(infos)


def _members(infos: Sequence[tarfile.TarInfo]) -> list[TarMember]:
    """The files, and the links with what they link to."""
    places: dict[str, tuple[int, int]] = {}
    links: list[tuple[int, str]] = []
    members: list[TarMember] = []
    for info in infos:
        name = _plain(info.name)
        if info.isdir():
            continue
        place = (info.offset_data, info.size) if info.isreg() and not info.issparse() else (0, 0)
        if info.issym() or info.islnk():
            target = info.linkname if info.islnk() else os.path.join(os.path.dirname(name), info.linkname)
            links.append((len(members), _plain(os.path.normpath(target))))
        else:
            places[name] = place
        members.append(TarMember(name, *place))
    for number, target in links:
        members[number] = TarMember(members[number].name, *places.get(target, (0, 0)))
    return members


def _plain(name: str) -> str:
    return os.path.normpath(name).lstrip("/")
