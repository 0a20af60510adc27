"""The manifest of an extraction: the images, listed once, and all that decides what their features are.

It lies beside the shards, as ``NAME.h5.shards/manifest.hdf5``, and is all that a worker on any
machine needs. HDF5, N images in S shards, every dataset contiguous, so that a worker maps the
file and reads the rows of its own shards only:

    id_bytes, id_starts            the ids one after the other in UTF-8, and (N + 1,) int64 where each begins
    path_bytes, path_starts        where the images are, likewise (``ranktag.files.locations``; paths are absolute)
    file_size, file_mtime_ns       (N,) int64 of the files when they were listed, -1 where there was none
    file_sha256                    (N,) 64 bytes, digests of the files, where they were taken then
    shard_sha256                   (S, 32) uint8, digests of what stands above of each shard's rows

Attributes: ``format`` ("ranktag-manifest"), ``format_version``; ``header``, JSON of the settings,
with precision, batch size and weights resolved, of the provenance and of how many workers it is
divided for; ``sha256``, of the header and of ``shard_sha256``: the manifest's own digest.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, overload

import h5py
import numpy as np
import numpy.typing as npt

from ranktag.config import RAY_SETTINGS, ExtractionConfig
from ranktag.errors import Damaged, Mismatch, NotFound, RanktagError
from ranktag.feature_cache.file_states import FileStates
from ranktag.feature_cache.hdf5 import created_hdf5, open_hdf5, outage_in, reason_of
from ranktag.feature_cache.provenance import Provenance
from ranktag.feature_cache.shards import Shard, cut, folder_of
from ranktag.features.backbone import find_backbone
from ranktag.features.job import Done, Job
from ranktag.features.weights import choose_weights
from ranktag.files.atomic import atomic_path, sync
from ranktag.files.locations import is_file, within
from ranktag.images.listing import ImageList
from ranktag.urls import is_url

# Beside the shards. Not .h5, which shards are.
MANIFEST = "manifest.hdf5"
# What is for whoever has others work, and changes no feature.
DRIVERS_SETTINGS = ("workers", "worker_index", "worker_count", "executor", "retry_failed", *RAY_SETTINGS)

FORMAT, FORMAT_VERSION = "ranktag-manifest", 1
REMEDY = "write it again with 'extract-features ... --executor manifest'"


class Texts(Sequence[str]):
    """N texts that lie one after the other in UTF-8, decoded when they are asked for. starts: (N + 1,)."""

    def __init__(self, content: npt.NDArray[np.uint8], starts: npt.NDArray[np.int64]) -> None:
        self._content, self._starts = content, starts

    def __len__(self) -> int:
        return len(self._starts) - 1

    @overload
    def __getitem__(self, place: int) -> str: ...
    @overload
    def __getitem__(self, place: slice) -> list[str]: ...
    def __getitem__(self, place: int | slice) -> str | list[str]:
        if isinstance(place, slice):
            return [self[number] for number in range(*place.indices(len(self)))]
        number = range(len(self))[place]
        return self._content[self._starts[number] : self._starts[number + 1]].tobytes().decode("utf-8")


class Digests(Sequence[str]):
    """N hexadecimal digests, ``bytes_`` of 64 letters each; '' of all N where there is no array."""

    def __init__(self, count: int, content: npt.NDArray[np.bytes_] | None) -> None:
        self._count, self._content = count, content

    def __len__(self) -> int:
        return self._count

    @overload
    def __getitem__(self, place: int) -> str: ...
    @overload
    def __getitem__(self, place: slice) -> list[str]: ...
    def __getitem__(self, place: int | slice) -> str | list[str]:
        numbers = range(self._count)[place]
        if isinstance(numbers, range):
            return [self[number] for number in numbers]
        return "" if self._content is None else bytes(self._content[numbers]).decode("ascii")


@dataclass(frozen=True)
class Manifest:
    """A manifest, opened. The list and the files are mapped: of N rows only those that are looked at are read.

    config: the settings, in which nothing is left to the machine that matters to a feature.
    wanted: the provenance of the features. workers: how many tasks the shards were divided for;
    None if nobody said. sha256: the manifest's own digest.
    """

    path: Path
    config: ExtractionConfig
    wanted: Provenance
    workers: int | None
    listed: ImageList
    files: FileStates
    sha256: str
    shard_sha256: npt.NDArray[np.uint8]

    @property
    def output(self) -> Path:
        """The cache that is being made."""
        folder = self.path.parent
        return folder.with_name(folder.name.removesuffix(".shards"))

    @property
    def shards(self) -> list[Shard]:
        """All of them."""
        return cut(len(self.listed), self.config.shard_size)

    def job(self, shards: Sequence[Shard], config: ExtractionConfig, worker: tuple[int, int]) -> Job:
        """The job of computing ``shards``. config: says on which device, and how many processes decode.

        Raises RanktagError if their rows of the manifest are damaged.
        """
        for shard in shards:
            if _rows_sha256(self.listed, self.files, shard) != self.shard_sha256[shard.number].tobytes():
                raise Damaged(
                    f"{self.path}: damaged: the rows of shard {shard.number} are not what was written; {REMEDY}"
                )
        ours = self.config.replace(device=config.device or self.config.device, workers=config.workers)
        backbone = find_backbone(ours.backbone).with_crops(ours.crops)
        kept = Done(weights_sha256=self.wanted.weights_sha256)
        return Job(self.listed, self.output, ours, backbone, worker, shards, self.wanted, self.files, kept)


def manifest_of(output: Path) -> Path:
    """Where the manifest of a cache is while it is being made."""
    return folder_of(output) / MANIFEST


def write_manifest(job: Job, workers: int | None = None) -> Path:
    """Write the manifest of a job of one worker, whose settings are resolved, and return its path.

    One that is there and says the same stays as it is. Raises RanktagError for weights that cannot be had.
    """
    path = manifest_of(job.output)
    wanted = replace(job.wanted, weights_sha256=job.wanted.weights_sha256 or _weights_sha256(job))
    listed = _located(job.listed)
    config = for_workers(job.config)
    header = json.dumps(
        {
            "config": config.to_dict(),
            "provenance": dataclasses.asdict(wanted),
            "workers": workers,
            "folder": str(listed.folder),
        }
    )
    shards = cut(len(listed), config.shard_size)
    table = b"".join(_rows_sha256(listed, job.files, shard) for shard in shards)
    sha256 = _own_sha256(header, table)
    if path.exists() and _is_same(path, sha256):
        return path
    with atomic_path(path) as temporary:
        _write(temporary, listed, job.files, shards, {"header": header, "sha256": sha256}, table)
        sync(temporary)
    return path


def for_workers(config: ExtractionConfig) -> ExtractionConfig:
    """The settings as whoever computes shards is given them, on this machine or another."""
    usual, weights = ExtractionConfig(), config.weights
    return config.replace(
        weights=os.path.abspath(weights) if os.path.isfile(weights) else weights,
        **{name: getattr(usual, name) for name in DRIVERS_SETTINGS},
    )


def _weights_sha256(job: Job) -> str:
    from ranktag.features.read_weights import sha256_of_weights

    return sha256_of_weights(choose_weights(job.config.weights, job.backbone.published), job.backbone)


def _is_same(path: Path, sha256: str) -> bool:
    try:
        found = open_manifest(path)
        return found.sha256 == sha256
    except RanktagError:
        return False


def _located(listed: ImageList) -> ImageList:
    """The list with absolute paths, so that it does not depend on where a command was called."""
    paths = [_absolute(listed.path(number)) for number in range(len(listed))]
    folder = listed.folder if is_url(listed.folder) else Path(os.path.abspath(listed.folder))
    return ImageList.of(folder, listed.ids, paths)


def _absolute(location: bytes) -> bytes:
    photo = within(location)
    if photo is None:
        return os.path.abspath(location) if is_file(location) else location
    return location if is_url(photo.archive) else replace(photo, archive=os.path.abspath(photo.archive)).to_bytes()


def _rows_sha256(listed: ImageList, files: FileStates, shard: Shard) -> bytes:
    """The digest of all that is known of a shard's images."""
    rows = slice(shard.start, shard.stop)
    digest = hashlib.sha256()
    for text in listed.ids[rows]:
        digest.update(text.encode() + b"\0")
    starts = listed.starts[shard.start : shard.stop + 1]
    digest.update(np.ascontiguousarray(listed.paths[starts[0] : starts[-1]]).data)
    for numbers in (starts - starts[0], files.size[rows], files.mtime_ns[rows]):
        digest.update(np.ascontiguousarray(numbers, np.int64).data)
    digest.update("".join(files.sha256[rows]).encode())
    return digest.digest()


def _own_sha256(header: str, table: bytes) -> str:
    return hashlib.sha256(header.encode() + b"\0" + table).hexdigest()


def _write(
    path: Path,
    listed: ImageList,
    files: FileStates,
    shards: Sequence[Shard],
    attributes: Mapping[str, str],
    table: bytes,
) -> None:
    count = len(listed)
    starts = np.zeros(count + 1, np.int64)
    np.cumsum(np.fromiter((len(text.encode()) for text in listed.ids), np.int64, count), out=starts[1:])
    with created_hdf5(path) as (file, _):
        file.attrs.update({"format": FORMAT, "format_version": FORMAT_VERSION, **attributes})
        ids = file.create_dataset("id_bytes", (int(starts[-1]),), np.uint8)
        for shard in shards:
            text = "".join(listed.ids[shard.start : shard.stop]).encode()
            ids[starts[shard.start] : starts[shard.stop]] = np.frombuffer(text, np.uint8)
        file.create_dataset("id_starts", data=starts)
        file.create_dataset("path_bytes", data=listed.paths)
        file.create_dataset("path_starts", data=listed.starts)
        file.create_dataset("file_size", data=files.size)
        file.create_dataset("file_mtime_ns", data=files.mtime_ns)
        if any(files.sha256):
            digests = [digest.encode() for digest in files.sha256]
            file.create_dataset("file_sha256", data=np.array(digests, "S64"))
        file.create_dataset("shard_sha256", data=np.frombuffer(table, np.uint8).reshape(-1, 32))


def open_manifest(path: str | Path) -> Manifest:
    """Open a manifest. Its digest is checked here, the rows of each shard by ``Manifest.job``.

    Raises RanktagError for what is no manifest, or another version's, or damaged.
    """
    path = Path(os.path.abspath(path))
    if not path.exists():
        raise NotFound(f"{path}: no such manifest; {REMEDY}")
    try:
        with open_hdf5(path) as file:
            return _read(path, file)
    except RanktagError:
        raise
    except (OSError, KeyError, ValueError, TypeError, RuntimeError) as error:
        if (outage := outage_in(error)) is not None:
            raise outage from None
        raise Damaged(f"{path}: damaged or not a manifest ({reason_of(error)}); {REMEDY}") from None


def _read(path: Path, file: h5py.File) -> Manifest:
    if file.attrs.get("format") != FORMAT:
        raise Mismatch(f"{path}: is HDF5, but no manifest of ranktag; {REMEDY}")
    if int(file.attrs["format_version"]) != FORMAT_VERSION:
        raise Mismatch(f"{path}: is of manifest format {file.attrs['format_version']}, not {FORMAT_VERSION}; {REMEDY}")
    header, sha256, table = str(file.attrs["header"]), str(file.attrs["sha256"]), file["shard_sha256"][:]
    if _own_sha256(header, table.tobytes()) != sha256:
        raise Damaged(f"{path}: damaged: it is not what was written; {REMEDY}")
    said = json.loads(header)
    starts, paths = _mapped(path, file["path_starts"]), _mapped(path, file["path_bytes"])
    ids = Texts(_mapped(path, file["id_bytes"]), _mapped(path, file["id_starts"]))
    digests = _mapped(path, file["file_sha256"]) if "file_sha256" in file else None
    files = FileStates(
        _mapped(path, file["file_size"]), _mapped(path, file["file_mtime_ns"]), Digests(len(ids), digests)
    )
    config, wanted = ExtractionConfig(**said["config"]), Provenance(**said["provenance"])
    folder = said["folder"] if is_url(said["folder"]) else Path(said["folder"])
    listed = ImageList(folder, ids, paths, starts)
    return Manifest(path, config, wanted, said["workers"], listed, files, sha256, table)


def _mapped(path: Path, dataset: h5py.Dataset) -> npt.NDArray[Any]:
    """A dataset's numbers, mapped from the file."""
    if dataset.size == 0:
        return np.empty(dataset.shape, dataset.dtype)
    offset = dataset.id.get_offset()
    if offset is None or offset + dataset.size * dataset.dtype.itemsize > path.stat().st_size:
        raise Damaged(f"{path}: damaged: cut short or stored in chunks; {REMEDY}")
    return np.memmap(path, dataset.dtype, "r", int(offset), dataset.shape)
