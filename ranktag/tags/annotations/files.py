"""Annotation files: found, and read so that one broken file never stops the others."""

from __future__ import annotations

import functools
import importlib
import json
import os
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from ranktag.errors import NotFound, NotInstalled, RanktagError, Usage, unreadable
from ranktag.files.photos import is_hidden
from ranktag.files.text import open_text


class BrokenFile(Exception):
    """One file that cannot be used; the message says why. It is listed and skipped, the others are read."""


def need(module: str, purpose: str) -> ModuleType:
    """Import a module of the extra ``datasets``.

    Raises RanktagError, naming the pip command, where it is not installed.
    """
    try:
        return importlib.import_module(module)
    except ImportError:
        package = module.split(".")[0]
        raise NotInstalled(
            f"{purpose} needs the package {package}, which is not installed; pip install 'ranktag[datasets]'"
        ) from None


def files_below(source: Path, suffix: str, without: Sequence[str] = ()) -> tuple[Path, list[Path], int]:
    """(folder, files, left out): the files below ``source`` whose names end in ``suffix``, in sorted order.

    ``source`` may be one such file; ``folder`` is then the one it lies in. Folders
    named in ``without`` are not entered; the number of files in them is given. Hidden
    files and folders, and what systems and archives lay beside others (``._x.xml``,
    ``.ipynb_checkpoints``, ``__MACOSX``), are left out uncounted.

    Raises RanktagError if there is no such file.
    """
    source = Path(source)
    if source.is_file():
        return source.parent, [source], 0
    if not source.is_dir():
        raise NotFound(f"{source}: no such file or folder; check the path")
    everything = []
    for folder, folders, names in os.walk(source, onerror=_unreadable):
        folders[:] = [name for name in folders if not is_hidden(name)]
        everything += [Path(folder, name) for name in names if name.lower().endswith(suffix) and not is_hidden(name)]
    files = sorted(path for path in everything if not set(path.relative_to(source).parts[:-1]) & set(without))
    if not files:
        left_out = f" outside of {', '.join(without)} folders" if everything else ""
        raise NotFound(f"{source}: holds no *{suffix} file{left_out}; name the folder of the annotations")
    return source, files, len(everything) - len(files)


_COPY = re.compile(r"(.+?)(?: ?\(\d+\)| - (?:Copy|Kopie)(?: \(\d+\))?| copy(?: \d+)?|~)")


def refuse_copy(path: Path, named: str) -> None:
    """Raise BrokenFile if a file is called as a copy, ``a (1).xml``, lies beside ``a.xml``, and is of that's image.

    named: the image that the file says it is of.
    """
    match = _COPY.fullmatch(path.stem)
    if match and os.path.splitext(os.path.basename(named))[0] == match[1]:
        original = path.with_name(match[1] + path.suffix)
        if original.is_file():
            raise BrokenFile(f"is a copy of {original.name}, of the same image; remove one")


def _unreadable(error: OSError) -> None:
    raise unreadable(error.filename, error, "check its permissions")


def read_bytes(path: Path) -> bytes:
    """Contents of a file. Raises BrokenFile if it cannot be read or is empty."""
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise BrokenFile(f"cannot be read ({error.strerror})") from None
    if not data.strip(b"\0\t\n\r "):
        raise BrokenFile("is empty")
    return data


def read_json(path: Path, each: Callable[[dict[str, Any]], Any] | None = None, *, keys_once: bool = False) -> Any:
    """A JSON file's value. each: what every object in it is replaced by, so that what is large need not be kept.
    keys_once: an object that holds a key twice is refused, where the last is taken else.

    Raises BrokenFile.
    """
    try:
        return json.loads(read_bytes(path), object_hook=each, object_pairs_hook=_keys_once if keys_once else None)
    except RecursionError:
        raise BrokenFile("is nested too deeply") from None
    except ValueError as error:
        raise BrokenFile(f"is not JSON ({error})") from None


def _keys_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content = dict(pairs)
    if len(content) < len(pairs):
        twice = next(key for key, count in Counter(key for key, _ in pairs).items() if count > 1)
        raise BrokenFile(f"holds '{twice[:60]}' twice in one object, so what is of it cannot be told")
    return content


def read_lines(path: Path, remedy: str = "save it as UTF-8") -> Iterator[tuple[int, str]]:
    """(number from 1, line) of a text file (see ``ranktag.files.text`` for its encodings).

    Raises RanktagError, with ``remedy`` where the file is no text.
    """
    try:
        file = open_text(path)
    except RanktagError as error:
        raise type(error)(f"{error}; {remedy}" if "is not UTF-8" in str(error) else str(error)) from None
    with file:
        yield from enumerate(file, 1)


def number(text: object) -> float | None:
    """A finite number, from text or JSON; None for anything else."""
    if isinstance(text, bool) or not isinstance(text, (str, int, float)):
        return None
    try:
        value = float(text)
    except (ValueError, OverflowError):
        return None
    return value if abs(value) < float("inf") else None


def cell_separator(text: str, option: str) -> str:
    """The separator of a CSV file, as ``option`` names it: one character, or the word tab. Raises RanktagError."""
    separator = "\t" if text in ("tab", "\\t") else text
    if len(separator) != 1 or separator in '"\r\n\0':
        raise Usage(
            f"{option}: '{separator}' is not one character (or the word tab) that can stand between cells; "
            "name such a one"
        )
    return separator


@functools.lru_cache(maxsize=1)
def image_suffixes() -> tuple[str, ...]:
    """Extensions of image files in lower case, the usual ones first."""
    from PIL import Image

    usual = (".jpg", ".jpeg", ".png")
    return (*usual, *sorted(set(Image.registered_extensions()) - set(usual)))


def is_image_name(name: str) -> bool:
    """Whether the file extension is one of an image format."""
    return os.path.splitext(name)[1].lower() in image_suffixes()


def split_in_name(path: Path) -> str | None:
    """'train', 'val' or 'test' if that word, or validation, is in the file's name (``captions_val2017.json``)."""
    words = set(re.findall(r"(?<![a-z])(train|val|test)(?:idation)?(?![a-z])", path.stem.lower()))
    return words.pop() if len(words) == 1 else None
