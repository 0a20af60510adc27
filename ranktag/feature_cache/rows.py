"""Rows of features that lie in many files, read when they are indexed, however many files there are.

A system maps so many files at once (Linux: ``vm.max_map_count``, 65,530) and opens so many (``ulimit -n``, often
1,024); a cache of a hundred million images has 100,000 shards. So nothing is mapped here: rows are read where they
stand, and of the files the last ones that were needed stay open.
"""

from __future__ import annotations

import os
import resource
import threading
import weakref
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias, cast

import numpy as np
import numpy.typing as npt

from ranktag.errors import Mismatch, unreadable

# What rows are chosen by.
Chosen: TypeAlias = "int | slice | npt.NDArray[np.int64]"


def row_numbers(chosen: Chosen, count: int) -> npt.NDArray[np.int64]:
    """The numbers of the rows that ``chosen`` chooses of ``count``. Raises IndexError for one that is not there."""
    if isinstance(chosen, slice):
        return np.arange(*chosen.indices(count))
    rows = np.atleast_1d(np.asarray(chosen))
    if rows.dtype == np.bool_ and len(rows) == count:
        return np.flatnonzero(rows)
    rows = np.where(rows < 0, rows + count, rows).astype(np.int64)
    if len(rows) and (rows.min() < 0 or rows.max() >= count):
        raise IndexError(f"row {int(rows.min())} or {int(rows.max())} is not one of {count}")
    return rows


class Identity(NamedTuple):
    """By what a file is known that is opened again: another one at its path would have other rows."""

    device: int
    inode: int
    size: int
    mtime_ns: int

    @classmethod
    def of(cls, found: os.stat_result) -> Identity:
        """Of a file that was looked at."""
        return cls(found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns)


class OpenFiles:
    """Files that are read by position; those used last stay open, as many as half of what the system allows."""

    def __init__(self, most: int | None = None) -> None:
        self._most = max(1, resource.getrlimit(resource.RLIMIT_NOFILE)[0] // 2 if most is None else most)
        self._open: OrderedDict[Path, int] = OrderedDict()
        # One thread's file must not be closed by another one while it is read.
        self._lock = threading.Lock()
        weakref.finalize(self, _close_all, self._open)

    def read(self, path: Path, identity: Identity, offset: int, into: memoryview) -> None:
        """Fill ``into`` with the bytes from ``offset`` on.

        Raises RanktagError for a file that cannot be read, or that is another one than it was.
        """
        with self._lock:
            try:
                descriptor = self._descriptor(path, identity)
                while into:
                    read = os.preadv(descriptor, [into], offset)
                    if not read:
                        raise _replaced(path)
                    into, offset = into[read:], offset + read
            except OSError as error:
                raise unreadable(path, error, "bring it back and run the same command again") from None

    def _descriptor(self, path: Path, identity: Identity) -> int:
        if path in self._open:
            self._open.move_to_end(path)
            return self._open[path]
        while len(self._open) >= self._most:
            os.close(self._open.popitem(last=False)[1])
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        self._open[path] = descriptor
        if Identity.of(os.fstat(descriptor)) != identity:
            raise _replaced(path)
        return descriptor


def _close_all(files: OrderedDict[Path, int]) -> None:
    while files:
        os.close(files.popitem()[1])


def _replaced(path: Path) -> Mismatch:
    return Mismatch(f"{path}: was replaced while it was read; run the same command again")


class FileRows:
    """Features (N, D) of one file, contiguous from ``offset`` on, read through ``files``."""

    base = None

    def __init__(
        self,
        files: OpenFiles,
        path: Path,
        offset: int,
        shape: tuple[int, int],
        dtype: npt.DTypeLike,
        identity: Identity,
    ) -> None:
        self._files, self._path, self._offset, self._identity = files, path, offset, identity
        self.shape, self.dtype = shape, np.dtype(dtype)
        self._row = shape[1] * self.dtype.itemsize
        self.nbytes = shape[0] * self._row

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, chosen: Chosen) -> npt.NDArray[Any]:
        if isinstance(chosen, (int, np.integer)):
            return cast("npt.NDArray[Any]", self[np.array([chosen], np.int64)][0])
        rows = row_numbers(chosen, len(self))
        found = np.empty((len(rows), self.shape[1]), self.dtype)
        view = memoryview(cast(Any, found.view(np.uint8))).cast("B") if found.size else memoryview(b"")
        # Neighbours are read at once.
        starts = np.flatnonzero(np.diff(rows, prepend=-2) != 1).tolist()
        for start, stop in zip(starts, [*starts[1:], len(rows)]):
            place = self._offset + int(rows[start]) * self._row
            self._files.read(self._path, self._identity, place, view[start * self._row : stop * self._row])
        return found


class ChainedRows:
    """The rows of several (N, D) arrays of one type, one after the other, read when they are indexed."""

    base = None

    def __init__(self, arrays: Sequence[npt.NDArray[Any]]) -> None:
        self._arrays = arrays
        self._starts = np.cumsum([0, *map(len, arrays)])
        self.dtype = arrays[0].dtype
        self.shape = (int(self._starts[-1]), int(arrays[0].shape[1]))
        self.nbytes = sum(array.nbytes for array in arrays)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, chosen: Chosen) -> npt.NDArray[Any]:
        if isinstance(chosen, (int, np.integer)):
            return cast("npt.NDArray[Any]", self[np.array([chosen], np.int64)][0])
        rows = row_numbers(chosen, len(self))
        found = np.empty((len(rows), self.shape[1]), self.dtype)
        order = np.argsort(rows, kind="stable")
        owner = np.searchsorted(self._starts, rows[order], side="right") - 1
        firsts = np.flatnonzero(np.diff(owner, prepend=-1)).tolist()
        for first, last in zip(firsts, [*firsts[1:], len(rows)]):
            mine, array = order[first:last], int(owner[first])
            found[mine] = self._arrays[array][rows[mine] - self._starts[array]]
        return found


class ChosenRows:
    """Rows of an (N, D) array in an order of their own, read when they are indexed."""

    base = None

    def __init__(self, array: npt.NDArray[Any], order: npt.NDArray[np.int64]) -> None:
        self._array, self._order = array, order
        self.dtype, self.shape = array.dtype, (len(order), int(array.shape[1]))
        self.nbytes = self.shape[0] * self.shape[1] * self.dtype.itemsize

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, chosen: Chosen) -> npt.NDArray[Any]:
        return self._array[self._order[chosen]]
