"""A copy, on this machine, of a cache that is at a URL: HDF5 needs a file, and what is written is verified before it
is put there.

The copy of ``s3://bucket/NAME.h5`` lies in the user's cache folder, with its folder of shards beside it. The
objects are what counts: an object that is there is whole, as it appears in one piece, and what is no longer there
is no longer in the copy. ``objects.jsonl`` beside the copy says of which object each file is, so that only what
differs is fetched. A copy that was not used for a month goes when another is looked for, unless it holds what could
not be put.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path

from ranktag.files.remote import ObjectState, fetch, name_in, objects_in, put, remove, state_of
from ranktag.files.user_cache import cache_folder, long_unused, note_use
from ranktag.progress import Progress
from ranktag.urls import without_secrets

LEDGER = "objects.jsonl"

# Object's size and number, file's size and time.
Entry = tuple[int, int, int, int]


class Mirror:
    """The copy of an object, and of the folder beside it that has its name with ``.shards``.

    path: where the object's copy is, or will be. shown: the URL, without secrets.
    """

    def __init__(self, url: str) -> None:
        self._url, self.shown = url.rstrip("/"), without_secrets(url.rstrip("/"))
        digest = hashlib.sha256(self._url.encode()).hexdigest()[:16]
        self._copies = cache_folder() / "copies"
        self._folder = self._copies / digest
        self.path = self._folder / name_in(self._url)
        self._ledger = self._folder / LEDGER

    def pull(self, *, only_the_object: bool = False, progress: Progress | None = None) -> None:
        """Make the copy what is there now. Files that were never put there stay.

        only_the_object: the shards beside it are left out where the object is there. Raises Outage.
        """
        note_use(self._ledger)
        _remove_unused(self._copies)
        there = self._there(only_the_object)
        known = _entries(self._ledger)
        for name in known:
            if name not in there:
                (self._folder / name).unlink(missing_ok=True)
                self._note(name, None)
        missing = [n for n, state in there.items() if n not in known or known[n] != self._entry(n, state)]
        for name in (progress or Progress()).over(missing, "Fetching", len(missing), "files"):
            path = self._folder / name
            # It may have gone in the meantime.
            with suppress(FileNotFoundError):
                fetch(self._url_of(name), path)
                self._note(name, there[name])

    def put(self, path: Path) -> None:
        """Put a file of the copy, which is whole, to where it belongs. Raises Outage."""
        name = path.relative_to(self._folder).as_posix()
        self._note(name, put(path, self._url_of(name)))

    def push(self, paths: Iterable[Path]) -> None:
        """Put those of the files that are not there yet, then remove there what is gone here. Raises Outage."""
        known = _entries(self._ledger)
        for path in paths:
            name = path.relative_to(self._folder).as_posix()
            entry = known.get(name)
            if entry is None or entry[2:] != _stamp(path):
                self.put(path)
        for name in known:
            if not (self._folder / name).exists():
                remove(self._url_of(name))
                self._note(name, None)

    def _there(self, only_the_object: bool) -> dict[str, ObjectState]:
        """Name below the copy's folder -> state, of every object."""
        there = {}
        state = state_of(self._url)
        if state is not None:
            there[self.path.name] = state
            if only_the_object:
                return there
        for folder in (self.path.name, f"{self.path.name}.shards"):
            url = self._url_of(folder)
            there |= {f"{folder}/{name}": found for name, found in objects_in(url).items() if name.endswith(".h5")}
        return there

    def _url_of(self, name: str) -> str:
        """The URL of a name below the copy's folder."""
        return f"{self._url.rpartition('/')[0]}/{name}"

    def _entry(self, name: str, state: ObjectState) -> Entry | None:
        stamp = _stamp(self._folder / name)
        return None if stamp is None else (state.size, state.number, *stamp)

    def _note(self, name: str, state: ObjectState | None) -> None:
        """Write down of which object a file of the copy is; None: of none any more."""
        entry = None if state is None else self._entry(name, state)
        self._folder.mkdir(parents=True, exist_ok=True)
        with open(self._ledger, "a", encoding="utf-8") as file:
            # A newline first: what a killed process has cut short must not spoil it.
            file.write("\n" + json.dumps({"name": name, "entry": entry}) + "\n")


def local_copy(url: str, progress: Progress | None = None) -> Path:
    """The path of a copy of a cache, or of a folder of its shards, that is at ``url``; only what differs is fetched.

    Where there is no such object but shards of one, their folder is beside the path that is returned, as the shards
    are beside the URL. Raises Outage; what is not there at all is for the reader of the path to say.
    """
    mirror = Mirror(url)
    mirror.pull(only_the_object=True, progress=progress)
    return mirror.path


def _entries(ledger: Path) -> dict[str, Entry]:
    """Name -> what is written down of it."""
    known: dict[str, Entry] = {}
    with suppress(FileNotFoundError):
        for line in ledger.read_text(encoding="utf-8").splitlines():
            # A line that a killed process has cut short is as good as none.
            with suppress(ValueError, TypeError, KeyError):
                found = json.loads(line)
                name, entry = str(found["name"]), found["entry"]
                if entry is None:
                    known.pop(name, None)
                else:
                    size, number, local_size, mtime_ns = map(int, entry)
                    known[name] = (size, number, local_size, mtime_ns)
    return known


def _remove_unused(copies: Path) -> None:
    """Remove the copies that were not used for long, but for those with files that were never put."""
    for ledger in long_unused(copies, f"*/{LEDGER}"):
        folder = ledger.parent
        # Whoever looks for one from now on makes another, instead of finding half of it.
        with suppress(OSError):
            if _is_elsewhere(folder, _entries(ledger)):
                folder.rename(folder.with_name(f".{folder.name}.gone"))
    for gone in copies.glob(".*.gone"):
        shutil.rmtree(gone, ignore_errors=True)


def _is_elsewhere(folder: Path, known: Mapping[str, Entry]) -> bool:
    """Whether every file of a copy is as an object was when it was put or fetched."""
    entries = {path: known.get(path.relative_to(folder).as_posix()) for path in folder.rglob("*.h5")}
    return all(entry is not None and entry[2:] == _stamp(path) for path, entry in entries.items())


def _stamp(path: Path) -> tuple[int, int] | None:
    """Size and time of a file; None if it is not there."""
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    return found.st_size, found.st_mtime_ns
