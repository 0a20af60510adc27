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
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Protocol

import torch

from ranktag.config import TrainingConfig
from ranktag.errors import Exists, Locked, NotFound
from ranktag.feature_cache.provenance import utc_now
from ranktag.feature_cache.together import Caches
from ranktag.files.atomic import atomic_path
from ranktag.files.lock import FileLock
from ranktag.files.replacement import Replacement
from ranktag.files.tables import write_table
from ranktag.training.names import (
    CONFIG_FILE,
    LOCK_FILE,
    MISSING_FILE,
    POINTS_FOLDER,
    REPLACED,
    RUN_FILES,
    STATE_FILE,
    SWEEP_FILE,
    TABLE_FILE,
    TRAININGS_FILE,
)
from ranktag.training_data.load import TrainingData
from ranktag.urls import without_secrets
from ranktag.version import __version__


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


class Kept(Protocol):
    """Of the weights that are kept: validation NDCG@5, and the epoch (0 of a baseline)."""

    ndcg5: float
    epoch: int


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

    def write_missing(self, data: TrainingData) -> None:
        """``missing.csv``, if a tagged image has no feature: image_id, split (if it has one) and why."""
        joined = data.joined
        if joined.missing:
            rows = [(i, joined.split.get(i, ""), why) for i, why in joined.missing.items()]
            write_table(self.file(MISSING_FILE), ("image_id", "split", "reason"), rows)

    def write_config(
        self, config: TrainingConfig, data: TrainingData, cache: Caches, kept: Kept, interval: tuple[float, float]
    ) -> None:
        """``config.json``: for people and ``ranktag runs``. It is there once the run is finished. interval: 95%."""
        low, high = (None if math.isnan(bound) else bound for bound in interval)
        content = {
            "ranktag_version": __version__,
            "torch_version": torch.__version__,
            "cache": without_secrets(str(cache))
            if isinstance(cache, (str, Path))
            else [without_secrets(str(one)) for one in cache],
            "tags": data.joined.tags_name,
            "settings": config.to_dict(),
            "images": data.joined.counts(),
            "split": "made from the split seed" if data.joined.made_split else "from the tag file",
            "training_lists": len(data.training.image),
            "vocabulary": len(data.vocabulary),
            "left_out": list(data.joined.notes),
            "features": asdict(data.joined.store.provenance),
            "finished": self._finished(),
            "validation": {
                "ndcg5": kept.ndcg5,
                "epoch": kept.epoch,
                "images": len(data.validation.row),
                "low": low,
                "high": high,
            },
        }
        with atomic_path(self.file(CONFIG_FILE)) as temporary:
            temporary.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")

    def _finished(self) -> str:
        """When the run was finished: now, unless one that was finished already is gone on with."""
        try:
            before = json.loads(self.file(CONFIG_FILE).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return utc_now()
        return str(before.get("finished") or utc_now()) if isinstance(before, dict) else utc_now()

    def _leftovers(self) -> list[Path]:
        """Files that a process was writing there when it was killed (see ``atomic_path``)."""
        places = {self.path, self._replacement.place}
        return [path for place in places for name in RUN_FILES for path in place.glob(f".{name}.*.tmp")]
