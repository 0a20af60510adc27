"""Text files as other programs save them: UTF-8, UTF-16, and Windows-1252 where it can be nothing else.

Whoever opens a file that is not UTF-8 is told so, by a ``RanktagWarning``, with a word of
the file: a wrong guess is seen.
"""

from __future__ import annotations

import codecs
import io
import re
import unicodedata
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, TextIO

from ranktag.errors import NotFound, RanktagError, RanktagWarning, unreadable

_MARKS = (
    # The mark of UTF-32 begins with that of UTF-16.
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
    (codecs.BOM_UTF8, "utf-8-sig"),
)
_NAMES = {"cp1252": "Windows-1252", "utf-16": "UTF-16", "utf-16-le": "UTF-16", "utf-16-be": "UTF-16"}
_BLOCK = 2**20
# Marks that stand in rows with letters; and marks that never stand behind one in Western words.
_QUOTES = frozenset("«»‹›“”‘’…–—")
_ODD_BEHIND_LETTERS = frozenset("¢£¤¥¦§¨¬¯±¶¸¹º¼½¾¿¡†‡‰ˆ‚ƒ„˜")


def marked_encoding(data: bytes) -> str | None:
    """The encoding that a byte order mark says text is in; None without one."""
    return next((name for mark, name in _MARKS if data.startswith(mark)), None)


def xml_encoding(data: bytes) -> str | None:
    """The encoding that an XML declaration says text is in; None without one that can be read as bytes."""
    declared = re.match(rb"\s*<\?xml[^>]{0,200}?encoding\s*=\s*[\"']([\w.:-]+)", data)
    return declared[1].decode("ascii") if declared else None


def without_xml_declaration(text: str) -> str:
    """XML behind its declaration, which would contradict text that is handed over."""
    return re.sub(r"^\s*<\?xml[^>]*\?>\s*", "", text)


def open_text(path: str | Path, encoding: str | None = None) -> TextIO:
    """A text file, opened to be read with its line endings as they are (``newline=""``).

    Without ``encoding`` it is UTF-8 with or without a byte order mark, UTF-16 or UTF-32,
    or else Windows-1252 if its letters make sense so; what is not UTF-8 is said.

    Raises RanktagError: no such file, a folder, an encoding that Python does not know,
    bytes that are text in none of these encodings.
    """
    path = Path(path)
    try:
        # Opened first, so that errors of opening end here. A pipe can be read only once.
        file: BinaryIO = open(path, "rb")  # noqa: SIM115 - whoever reads the text closes it
        if not file.seekable():
            with file:
                file = io.BytesIO(file.read())
    except FileNotFoundError:
        raise NotFound(f"{path}: no such file; check the path") from None
    except IsADirectoryError:
        raise RanktagError(f"{path}: is a folder, expected a text file; name the file") from None
    except OSError as error:
        raise unreadable(path, error, "check the path and its permissions") from None
    try:
        found = _encoding(file, path) if encoding is None else _checked(file, path, encoding)
        file.seek(0)
    except BaseException:
        file.close()
        raise
    return io.TextIOWrapper(file, encoding=found, newline="")


def read_text_lines(path: str | Path) -> Iterator[tuple[int, str]]:
    """(number from 1, line without its ending) of a text file. Raises RanktagError as ``open_text``."""
    with open_text(path) as file:
        for number, line in enumerate(file, 1):
            yield number, line.rstrip("\r\n")


def _encoding(file: BinaryIO, path: Path) -> str:
    start = file.read(4096)
    file.seek(0)
    marked = marked_encoding(start)
    name = marked or _without_mark(start) or "utf-8"
    try:
        _decode(file, name)
    except UnicodeDecodeError as error:
        if name not in ("utf-8", "utf-8-sig"):
            raise RanktagError(
                f"{path}: begins as {_NAMES.get(name, name.upper())} and is not text to its end; save it as CSV UTF-8"
            ) from None
        file.seek(0)
        word = _windows_word(file.read())
        if word is None:
            raise RanktagError(
                f"{path}: is not UTF-8 text (byte 0x{error.object[error.start]:02x} cannot be read), nor does it look "
                "like Windows-1252; save it as CSV UTF-8, or name its encoding: ranktag prepare csv --encoding ..."
            ) from None
        _say(f"{path}: is not UTF-8, read as Windows-1252 ('{word}'); if that is no word of it, save it as CSV UTF-8")
        return "cp1252"
    if name not in ("utf-8", "utf-8-sig"):
        _say(f"{path}: is {_NAMES.get(name, name.upper())}, and read as such")
    return name


def _checked(file: BinaryIO, path: Path, encoding: str) -> str:
    """The encoding that somebody named, if the file is text in it."""
    try:
        io.TextIOWrapper(io.BytesIO(), encoding=encoding)  # refuses codecs that are no encodings of text
        _decode(file, encoding)
    except UnicodeError:
        raise RanktagError(f"{path}: is not {encoding} text; name another --encoding") from None
    except LookupError:
        raise RanktagError(f"--encoding: '{encoding}' is none that Python knows; name one such as cp1251") from None
    return encoding


def _decode(file: BinaryIO, encoding: str) -> None:
    """Read a file to its end as text. Raises UnicodeError."""
    decoder = codecs.getincrementaldecoder(encoding)()
    while block := file.read(_BLOCK):
        decoder.decode(block)
    decoder.decode(b"", final=True)


def _without_mark(start: bytes) -> str | None:
    """UTF-16 without a mark: of every two bytes of Western text one is 0, always the same one."""
    even, odd = start[::2], start[1::2]
    if not even.count(0) and odd.count(0) > 0.8 * len(odd):
        return "utf-16-le"
    if not odd.count(0) and even.count(0) > 0.8 * len(even):
        return "utf-16-be"
    return None


def _windows_word(data: bytes) -> str | None:
    """A word with a letter beyond ASCII of text in Windows-1252; None if the bytes do not look like such text.

    Letters beyond ASCII come by ones and twos in Western words, and capitals first: where
    they come in rows, the file is of another alphabet, or no text.
    """
    try:
        text = data.decode("cp1252")
    except UnicodeDecodeError:
        return None
    if re.search(r"[\0-\x08\x0e-\x1f]", text):
        return None
    beyond = [match.start() for match in re.finditer(r"[^\0-\x7f]", text)]
    odd = sum(_is_odd(text, place) for place in beyond)
    if 10 * odd > len(beyond):
        return None
    words = (match[0] for match in re.finditer(r"[^\s,;|\"]*[^\0-\x7f][^\s,;|\"]*", text))
    return next((word for word in words if any(c.isalpha() for c in word)), text[beyond[0]])[:40]


def _is_odd(text: str, place: int) -> bool:
    """Whether a character beyond ASCII is one that Western text does not have there."""
    c, before, behind = text[place], text[place - 1 : place], text[place + 1 : place + 2]
    in_row = all(n and not n.isascii() and n not in _QUOTES for n in (before, c, behind))
    capital_within = unicodedata.category(c) == "Lu" and before.islower()
    return in_row or capital_within or (c in _ODD_BEHIND_LETTERS and before.isalpha())


def _say(text: str) -> None:
    warnings.warn(RanktagWarning(text), stacklevel=2)
