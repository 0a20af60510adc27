"""Old files are set aside while new ones take their place, and put back if those are never complete.

A file alone is replaced by ``ranktag.files.atomic.atomic_path``. Here the new files come one
by one, over minutes, and the old ones must not be lost before they are of use.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path


class SetAside:
    """The files of a folder that are replaced together.

    .old/          all of the old ones: what else stands in the folder is new and not complete
    .old-moving/   some of the old ones, on their way there or back: the others stand in the folder
    .old-done/     of no more use

    Files are moved by renames, which need no space, and what a rename of a subfolder
    says is true at once: a process killed at any moment leaves no doubt which files
    are old. Whoever changes something here holds a lock on the folder.
    """

    def __init__(self, folder: Path, patterns: Sequence[str]) -> None:
        """patterns: of the names that are replaced, as for ``Path.glob``."""
        self.folder, self.patterns = folder, patterns
        self._old, self._moving, self._done = (folder / name for name in (".old", ".old-moving", ".old-done"))

    def begun(self) -> bool:
        """Whether files were set aside that are neither back nor gone."""
        return any(path.is_dir() for path in (self._old, self._moving, self._done))

    def names(self) -> set[str]:
        """Names in the folder, as they are once ``recover`` has been called; what is set aside is not among them."""
        moving = {path.name for path in self._moving.iterdir()} if self._moving.is_dir() else set()
        return moving | {path.name for path in self.folder.iterdir()} - {
            self._old.name,
            self._moving.name,
            self._done.name,
        }

    def recover(self) -> None:
        """Clear up after a process that was killed: files on their way go back, those of no more use go."""
        self._move_back()
        shutil.rmtree(self._done, ignore_errors=True)

    @contextmanager
    def replacing(self, *, put_back: bool) -> Iterator[None]:
        """Set the old files aside; what was set aside before stays the old, and the files beside it go.

        ``discard`` is called within as soon as the new files are complete. An exception
        before that brings the old files back, if there are any: those that were set
        aside by a process that was killed only with ``put_back``.
        """
        put_back = put_back or not self._old.is_dir()
        try:
            self._set_aside()
            yield
        except BaseException:
            if put_back and self._old.is_dir():
                self._remove_new()
                self._old.rename(self._moving)
            self._move_back()
            raise

    def discard(self) -> None:
        """The new files are complete: remove the old ones, if any are set aside."""
        if self._old.is_dir():
            self._old.rename(self._done)
            shutil.rmtree(self._done, ignore_errors=True)

    def _set_aside(self) -> None:
        if self._old.is_dir():
            self._remove_new()
        elif files := self._files():
            self._moving.mkdir()
            for path in files:
                path.rename(self._moving / path.name)
            self._moving.rename(self._old)

    def _move_back(self) -> None:
        if self._moving.is_dir():
            for path in self._moving.iterdir():
                path.rename(self.folder / path.name)
            self._moving.rmdir()

    def _remove_new(self) -> None:
        for path in self._files():
            shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()

    def _files(self) -> list[Path]:
        return [path for pattern in self.patterns for path in self.folder.glob(pattern)]
