"""Image lists of tars and of Parquet files, on this machine's disks or at URLs."""

from __future__ import annotations

import glob
import itertools
import os
import re
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from ranktag.errors import NotFound, RanktagError, Usage
from ranktag.files.locations import Within, shown
from ranktag.files.parquet_rows import listed_rows
from ranktag.files.photos import LeftOut, id_of, photos_among
from ranktag.files.remote import name_in
from ranktag.files.tars import members_of, refuse_compressed
from ranktag.progress import Progress
from ranktag.urls import is_url, without_secrets

# (image_id, key or '' where there is none, location) of every photo.
Found = tuple[str, str, bytes]

# Archives that are looked through at once.
AT_ONCE = 8

# WebDataset's key: the name to its first dot.
KEY = re.compile(r"((?:.*/|)[^.]+)[.][^/]*")


def archives_named(source: str | Path) -> list[str]:
    """The tars or Parquet files that IMAGES names, in order; [] if it names none.

    ``photos-{00000..00099}.tar`` stands for a hundred, ``{a,b}.tar`` for two. Raises RanktagError: tars and Parquet
    files in one, compressed tars, one that is not there.
    """
    text = os.fspath(source)
    refuse_compressed(text)
    names = [text] if not is_url(text) and os.path.lexists(text) else list(expanded(text))
    kinds = {_kind(name) for name in names}
    if kinds <= {""}:
        return []
    if len(kinds) > 1:
        raise Usage(f"{without_secrets(text)}: names files of several kinds; give tars, or Parquet files")
    if any(os.path.isdir(name) for name in names):
        return []
    for name in names:
        if not is_url(name) and not os.path.exists(name):
            raise NotFound(f"{name}: no such file{_hint(text, name)}; check the path")
    return names


def list_archives(archives: Sequence[str], *, by_key: bool, progress: Progress) -> tuple[list[Found], list[str]]:
    """The photos of all archives, in their order, and a sentence for each kind of files that are left out.

    by_key: whether all need keys. Raises RanktagError as ``members_of`` and ``listed_rows``, and for no photo.
    """
    read: Callable[[str], list[tuple[str, Within]]] = _of_tar if _kind(archives[0]) == ".tar" else _of_parquet
    what = f"{without_secrets(archives[0])}{f' and {len(archives) - 1:,} more' if len(archives) > 1 else ''}"
    left_out = LeftOut(what)
    found: list[Found] = []
    with ThreadPoolExecutor(min(AT_ONCE, len(archives))) as pool:
        all_photos = progress.over(pool.map(read, archives), "Looking through", len(archives), "files")
        for archive, photos in zip(archives, all_photos):
            names = [id_of(photo.name) for _, photo in photos]
            places = range(len(photos)) if read is _of_parquet else photos_among(names, left_out)
            found += [
                (photos[n][0] or f"{name_in(archive)}/{names[n]}", _key(names[n]), photos[n][1].to_bytes())
                for n in places
            ]
    if not found:
        raise RanktagError(f"{what}: no photo in it{left_out.hint()}; name the tars of the photos")
    if by_key and (without := next((location for _, key, location in found if not key), None)) is not None:
        raise RanktagError(f"{shown(without)}: has no name with an ending, and so no key; leave --id-from key out")
    return found, left_out.sentences()


def expanded(text: str) -> Iterator[str]:
    """What a name with braces stands for, as WebDataset and shells read it: {a,b}, and {08..11}, with its zeros."""
    parts = re.split(r"\{([^{}]*)\}", text)
    choices = [_choices(part) if number % 2 else [part] for number, part in enumerate(parts)]
    return ("".join(chosen) for chosen in itertools.product(*choices))


def _choices(inner: str) -> list[str]:
    match = re.fullmatch(r"(\d+)\.\.(\d+)", inner)
    if match is None:
        return inner.split(",") if "," in inner else [f"{{{inner}}}"]
    first, last = int(match[1]), int(match[2])
    width = max(map(len, match.groups())) if any(part.startswith("0") and part != "0" for part in match.groups()) else 0
    step = 1 if first <= last else -1
    return [f"{number:0{width}}" for number in range(first, last + step, step)]


def _kind(name: str) -> str:
    ending = os.path.splitext(without_secrets(name))[1].lower()
    return ending if ending in (".tar", ".parquet") else ""


def _hint(text: str, name: str) -> str:
    """What is there instead, for a set that is not all there."""
    if text == name:
        return ""
    there = len(glob.glob(re.sub(r"\\?\{[^{}]*\\?\}", "*", glob.escape(text))))
    return f" (of {text}, {there:,} are there)"


def _key(name: str) -> str:
    match = KEY.fullmatch(name)
    return match[1] if match else ""


def _of_tar(archive: str) -> list[tuple[str, Within]]:
    return [("", Within(archive, os.fsencode(m.name), m.start, m.size)) for m in members_of(archive)]


def _of_parquet(archive: str) -> list[tuple[str, Within]]:
    return [
        (image_id, Within(archive, os.fsencode(name or str(row)), row, None))
        for row, (image_id, name) in enumerate(listed_rows(archive))
    ]
