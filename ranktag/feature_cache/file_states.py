"""The files that features were computed of, as they were then: how large, of what time, and what was in them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

UNKNOWN = -1


@dataclass(frozen=True)
class FileStates:
    """N files.

    size: (N,) int64 bytes. mtime_ns: (N,) int64, time of the last change in nanoseconds; both -1 where there was no
    file or nothing is known. sha256: N hexadecimal digests of the files' bytes, '' where nothing is known.
    """

    size: npt.NDArray[np.int64]
    mtime_ns: npt.NDArray[np.int64]
    sha256: Sequence[str]

    @classmethod
    def unknown(cls, count: int) -> FileStates:
        """Of so many files nothing is known."""
        return cls(np.full(count, UNKNOWN, np.int64), np.full(count, UNKNOWN, np.int64), [""] * count)

    @classmethod
    def chained(cls, parts: Sequence[FileStates]) -> FileStates:
        """The parts, one after the other."""
        return cls(
            np.concatenate([np.empty(0, np.int64), *(part.size for part in parts)]),
            np.concatenate([np.empty(0, np.int64), *(part.mtime_ns for part in parts)]),
            [digest for part in parts for digest in part.sha256],
        )

    def __len__(self) -> int:
        return len(self.size)

    def take(self, rows: Sequence[int] | npt.NDArray[np.int64]) -> FileStates:
        """The files of the given numbers."""
        chosen = np.asarray(rows, np.int64)
        return FileStates(self.size[chosen], self.mtime_ns[chosen], [self.sha256[row] for row in chosen])

    def put(self, rows: npt.NDArray[np.int64], files: FileStates) -> None:
        """Fill in the files of the given numbers. The digests must be a list."""
        self.size[rows], self.mtime_ns[rows] = files.size, files.mtime_ns
        assert isinstance(self.sha256, list)
        for row, digest in zip(rows.tolist(), files.sha256):
            self.sha256[row] = digest

    def with_sha256(self, sha256: Sequence[str]) -> FileStates:
        """The same files with other digests."""
        return FileStates(self.size, self.mtime_ns, sha256)
