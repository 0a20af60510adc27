"""The photos below a folder: found by their names; what else lies there is counted."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from ranktag.errors import RanktagError, unreadable

# fmt: off
EXTENSIONS = frozenset((
    ".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".apng", ".gif", ".bmp", ".dib", ".webp", ".tif", ".tiff",
    ".heic", ".heif", ".avif", ".jp2", ".jpx", ".ppm", ".pgm", ".pbm", ".pnm", ".tga", ".ico", ".mpo",
))
# Of cameras. Many are TIFF by their form, and Pillow would take the thumbnail within for the photo.
RAW_EXTENSIONS = frozenset((
    ".3fr", ".arw", ".cr2", ".cr3", ".crw", ".dcr", ".dng", ".erf", ".iiq", ".kdc", ".mef", ".mos", ".mrw", ".nef",
    ".nrw", ".orf", ".pef", ".raf", ".rw2", ".rwl", ".sr2", ".srf", ".srw", ".x3f",
))
# What servers, systems and programs lay beside photos: thumbnails, previews, what was thrown away.
DROPPINGS = frozenset((
    "@eadir", "@__thumb", ".@__thumb", "@recycle", "#recycle", "#snapshot", "$recycle.bin", "__macosx", ".appledouble",
    ".appledb", ".appledesktop", ".thumbnails", ".thumbs", ".trash", ".trashes", ".picasaoriginals", "lost+found",
    "system volume information", "thumbs.db", "ehthumbs.db", "ehthumbs_vista.db", "desktop.ini", ".ds_store",
    ".picasa.ini", "picasa.ini",
))
# fmt: on
DROPPING_ENDINGS = (".lrdata", ".lrprev")
DROPPING_BEGINNINGS = ("._", "synophoto_thumb_", "synoindex_")

SHOWN_ENDINGS = 6


def photos_below(folder: Path) -> tuple[list[tuple[str, bytes]], LeftOut]:
    """((id, path below ``folder``) of every photo, sorted by id; what was left out).

    Photos are what carries a photo's ending; a camera's RAW only where the photo does not lie beside it under
    another ending. Names that begin with a dot, and what servers and programs lay beside photos, are left out.
    The id is the path with '/' between names; bytes that are not UTF-8 are written as ``\\xff``. Links are
    followed, a folder is searched once. What carries a photo's name but is a folder, or a folder that may not be
    searched, is listed: it will be a failure.

    Raises RanktagError if there is none.
    """
    left_out = LeftOut(folder)
    found = sorted((id_of(path), path) for path in _walk(os.fsencode(folder), left_out))
    if not found:
        raise RanktagError(
            f"{folder}: holds no image (no file that ends in {', '.join(sorted(EXTENSIONS))}, or in a camera's RAW "
            f"ending); name the folder of the photos{left_out.hint()}"
        )
    return found, left_out


def id_of(name: bytes) -> str:
    """A name as text that any file can hold: bytes that are not UTF-8 are written as ``\\xff``."""
    if name.isascii():
        return name.decode("ascii")
    return os.fsdecode(name).encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


class LeftOut:
    """Counts the files of a folder, or of tars, that are not listed."""

    def __init__(self, folder: Path | str) -> None:
        self._folder = folder
        self.endings: Counter[str] = Counter()
        self.raws: Counter[str] = Counter()
        self.droppings: Counter[str] = Counter()

    def count(self, name: str) -> None:
        """Count a file that carries no photo's name."""
        ending = os.path.splitext(name)[1].lower()
        counts = self.raws if ending in RAW_EXTENSIONS else self.endings
        counts[ending or "no ending"] += 1

    def sentences(self) -> list[str]:
        """One for each kind."""
        kinds = (
            (self.endings, "without a photo's ending ({}); a CSV that names such files has them tried"),
            (self.raws, "of a camera's RAW beside the same photo ({})"),
            (self.droppings, "that servers and programs lay beside photos ({})"),
        )
        return [
            f"{self._folder}: left out: {_files(sum(counts.values()))} {text.format(_shown(counts))}"
            for counts, text in kinds
            if counts
        ]

    def hint(self) -> str:
        """What is there instead of photos, for an error."""
        return f" (it holds {_files(sum(self.endings.values()))}: {_shown(self.endings)})" if self.endings else ""


def _files(count: int) -> str:
    return f"{count:,} file" if count == 1 else f"{count:,} files"


def _shown(counts: Counter[str]) -> str:
    """What is counted, the most frequent first."""
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    shown = [f"{name} {count:,}" for name, count in ordered[:SHOWN_ENDINGS]]
    return ", ".join(shown) + (
        f" and {len(ordered) - SHOWN_ENDINGS} other kinds" if len(ordered) > SHOWN_ENDINGS else ""
    )


def _walk(root: bytes, left_out: LeftOut) -> Iterator[bytes]:
    """Paths below ``root``, relative to it, of everything that carries an image's name.

    Real folders come before links to them.
    """
    searched: set[tuple[int, int]] = set()
    pending: list[bytes] = [b""]
    linked: list[bytes] = []
    while pending or linked:
        relative = pending.pop() if pending else linked.pop()
        try:
            where = os.stat(os.path.join(root, relative))
            if (where.st_dev, where.st_ino) in searched:
                continue
            searched.add((where.st_dev, where.st_ino))
            entries = sorted(os.scandir(os.path.join(root, relative)), key=lambda e: e.name, reverse=True)
        except OSError as error:
            if not relative:
                raise unreadable(os.fsdecode(root), error, "check its permissions", "cannot be searched") from None
            yield relative
            continue
        entries = [entry for entry in entries if not _is_dropping(entry, left_out)]
        for entry in _photos(entries, left_out):
            yield os.path.join(relative, entry.name)
        for entry in entries:
            if entry.is_dir():
                (linked if entry.is_symlink() else pending).append(os.path.join(relative, entry.name))


def _is_dropping(entry: os.DirEntry[bytes], left_out: LeftOut) -> bool:
    """Whether it is left out for its name; what is in it is counted. Other hidden names are left out uncounted."""
    name = id_of(entry.name).lower()
    if name in DROPPINGS or name.endswith(DROPPING_ENDINGS) or name.startswith(DROPPING_BEGINNINGS):
        within = sum(len(files) for _, _, files in os.walk(entry.path)) if entry.is_dir(follow_symlinks=False) else 1
        kind = next((k for k in DROPPING_BEGINNINGS if name.startswith(k)), "")
        left_out.droppings[f"{kind}*" if kind else id_of(entry.name)] += within
        return True
    return name.startswith(".")


def is_hidden(name: str) -> bool:
    """Whether a file or folder of this name is hidden, or one that servers and programs lay beside photos."""
    name = name.lower()
    return name in DROPPINGS or name.endswith(DROPPING_ENDINGS) or name.startswith((".", *DROPPING_BEGINNINGS))


def _photos(entries: Sequence[os.DirEntry[bytes]], left_out: LeftOut) -> Iterator[os.DirEntry[bytes]]:
    """Those of a folder that carry an image's name; the other files are counted."""
    named = [(entry, id_of(entry.name)) for entry in entries]
    photos = _stems(name for _, name in named)
    for entry, name in named:
        if _is_photo(name, photos):
            yield entry
        elif not entry.is_dir():
            left_out.count(name)


def photos_among(names: Sequence[str], left_out: LeftOut) -> list[int]:
    """The places of the photos among the paths of files that are not on the disk, as a tar's; by the same rules."""
    stems: dict[str, list[str]] = {}
    for name in names:
        folder, _, own = name.rpartition("/")
        stems.setdefault(folder, []).append(own)
    photos = {folder: _stems(within) for folder, within in stems.items()}
    found = []
    for place, name in enumerate(names):
        folder, _, own = name.rpartition("/")
        if hidden := [part for part in name.split("/") if is_hidden(part)]:
            if not hidden[0].startswith(".") or hidden[0].startswith("._"):
                left_out.droppings[hidden[0]] += 1
        elif _is_photo(own, photos[folder]):
            found.append(place)
        else:
            left_out.count(own)
    return found


def _stems(names: Iterable[str]) -> set[str]:
    """Of the photos among names of a folder, without their endings."""
    split = (os.path.splitext(name) for name in names)
    return {stem.lower() for stem, ending in split if ending.lower() in EXTENSIONS}


def _is_photo(name: str, photos: set[str]) -> bool:
    """Whether a name is a photo's. photos: the stems of those beside it, where a camera's RAW is left out."""
    stem, ending = os.path.splitext(name)
    return ending.lower() in EXTENSIONS or (ending.lower() in RAW_EXTENSIONS and stem.lower() not in photos)
