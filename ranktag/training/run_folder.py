"""A run folder: the names of its files, where it may be made, and who may write there.

runs/NAME/model.pt     the best weights so far, with all that decoding needs (see ``ranktag.models.checkpoint``)
runs/NAME/config.json  the settings, what was trained on, and how well it went
runs/NAME/history.csv  a row an epoch (of a baseline: a row a setting tried)
runs/NAME/curves.png   the same, to look at, where matplotlib is installed
runs/NAME/missing.csv  the tagged images that have no feature, and why, if there are any
runs/NAME/state.pt     what ``resume`` needs
runs/NAME/.new/        a run that overwrites this one, until it has saved what it needs
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from ranktag.errors import Exists, Locked, NotFound
from ranktag.files.lock import FileLock
from ranktag.files.replacement import Replacement
from ranktag.training.names import (
    LOCK_FILE,
    POINTS_FOLDER,
    REPLACED,
    RUN_FILES,
    STATE_FILE,
    SWEEP_FILE,
    TABLE_FILE,
    TRAININGS_FILE,
)


def sweep_files(run: Path) -> tuple[str, ...]:
    """The names of a sweep's files; its folder only if it is there: a folder "points" may be anybody's."""
    points = (POINTS_FOLDER,) if any((run / POINTS_FOLDER).glob(f"*/{LOCK_FILE}")) else ()
    return (SWEEP_FILE, TABLE_FILE, TRAININGS_FILE, *points)


def sweep_options(run: Path) -> str:
    """The options that a folder's sweep was called with, '--seeds 0,1 --grid lr=0.001,0.01'; '' if it holds none."""
    try:
        swept = json.loads((run / SWEEP_FILE).read_text(encoding="utf-8"))
        grid = [f"--grid {name}={','.join(map(_as_typed, values))}" for name, values in swept["grid"].items()]
        seeds = ",".join(map(str, swept["seeds"])) + ("," if len(swept["seeds"]) == 1 else "")
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return ""
    return " ".join([f"--seeds {seeds}", *grid])


def _as_typed(value: object) -> str:
    return {True: "on", False: "off"}[value] if isinstance(value, bool) else str(value)


class RunFolder:
    """The folder of one run, or of a sweep, which has more files."""

    def __init__(self, path: Path, more: Sequence[str] = ()) -> None:
        self.path = path
        self._replacement = Replacement(path, (*REPLACED, *more))

    def file(self, name: str) -> Path:
        """Where a file of the run in progress is: in the hidden folder, until it takes the place of an older run."""
        return self._replacement.place / name

    def refuse(self, marks: Sequence[str] = RUN_FILES, *, resume: bool, overwrite: bool) -> set[str]:
        """The ``marks``, names by which a run is known, that are there.

        Raises RanktagError for a file, for a folder that holds other things, and for a run
        that is neither to be gone on with nor to be replaced.
        """
        run, begun = self.path, self._replacement.begun
        if run.exists() and not run.is_dir():
            raise Exists(f"{run}: is a file, the run needs a folder; choose another path")
        if not run.exists():
            return set()
        there = self._replacement.names() - {LOCK_FILE} - {path.name for path in self._leftovers()}
        ours = there & set(marks)
        if there and not ours and not begun:
            raise Exists(f"{run}: is a folder with other things in it; choose a new one for the run")
        if (ours or begun) and not resume and not overwrite:
            raise Exists(f"{run}: holds a run already; choose another folder, go on with --resume or pass --overwrite")
        return ours

    def refuse_run(self, *, resume: bool, overwrite: bool) -> None:
        """``refuse``, and RanktagError for a resume where nothing can be gone on from."""
        ours = self.refuse(resume=resume, overwrite=overwrite)
        if ours and resume and STATE_FILE not in ours and not self._replacement.begun:
            raise NotFound(
                f"{self.path}: holds no {STATE_FILE}, so there is nothing to go on from; "
                "begin the run again with --overwrite"
            )

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Make the folder, keep other processes from training there, and clear up after one that was killed.

        Raises RanktagError if another process trains there.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        with FileLock(self.path / LOCK_FILE) as lock:
            if not lock.acquire():
                raise Locked(f"{self.path}: another process is training there; wait for it or choose another folder")
            self._replacement.recover()
            for path in self._leftovers():
                path.unlink()
            yield

    @contextmanager
    def new_run(self, *, resume: bool) -> Iterator[None]:
        """Within, a run begins, and what stands there stays until ``commit``. An exception before that changes nothing.

        resume: goes on with an overwrite that was killed, if there is one; its files stay whatever happens, to be
        gone on with again.
        """
        keep = resume and self._replacement.begun
        with self._replacement.making(keep=keep):
            if self._replacement.begun or self._replacement.files():
                self._replacement.begin()
            yield

    def commit(self) -> None:
        """The run in progress is of use: it takes the place of the one it overwrites, if there is one."""
        self._replacement.commit()

    def _leftovers(self) -> list[Path]:
        """Files that a process was writing there when it was killed (see ``atomic_path``)."""
        places = {self.path, self._replacement.place}
        return [path for place in places for name in RUN_FILES for path in place.glob(f".{name}.*.tmp")]
