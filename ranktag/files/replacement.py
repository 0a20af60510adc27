"""Files of a folder that are replaced together: the old ones stand until all of the new ones are complete.

A file alone is replaced by ``ranktag.files.atomic.atomic_path``. Of several a reader must never
see a mixture, and new ones may come one by one, over minutes.
"""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from ranktag.files.atomic import blaming, sync


class Replacement:
    """The files of a folder that are replaced together, by way of hidden folders in it.

    .new/           new files in the making; the old ones stand where they stood
    .new-complete/  all of the new ones; the old ones are being removed
    .new-moving/    the rest of the new ones; the old ones are gone, the others in their place

    What has to be done follows from the folder's name, and a folder is renamed in one step: a process
    that is killed at any moment leaves no doubt. Before the first rename the old files are
    whole, from then on the new ones, and ``recover`` finishes what was begun. Renames need no
    space on the disk. Whoever changes something holds a lock on the folder.
    """

    def __init__(self, folder: Path, patterns: Sequence[str]) -> None:
        """patterns: of the names that are replaced, as for ``Path.glob``."""
        self.folder, self.patterns = folder, patterns
        self._new, self._complete, self._moving = (folder / f".new{step}" for step in ("", "-complete", "-moving"))

    @property
    def begun(self) -> bool:
        """Whether new files are in the making, by this process or by one that was killed."""
        return self._new.is_dir()

    @property
    def place(self) -> Path:
        """Where new files are written: the hidden folder while they are in the making, else the folder itself."""
        return self._new if self.begun else self.folder

    def names(self) -> set[str]:
        """Names in the folder, without the hidden folders, as they are once ``recover`` has been called."""
        there = {path.name for path in self.folder.iterdir()}
        if self._complete.is_dir():
            there -= {path.name for path in self.files()}
        coming = [path.name for step in (self._complete, self._moving) if step.is_dir() for path in step.iterdir()]
        return (there | set(coming)) - {self._new.name, self._complete.name, self._moving.name}

    def files(self) -> list[Path]:
        """The files and folders that would be replaced."""
        return [path for pattern in self.patterns for path in self.folder.glob(pattern)]

    def begin(self) -> None:
        """From now on new files are in the making, in an empty ``place``."""
        shutil.rmtree(self._new, ignore_errors=True)
        self._new.mkdir()

    @contextmanager
    def making(self, *, keep: bool = False) -> Iterator[None]:
        """Within, new files are written, then ``commit`` is called; an exception before removes them, unless ``keep``.

        Errors of the operating system name a file's place to be, as the hidden one says nothing to anybody.
        """
        try:
            yield
        except BaseException as error:
            if not keep:
                shutil.rmtree(self._new, ignore_errors=True)
            if isinstance(error, OSError) and isinstance(error.filename, (str, os.PathLike)):
                error.filename = os.fspath(error.filename).replace(f"{os.sep}{self._new.name}{os.sep}", os.sep)
            raise

    def commit(self) -> None:
        """New files that are in the making, if there are any, are complete: they take the place of the old ones."""
        if self.begun:
            for path in (*self._new.rglob("*"), self._new):
                sync(path)
            self._new.rename(self._complete)
            sync(self.folder)
            self.recover()

    def recover(self) -> None:
        """Finish what a process that was killed had committed."""
        if self._complete.is_dir():
            for path in self.files():
                shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
            self._complete.rename(self._moving)
        if self._moving.is_dir():
            for path in self._moving.iterdir():
                path.rename(self.folder / path.name)
            self._moving.rmdir()
            sync(self.folder)


@contextmanager
def replaced_together(folder: Path, patterns: Sequence[str]) -> Iterator[Path]:
    """A hidden folder within ``folder``; on success, the files written there take the place of those of the patterns.

    A failure leaves ``folder`` as it was. Missing folders are made. Another process that writes there is waited for.
    """
    made = not folder.is_dir()
    with blaming(folder):
        folder.mkdir(parents=True, exist_ok=True)
        replacement = Replacement(folder, patterns)
        try:
            with _locked(folder), replacement.making():
                replacement.recover()
                replacement.begin()
                yield replacement.place
                replacement.commit()
        except BaseException:
            if made:
                # Not if something else has come there.
                with suppress(OSError):
                    folder.rmdir()
            raise
        sync(folder.parent)


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Wait for a lock on the folder itself, which leaves no file; without, where the file system has no such locks."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        with suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
