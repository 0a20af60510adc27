"""The images of a run: which there are, by id and path."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ranktag.errors import RanktagError
from ranktag.feature_cache.digest import image_list_sha256
from ranktag.files.tables import read_table
from ranktag.images.decode import RAW_EXTENSIONS

# fmt: off
EXTENSIONS = frozenset((
    ".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".apng", ".gif", ".bmp", ".dib", ".webp", ".tif", ".tiff",
    ".heic", ".heif", ".avif", ".jp2", ".jpx", ".ppm", ".pgm", ".pbm", ".pnm", ".tga", ".ico", ".mpo",
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


@dataclass(frozen=True)
class ImageList:
    """N images, ids beside paths.

    ids: unique, in order. Paths are bytes, as the file system has them, one after
    the other in a single array (``starts``: (N + 1,) offsets), so that processes
    share them instead of copying N objects. folder: what they are relative to.
    left_out: a sentence each for the files there that are not in the list.
    """

    folder: Path
    ids: Sequence[str]
    paths: npt.NDArray[np.uint8]
    starts: npt.NDArray[np.int64]
    left_out: Sequence[str] = ()

    @classmethod
    def of(cls, folder: Path, ids: Sequence[str], paths: Sequence[bytes]) -> ImageList:
        """The list of ``ids`` with their ``paths``, in the order given.

        Raises RanktagError for an id that is there twice.
        """
        place: dict[str, int] = {}
        for number, image_id in enumerate(ids):
            if place.setdefault(image_id, number) != number:
                one, other = (os.fsdecode(paths[n]) for n in (place[image_id], number))
                raise RanktagError(f"'{one}' and '{other}' would both have the id '{image_id}'; rename one")
        starts = np.zeros(len(ids) + 1, np.int64)
        np.cumsum([len(p) for p in paths], out=starts[1:])
        return cls(folder, ids, np.frombuffer(b"".join(paths), np.uint8), starts)

    def __len__(self) -> int:
        return len(self.ids)

    def path(self, number: int) -> bytes:
        """Path of an image."""
        return self.paths[self.starts[number] : self.starts[number + 1]].tobytes()

    def sha256(self) -> str:
        """Digest of the ids in order."""
        return image_list_sha256(self.ids)


def list_images(source: Path) -> ImageList:
    """The images of a folder (searched recursively) or of a CSV with columns ``image_id`` and, optionally, ``path``.

    Folder: files that have an image's extension, sorted by id, which is the path
    relative to the folder with '/' between names (bytes that are not UTF-8 are
    written as ``\\xff``). A camera's RAW is listed unless the photo lies beside it under
    another ending. Names that begin with a dot, and what servers and programs lay
    beside photos, are left out. ``left_out`` counts what is not listed. Links are
    followed, a folder is searched once. What carries an image's name but is a
    folder, or a folder that may not be searched, is listed: it will be a failure.

    CSV: one image a row, in file order; ``path`` is relative to the CSV's folder
    and is the ``image_id`` where it is missing or empty.

    Raises RanktagError: nothing there, an id twice (with both lines), no image.
    """
    source = Path(source)
    if source.is_dir():
        return _list_folder(source)
    if not os.path.lexists(source):
        raise RanktagError(
            f"{source}: no such file or folder; expected a folder of images or a CSV with the column image_id"
        )
    if source.suffix.lower() in EXTENSIONS | RAW_EXTENSIONS:
        raise RanktagError(
            f"{source}: is a single image; give the folder it is in, or a CSV with the columns image_id and path"
        )
    return _list_table(source)


def _list_folder(folder: Path) -> ImageList:
    root = os.fsencode(folder)
    left_out = _LeftOut(folder)
    found = sorted((_text(p), p) for p in _walk(root, left_out))
    if not found:
        raise RanktagError(
            f"{folder}: holds no image (no file that ends in {', '.join(sorted(EXTENSIONS))}, or in a camera's RAW "
            f"ending); name the folder of the photos{left_out.hint()}"
        )
    listed = ImageList.of(folder, [i for i, _ in found], [os.path.join(root, p) for _, p in found])
    return replace(listed, left_out=left_out.sentences())


def _text(name: bytes) -> str:
    return os.fsdecode(name).encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


class _LeftOut:
    """Counts the files of a folder that are not listed."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.endings: Counter[str] = Counter()
        self.raws: Counter[str] = Counter()
        self.droppings: Counter[str] = Counter()

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


def _walk(root: bytes, left_out: _LeftOut) -> Iterator[bytes]:
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
                raise RanktagError(
                    f"{os.fsdecode(root)}: cannot be searched ({error.strerror}); check its permissions"
                ) from None
            yield relative
            continue
        entries = [entry for entry in entries if not _is_dropping(entry, left_out)]
        for entry in _photos(entries, left_out):
            yield os.path.join(relative, entry.name)
        for entry in entries:
            if entry.is_dir():
                (linked if entry.is_symlink() else pending).append(os.path.join(relative, entry.name))


def _is_dropping(entry: os.DirEntry[bytes], left_out: _LeftOut) -> bool:
    """Whether it is left out for its name; what is in it is counted. Other hidden names are left out uncounted."""
    name = _text(entry.name).lower()
    if name in DROPPINGS or name.endswith(DROPPING_ENDINGS) or name.startswith(DROPPING_BEGINNINGS):
        within = sum(len(files) for _, _, files in os.walk(entry.path)) if entry.is_dir(follow_symlinks=False) else 1
        kind = next((k for k in DROPPING_BEGINNINGS if name.startswith(k)), "")
        left_out.droppings[f"{kind}*" if kind else _text(entry.name)] += within
        return True
    return name.startswith(".")


def _photos(entries: Sequence[os.DirEntry[bytes]], left_out: _LeftOut) -> Iterator[os.DirEntry[bytes]]:
    """Those of a folder that carry an image's name; the other files are counted."""
    split = [(entry, *os.path.splitext(_text(entry.name))) for entry in entries]
    photos = {stem.lower() for _, stem, ending in split if ending.lower() in EXTENSIONS}
    for entry, stem, ending in split:
        ending = ending.lower()
        if ending in EXTENSIONS or (ending in RAW_EXTENSIONS and stem.lower() not in photos):
            yield entry
        elif not entry.is_dir():
            counts = left_out.raws if ending in RAW_EXTENSIONS else left_out.endings
            counts[ending or "no ending"] += 1


def _list_table(table: Path) -> ImageList:
    ids: list[str] = []
    paths: list[bytes] = []
    line_of: dict[str, int] = {}
    folder = os.fsencode(table.parent)
    for line, (image_id, path) in read_table(table, ("image_id",), ("path",)):
        if not image_id:
            raise RanktagError(f"{table}: line {line} has no image_id; fill it in or remove the line")
        if image_id in line_of:
            raise RanktagError(
                f"{table}: image id '{image_id}' is on line {line_of[image_id]} and again on line {line}; "
                "ids must be unique"
            )
        line_of[image_id] = line
        ids.append(image_id)
        paths.append(os.path.join(folder, os.fsencode(path or image_id)))
    if not ids:
        raise RanktagError(f"{table}: lists no image; expected rows of image_id below the header")
    return ImageList.of(table.parent, ids, paths)
