"""Files that are not on this machine's disks: objects at an fsspec URL (``s3://bucket/key``, ``https://...``).

An object is read and written in one piece. What is not there is a FileNotFoundError; whatever else a server
says, or fails to say, is no verdict on the object: it is tried again and is an outage at last. Keys and passwords
within a URL are never part of what is said or written. ``ranktag.files.mirror`` keeps copies of objects.
"""

from __future__ import annotations

import contextlib
import hashlib
import re
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from ranktag.errors import NotInstalled, Outage, RanktagError, Usage, one_line
from ranktag.files.atomic import atomic_path
from ranktag.urls import without_secrets

T = TypeVar("T")
A = TypeVar("A")

# URL, first byte, the byte behind the last.
Range = tuple[str, int | None, int | None]

# Seconds between the tries; the library that speaks to the server has tried several times before each.
WAITS = (0.5, 2.0, 8.0)

# Where an object that is put appears whole or not at all; elsewhere it is put under another name, then renamed.
OBJECT_STORES = frozenset(("s3", "s3a", "gs", "gcs", "az", "abfs", "abfss", "adl", "oss", "obs", "memory"))

# Objects asked for at once, and how many of one folder make it worth to list the folder instead.
ASKED_AT_ONCE, WORTH_LISTING = 16, 8
UNLISTED = frozenset(("http", "https"))

CREDENTIALS, MAKE_BUCKET = "check the credentials", "make the bucket or check its name"
DENIED = (401, 403)
NO_OBJECT = (404, 410)


class NotAnswered(Exception):
    """The server or the network did not give an object; one line. It says nothing about the object.

    remedy: what to do where it will not be otherwise if it is tried again; '' where it may be.
    """

    def __init__(self, reason: str, remedy: str = "") -> None:
        super().__init__(one_line(without_secrets(reason))[:200])
        self.remedy = remedy


@dataclass(frozen=True)
class ObjectState:
    """An object as it is now. size: bytes. number: made of its ETag or, without one, of its time; another when it is
    written anew."""

    size: int
    number: int


def name_in(url: str) -> str:
    """The last name of a URL."""
    return without_secrets(url).rstrip("/").rpartition("/")[2]


def read(url: str, start: int | None = None, stop: int | None = None) -> bytes:
    """The bytes of an object, or those from ``start`` to before ``stop``; asked for once.

    Raises FileNotFoundError and NotAnswered.
    """
    system, path = _system(url)
    with answers(url):
        return bytes(system.cat_file(path, start=start, end=stop))


def read_all(wanted: Sequence[Range]) -> list[bytes | Exception]:
    """The bytes of each (URL, start, stop), or what ``read`` raises, asked for together; None is an object's end."""

    def one(system: Any, path: Any, asked: Range) -> bytes | Exception:
        try:
            with answers(asked[0]):
                return bytes(system.cat_file(path, start=asked[1], end=asked[2]))
        except (FileNotFoundError, NotAnswered) as error:
            return error

    return _together(wanted, [url for url, _, _ in wanted], one)


def open_remote(url: str) -> Any:
    """An object as a file to read from, a few megabytes at a time.

    Raises FileNotFoundError and NotAnswered.
    """
    system, path = _system(url)
    with answers(url):
        return system.open(path, "rb")


def patiently(url: str, call: Callable[[], T]) -> T:
    """What ``call`` returns, tried again where it raises NotAnswered. Raises Outage at last, with the URL."""
    for wait in WAITS:
        try:
            return call()
        except NotAnswered as error:
            if error.remedy:
                raise outage(url, error) from None
            time.sleep(wait)
    try:
        return call()
    except NotAnswered as error:
        raise outage(url, error) from None


def outage(url: str, error: NotAnswered) -> Outage:
    """The error for an object that was not given."""
    remedy = error.remedy or "bring the server or the network back"
    return Outage(f"{without_secrets(url)}: {error}; what is done is kept: {remedy} and run the same command again")


def state_of(url: str) -> ObjectState | None:
    """An object as it is now; None if there is none. Raises Outage."""
    return _state_of(*_system(url), url)


def states_of(urls: Iterable[str]) -> dict[str, ObjectState | None]:
    """URL -> the object as it is now, of which several are asked for at once. Raises Outage."""
    by_folder: dict[str, list[str]] = {}
    asked = dict.fromkeys(urls)
    for url in asked:
        by_folder.setdefault(url.rpartition("/")[0], []).append(url)
    found: dict[str, ObjectState | None] = {}
    single = []
    for folder, within in by_folder.items():
        if len(within) < WORTH_LISTING or folder.partition("://")[0] in UNLISTED:
            single += within
            continue
        there = objects_in(folder)
        found |= {url: there.get(url.rpartition("/")[2]) for url in within}
    found |= zip(single, _together(single, single, _state_of))
    return {url: found[url] for url in asked}


def _state_of(system: Any, path: Any, url: str) -> ObjectState | None:
    def ask() -> ObjectState | None:
        try:
            with answers(url):
                info = system.info(path)
        except FileNotFoundError:
            return None
        return None if info["type"] == "directory" else _state(info)

    return patiently(url, ask)


def _together(items: Sequence[A], urls: Sequence[str], ask: Callable[[Any, Any, A], T]) -> list[T]:
    """``ask(system, path, item)`` of every item, which is at its URL; at once where the file system can do that."""
    places = [_system(url) for url in urls]
    threads = ASKED_AT_ONCE if all(getattr(system, "async_impl", False) for system, _ in places) else 1
    if threads == 1 or len(items) <= 1:
        return [ask(system, path, item) for (system, path), item in zip(places, items)]
    with ThreadPoolExecutor(min(threads, len(items))) as pool:
        return list(pool.map(lambda number: ask(*places[number], items[number]), range(len(items))))


def objects_in(folder: str) -> dict[str, ObjectState]:
    """Name -> state of the objects directly below a URL; none where it is not there. Raises Outage."""
    system, path = _system(folder)

    def ask() -> dict[str, ObjectState]:
        try:
            with answers(folder):
                listed = system.ls(path, detail=True)
        except FileNotFoundError:
            return {}
        below = {str(entry["name"]).rstrip("/"): entry for entry in listed if entry["type"] == "file"}
        # What is no folder, but an object, lists itself.
        below.pop(str(path).rstrip("/"), None)
        return {name.rpartition("/")[2]: _state(entry) for name, entry in below.items()}

    return patiently(folder, ask)


def fetch(url: str, path: Path) -> None:
    """Copy an object to ``path``, which appears whole or not at all.

    Raises Outage, FileNotFoundError, and OSError of the disk.
    """
    with atomic_path(path) as temporary, open(temporary, "wb") as file:

        def copy() -> None:
            file.seek(0)
            file.truncate()
            with open_remote(url) as remote:
                while block := _block(url, remote):
                    file.write(block)
                if (size := getattr(remote, "size", None)) and file.tell() != size:
                    raise NotAnswered(f"gave {file.tell():,} of {size:,} bytes")

        patiently(url, copy)


def _block(url: str, remote: Any) -> bytes:
    with answers(url):
        return bytes(remote.read(1 << 22))


def put(path: Path, url: str) -> ObjectState:
    """Copy a file to ``url`` in one piece, and return the object's state. Raises Outage, also if it arrives cut short.

    Until it is there as a whole, what was there stays.
    """
    system, target = _system(url)
    folder, _, name = str(target).rpartition("/")
    size = path.stat().st_size

    def copy() -> ObjectState:
        with answers(url):
            if url.partition("://")[0] in OBJECT_STORES:
                system.put_file(str(path), target)
            else:
                system.makedirs(folder, exist_ok=True)
                temporary = f"{folder}/.{name}.{uuid.uuid4().hex[:8]}.tmp"
                system.put_file(str(path), temporary)
                system.mv(temporary, target)
            system.invalidate_cache()
            state = _state(system.info(target))
        if state.size != size:
            raise NotAnswered(f"holds {state.size:,} bytes of the {size:,} that were put there")
        return state

    try:
        return patiently(url, copy)
    except FileNotFoundError:
        raise outage(url, NotAnswered("no such bucket or folder", MAKE_BUCKET)) from None


def remove(url: str) -> None:
    """Remove an object; it need not be there. Raises Outage."""
    system, path = _system(url)

    def ask() -> None:
        with contextlib.suppress(FileNotFoundError), answers(url):
            system.rm_file(path)

    patiently(url, ask)


def _system(url: str) -> tuple[Any, Any]:
    """The file system that an URL is of, of this process, and the path in it. Nothing it has seen before counts."""
    try:
        import fsspec

        system, path = fsspec.core.url_to_fs(url)
    except ImportError as error:
        package = re.search(r"[Ii]nstall '?([a-z0-9_-]+)", str(error))
        more = f", and {package[1]}" if package and package[1] != "fsspec" else ""
        raise NotInstalled(
            f"{without_secrets(url)}: a URL needs the package fsspec{more}; pip install 'ranktag[remote]'{more}"
        ) from None
    except ValueError as error:
        raise Usage(
            f"{without_secrets(url)}: is at no kind of place that fsspec knows ({without_secrets(str(error))[:80]}); "
            "check the URL's beginning"
        ) from None
    system.invalidate_cache()
    return system, path


@contextlib.contextmanager
def answers(url: str) -> Iterator[None]:
    """Whatever the libraries raise becomes FileNotFoundError or NotAnswered; ours and the disk's stay."""
    try:
        yield
    except (NotAnswered, RanktagError, MemoryError):
        raise
    except FileNotFoundError as error:
        # Some say so whatever the server said, and where there is no bucket, which is no object's fault.
        cause = error.__cause__
        status = None if cause is None else _status(cause)
        missing = cause is None or isinstance(cause, (FileNotFoundError, KeyError)) or status in NO_OBJECT
        if missing and not _no_bucket(cause):
            raise FileNotFoundError(without_secrets(url)) from None
        assert cause is not None
        raise NotAnswered(_reason(cause), _remedy(cause)) from None
    except Exception as error:  # noqa: BLE001 (each library of fsspec's raises its own)
        status = _status(error)
        if status in NO_OBJECT:
            raise FileNotFoundError(without_secrets(url)) from None
        if isinstance(error, NotImplementedError):
            raise NotAnswered("this kind of place cannot do that", "choose another place") from None
        remedy = _remedy(error)
        raise NotAnswered("access denied" if remedy == CREDENTIALS else _reason(error), remedy) from None


def _remedy(error: BaseException) -> str:
    """What to do where it is no use to try again."""
    if _no_bucket(error):
        return MAKE_BUCKET
    denied = _status(error) in DENIED or isinstance(error, PermissionError) or "Credential" in type(error).__name__
    return CREDENTIALS if denied else ""


def _no_bucket(cause: BaseException | None) -> bool:
    return type(cause).__name__ == "NoSuchBucket"


def _status(error: BaseException) -> int | None:
    """What an HTTP server answered, if that is what the error is about."""
    for one in (error, error.__cause__):
        status = getattr(one, "status", None)
        if isinstance(status, int):
            return status
        response = getattr(one, "response", None)
        if isinstance(response, Mapping):
            found = response.get("ResponseMetadata", {}).get("HTTPStatusCode")
            return int(found) if found else None
    return None


def _reason(error: BaseException) -> str:
    """What it says, in a few words."""
    if _no_bucket(error):
        return "no such bucket"
    status = _status(error)
    if isinstance(error, OSError) and error.strerror:
        words = error.strerror
    else:
        words = str(getattr(error, "message", "")) or str(error) or type(error).__name__
    return f"{status} {words}" if status and str(status) not in words else words


def _state(info: Mapping[str, Any]) -> ObjectState:
    """An object's state of what its file system says of it."""
    marks = ("ETag", "etag", "md5Hash", "content_md5", "ContentMD5", "LastModified", "last_modified", "mtime")
    mark = next((info[name] for name in (*marks, "updated", "created") if info.get(name)), "")
    number = int.from_bytes(hashlib.sha256(str(mark).encode()).digest()[:7], "big")
    return ObjectState(int(info.get("size") or 0), number)
