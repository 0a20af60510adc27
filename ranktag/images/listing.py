"""The images of a run: which there are, by id and path."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ranktag.errors import NotFound, RanktagError, Usage, no_image_id
from ranktag.feature_cache.digest import image_list_sha256
from ranktag.files.locations import shown
from ranktag.files.photos import EXTENSIONS, RAW_EXTENSIONS, photos_below
from ranktag.files.tables import read_table
from ranktag.images.archives import archives_named, list_archives
from ranktag.progress import Progress
from ranktag.urls import is_url, without_secrets


@dataclass(frozen=True)
class ImageList:
    """N images, ids beside paths.

    ids: unique, in order. Paths are bytes, as the file system has them, or what stands for
    a photo that is no file of its own (see ``ranktag.files.locations``), one after
    the other in a single array (``starts``: (N + 1,) offsets), so that processes
    share them instead of copying N objects. folder: what they are relative to; of what is
    at a URL, the URL. left_out: a sentence each for the files there that are not in the list.
    """

    folder: Path | str
    ids: Sequence[str]
    paths: npt.NDArray[np.uint8]
    starts: npt.NDArray[np.int64]
    left_out: Sequence[str] = ()

    @classmethod
    def of(cls, folder: Path | str, ids: Sequence[str], paths: Sequence[bytes]) -> ImageList:
        """The list of ``ids`` with their ``paths``, in the order given.

        Raises RanktagError for an id that is there twice.
        """
        place: dict[str, int] = {}
        for number, image_id in enumerate(ids):
            if place.setdefault(image_id, number) != number:
                one, other = (shown(paths[n]) for n in (place[image_id], number))
                if one == other:
                    raise RanktagError(f"'{one}' is there twice, with the id '{image_id}'; ids must be unique")
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


def list_images(source: Path | str, *, id_from: str = "path", progress: Progress | None = None) -> ImageList:
    """The images of a folder (searched recursively), of tars, of Parquet files or of a CSV.

    Folder: files that have an image's extension, sorted by id, which is the path
    relative to the folder with '/' between names (bytes that are not UTF-8 are
    written as ``\\xff``). A camera's RAW is listed unless the photo lies beside it under
    another ending. Names that begin with a dot, and what servers and programs lay
    beside photos, are left out. ``left_out`` counts what is not listed. Links are
    followed, a folder is searched once. What carries an image's name but is a
    folder, or a folder that may not be searched, is listed: it will be a failure.

    Tars, on a disk or at fsspec URLs, one or several as ``photos-{00000..00099}.tar``:
    the same of their members, in their order. The id is ``shard.tar/member.jpg``, or with
    ``id_from='key'`` the member's name to its first dot. Parquet files: photos as
    ``ranktag.files.parquet_rows`` finds them; the id is in the column image_id, or else the
    file's name and the photo's path, or its row.

    CSV with columns ``image_id`` and, optionally, ``path``: one image a row, in file order; ``path``
    is relative to the CSV's folder, or an fsspec URL, and is the ``image_id`` where it is missing or empty.

    progress: is told how many tars are looked through. Raises RanktagError: nothing there, an id
    twice (with both lines), no image; Outage for a tar that cannot be read.
    """
    if archives := archives_named(source):
        return _list_archives(archives, id_from, progress or Progress())
    if is_url(source):
        raise Usage(
            f"{without_secrets(str(source))}: is a URL of no tar and no Parquet file; for single photos give a CSV "
            "with the columns image_id and path, whose paths are URLs"
        )
    if id_from != "path":
        raise Usage(f"{source}: holds no tars; --id-from {id_from} says how photos in tars are called, leave it out")
    source = Path(source)
    if source.is_dir():
        return _list_folder(source)
    if not os.path.lexists(source):
        raise NotFound(
            f"{source}: no such file or folder; expected a folder of images, a tar or a CSV with the column image_id"
        )
    if source.suffix.lower() in EXTENSIONS | RAW_EXTENSIONS:
        raise RanktagError(
            f"{source}: is a single image; give the folder it is in, or a CSV with the columns image_id and path"
        )
    return _list_table(source)


def list_images_as(source: Path | str, ids: Iterable[str], progress: Progress | None = None) -> ImageList:
    """``list_images``, with photos in tars called as they are in ``ids``: by their path, or by their key."""
    listed = list_images(source, progress=progress)
    known = set(ids)
    if known.isdisjoint(listed.ids) and archives_named(source):
        with suppress(RanktagError):
            by_key = list_images(source, id_from="key")
            return listed if known.isdisjoint(by_key.ids) else by_key
    return listed


def _list_folder(folder: Path) -> ImageList:
    found, left_out = photos_below(folder)
    root = os.fsencode(folder)
    listed = ImageList.of(folder, [i for i, _ in found], [os.path.join(root, p) for _, p in found])
    return replace(listed, left_out=left_out.sentences())


def _list_archives(archives: Sequence[str], id_from: str, progress: Progress) -> ImageList:
    found, left_out = list_archives(archives, by_key=id_from == "key", progress=progress)
    ids = [key if id_from == "key" else image_id for image_id, key, _ in found]
    first = archives[0]
    folder = without_secrets(first).rpartition("/")[0] if is_url(first) else Path(first).parent
    return replace(ImageList.of(folder, ids, [location for _, _, location in found]), left_out=left_out)


def _list_table(table: Path) -> ImageList:
    ids: list[str] = []
    paths: list[bytes] = []
    line_of: dict[str, int] = {}
    folder = os.fsencode(table.parent)
    for line, (image_id, path) in read_table(table, ("image_id",), ("path",)):
        if not image_id:
            raise no_image_id(table, f"line {line}")
        if image_id in line_of:
            raise RanktagError(
                f"{table}: image id '{image_id}' is on line {line_of[image_id]} and again on line {line}; "
                "ids must be unique"
            )
        line_of[image_id] = line
        ids.append(image_id)
        if without_secrets(image_id) != image_id:
            raise RanktagError(
                f"{table}: line {line}: the image_id is a URL with a password or a signature, which caches would hold; "
                "give the image another image_id, and the URL as its path"
            )
        path = path or image_id
        paths.append(os.fsencode(path) if is_url(path) else os.path.join(folder, os.fsencode(path)))
    if not ids:
        raise RanktagError(f"{table}: lists no image; expected rows of image_id below the header")
    return ImageList.of(table.parent, ids, paths)
