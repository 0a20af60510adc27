"""Stage two: a model learns from cached features and tag lists, and is kept in a run folder.

    runs/NAME/model.pt     the best weights so far, with all that decoding needs (see ``ranktag.models.checkpoint``)
    runs/NAME/config.json  the settings, what was trained on, and how well it went
    runs/NAME/history.csv  a row an epoch (of a baseline: a row a setting tried)
    runs/NAME/state.pt     what ``resume`` needs
    runs/NAME/.old/        a run that is being overwritten, until the new one has saved what it needs

Everything random in an epoch follows from the seed and the epoch's number, and a
state is saved between epochs, so a run that was killed ends with the same weights,
bit for bit, as one that was not.
"""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ranktag.compute.allocator import kept_memory
from ranktag.compute.device import choose_device
from ranktag.config import TrainingConfig
from ranktag.errors import RanktagError
from ranktag.files.atomic import atomic_path
from ranktag.files.lock import FileLock
from ranktag.files.replacement import SetAside
from ranktag.files.tables import write_table
from ranktag.models.baselines import Trial, fit_neighbours, fit_popularity, fit_ridge
from ranktag.models.checkpoint import MODEL_FILE, Checkpoint, read_tensors, save_checkpoint, write_tensors
from ranktag.models.lstm import FORMS
from ranktag.models.ranking import best_five
from ranktag.tags.splits import SPLITS
from ranktag.training.events import EVENT_FILES, EventWriter
from ranktag.training.history import plot_history, write_history
from ranktag.training.loop import Epoch, Trainer
from ranktag.training.validation import ndcg5
from ranktag.training_data.load import TrainingData, load_training_data
from ranktag.version import __version__

CONFIG_FILE, HISTORY_FILE, STATE_FILE, CURVES_FILE = "config.json", "history.csv", "state.pt", "curves.png"


RUN_FILES = (MODEL_FILE, CONFIG_FILE, HISTORY_FILE, STATE_FILE, CURVES_FILE)


# What a new run replaces: event files of an old one would be shown with its own.
REPLACED = (*RUN_FILES, EVENT_FILES)


LOCK_FILE = ".lock"


# A state is five times the weights, so it is not written after every short epoch.
SECONDS_BETWEEN_STATES = 10.0


@dataclass(frozen=True)
class TrainingReport:
    """What came of a training.

    ndcg5: validation NDCG@5 of the kept weights. epoch: the one they are of; epochs:
    how many were run (both 0 for a baseline). images, lists, vocabulary: trained on.
    notes: a sentence for everything that was left out. seconds: of this process.
    """

    run: Path
    ndcg5: float
    epoch: int
    epochs: int
    images: int
    lists: int
    vocabulary: int
    notes: Sequence[str]
    seconds: float


@kept_memory()
def train(
    cache: Path,
    tags: Path,
    run: Path,
    config: TrainingConfig = TrainingConfig(),
    *,
    resume: bool = False,
    overwrite: bool = False,
    tensorboard: bool = False,
    data: TrainingData | None = None,
    started: Callable[[TrainingData], None] = lambda data: None,
    report: Callable[[Epoch], None] = lambda epoch: None,
) -> TrainingReport:
    """Train a model on a feature cache and tag lists and keep it in the folder ``run``.

    resume: go on with a run that was stopped, of the same settings and data.
    overwrite: replace a run; it is put back if this one fails before its first weights
    are saved. tensorboard: write event files too. data: already loaded, for many runs
    on the same. started, report: are called when the data is there and after every epoch.

    Raises RanktagError for files that cannot be read, a run folder that exists or is in
    use, a resume with other settings or data, and a loss that is not finite.
    """
    begin = time.monotonic()
    old = SetAside(run, REPLACED)
    _refuse_run(old, resume, overwrite)
    device = choose_device(config.device)
    data = data or load_training_data(cache, tags, config, device)
    started(data)
    with locked(old):
        # Looked at again: another process may have trained there while the data was loaded.
        _refuse_run(old, resume, overwrite)
        events = EventWriter(run) if tensorboard else None
        progress = _Run(run, data, config, old)
        state = progress.state_to_go_on_from() if resume else None
        # A resume that fails is resumed again: what an earlier call set aside stays there.
        with old.replacing(put_back=not resume) if state is None else nullcontext():
            if state is None:
                progress.begin()
            if config.model in FORMS:
                progress.fit(device, state, events, report)
            else:
                progress.fit_baseline()
        progress.write_config(cache, tags)
    return TrainingReport(
        run,
        progress.ndcg5,
        progress.epoch,
        len(progress.history),
        len(data.training.row),
        len(data.training.image),
        len(data.vocabulary),
        data.joined.notes,
        time.monotonic() - begin,
    )


def refuse_folder(old: SetAside, marks: Sequence[str], *, resume: bool, overwrite: bool) -> set[str]:
    """The ``marks``, names by which a run is known, that are in the folder of ``old``.

    Raises RanktagError for a file, for a folder that holds other things, and for a run
    that is neither to be gone on with nor to be replaced.
    """
    run = old.folder
    if run.exists() and not run.is_dir():
        raise RanktagError(f"{run}: is a file, the run needs a folder; choose another path")
    if not run.exists():
        return set()
    there = old.names() - {LOCK_FILE} - {path.name for path in _leftovers(run)}
    ours = there & set(marks)
    if there and not ours and not old.begun():
        raise RanktagError(f"{run}: is a folder with other things in it; choose a new one for the run")
    if (ours or old.begun()) and not resume and not overwrite:
        raise RanktagError(
            f"{run}: holds a run already; choose another folder, go on with --resume or pass --overwrite"
        )
    return ours


def _refuse_run(old: SetAside, resume: bool, overwrite: bool) -> None:
    ours = refuse_folder(old, RUN_FILES, resume=resume, overwrite=overwrite)
    if ours and resume and STATE_FILE not in ours:
        raise RanktagError(
            f"{old.folder}: holds no {STATE_FILE}, so there is nothing to go on from; begin the run again with --overwrite"
        )


@contextmanager
def locked(old: SetAside) -> Iterator[None]:
    """Make the folder of ``old``, keep other processes from training there, and clear up after one that was killed.

    Raises RanktagError if another process trains there.
    """
    run = old.folder
    run.mkdir(parents=True, exist_ok=True)
    with FileLock(run / LOCK_FILE) as lock:
        if not lock.acquire():
            raise RanktagError(f"{run}: another process is training there; wait for it or choose another folder")
        old.recover()
        for path in _leftovers(run):
            path.unlink()
        yield


def _leftovers(run: Path) -> list[Path]:
    """Files that a process was writing there when it was killed (see ``atomic_path``)."""
    return [path for name in RUN_FILES for path in run.glob(f".{name}.*.tmp")]


def best_epoch(history: Sequence[Epoch], window: int) -> int:
    """The epoch whose NDCG@5, averaged with those of the epochs before it, ``window`` together, is the highest; of equal ones the first.

    A few hundred validation images tell neighbouring epochs apart by chance: the best
    of single numbers is often one of the first that come near, well before the weights are at their best.
    """
    means = [statistics.fmean(row.ndcg5 for row in history[max(0, n - window) : n]) for n in range(1, len(history) + 1)]
    return history[means.index(max(means))].epoch


class _Run:
    """A run in progress: the best weights so far, the history, and their files."""

    def __init__(self, folder: Path, data: TrainingData, config: TrainingConfig, old: SetAside) -> None:
        self.folder, self.data, self.config, self.old = folder, data, config, old
        self.history: list[Epoch] = []
        self.ndcg5, self.epoch = -1.0, 0
        self.best: dict[str, Tensor] = {}

    def state_to_go_on_from(self) -> dict[str, Any] | None:
        """The state that was saved; None if there is none, or one of before the first weights."""
        state = self._read_state()
        if state is None or not self.history:
            return None
        # Should it have been killed between its first save and this.
        self.old.discard()
        return state

    def begin(self) -> None:
        """From now on a resume with other settings or data is refused."""
        self._save_state({})

    def fit(
        self,
        device: torch.device,
        state: dict[str, Any] | None,
        events: EventWriter | None,
        report: Callable[[Epoch], None],
    ) -> None:
        """Train the LSTM to its early stop."""
        trainer = Trainer(self.data, self.config, device)
        if state is not None and not self._stopped():
            self._restore(trainer, state)
        saved = time.monotonic()
        try:
            if events:
                events.begin(self.history)
            while not self._stopped():
                row = trainer.run_epoch()
                self.history.append(row)
                if best_epoch(self.history, self.config.window) == row.epoch:
                    self.ndcg5, self.epoch = row.ndcg5, row.epoch
                    self.best = {
                        name: value.detach().cpu().clone() for name, value in trainer.average.state_dict().items()
                    }
                report(row)
                if events:
                    events.write([row])
                if time.monotonic() - saved >= SECONDS_BETWEEN_STATES or self._stopped():
                    self._save(trainer)
                    saved = time.monotonic()
        except RanktagError:
            # The loss went wrong: the weights of the last good epochs are kept.
            if self.best:
                self._save_model(trainer)
            raise
        finally:
            if events:
                events.close()
        plot_history(self.folder / CURVES_FILE, self.history, self.epoch)

    def _stopped(self) -> bool:
        done = len(self.history)
        return done >= self.config.epochs or done - self.epoch >= self.config.patience

    def fit_baseline(self) -> None:
        """Fit a baseline, choosing its settings on the validation images."""
        data = self.data

        def score(gain: Tensor) -> float:
            return ndcg5(data.validation, best_five(gain))

        trials: Sequence[Trial] = ()
        model: nn.Module
        if self.config.model == "popularity":
            model = fit_popularity(data.training)
        elif self.config.model == "knn":
            model, trials = fit_neighbours(data.training, data.validation, score)
        else:
            model, trials = fit_ridge(data.training, data.validation, score)
        self.ndcg5 = score(torch.cat([model.predict(block.cpu()).gain for _, block in data.validation.blocks()]))
        write_table(self.folder / HISTORY_FILE, ("setting", "ndcg5"), [(t.setting, f"{t.score:.6g}") for t in trials])
        save_checkpoint(self.folder / MODEL_FILE, self._checkpoint(model))
        self.old.discard()

    def _checkpoint(self, model: nn.Module) -> Checkpoint:
        joined = self.data.joined
        return Checkpoint(
            kind=self.config.model,
            model=model,
            vocabulary=self.data.vocabulary,
            longest=self.data.longest,
            split={split: [i for i in joined.image_ids if joined.split[i] == split] for split in SPLITS},
            provenance=joined.store.provenance,
            training=self.config.to_dict(),
            validation={"ndcg5": self.ndcg5, "epoch": self.epoch},
        )

    def _save_model(self, trainer: Trainer) -> None:
        current = {name: value.clone() for name, value in trainer.average.state_dict().items()}
        trainer.average.load_state_dict(self.best)
        save_checkpoint(self.folder / MODEL_FILE, self._checkpoint(trainer.average))
        trainer.average.load_state_dict(current)

    def _save(self, trainer: Trainer) -> None:
        self._save_model(trainer)
        write_history(self.folder / HISTORY_FILE, self.history)
        self._save_state({} if self._stopped() else {"trainer": trainer.state_dict(), "best": self.best})
        self.old.discard()

    def _save_state(self, weights: dict[str, Any]) -> None:
        state = {
            "settings": self._settings(),
            "history": [tuple(row) for row in self.history],
            "ndcg5": self.ndcg5,
            "epoch": self.epoch,
        }
        write_tensors(self.folder / STATE_FILE, state | weights)

    def _settings(self) -> dict[str, Any]:
        # Where the features are kept makes no difference to what is learned.
        settings = self.config.to_dict() | self.data.identity()
        del settings["max_memory"]
        return settings

    def _read_state(self) -> dict[str, Any] | None:
        """The state that was saved, if any. Raises RanktagError if it is damaged or of other settings or data."""
        path = self.folder / STATE_FILE
        if not path.exists():
            return None
        state = read_tensors(path, "state")
        try:
            theirs = dict(state["settings"])
            for name, ours in self._settings().items():
                if name not in theirs:
                    raise RanktagError(
                        f"{self.folder}: was begun by a ranktag that knew no {name}; resume it with that, or begin the run again with --overwrite"
                    )
                if theirs[name] != ours:
                    what = {"cache": "another cache", "tags": "another tag file"}.get(
                        name, f"{name} {theirs[name]}, not {ours}"
                    )
                    raise RanktagError(
                        f"{self.folder}: was begun with {what}; resume it with that, or begin another run"
                    )
            self.history = [Epoch(*row) for row in state["history"]]
            self.ndcg5, self.epoch = state["ndcg5"], state["epoch"]
        except (KeyError, TypeError, ValueError) as error:
            raise _damaged_state(path, error) from None
        return state

    def _restore(self, trainer: Trainer, state: dict[str, Any]) -> None:
        try:
            trainer.load_state_dict(state["trainer"])
            self.best = state["best"]
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            raise _damaged_state(self.folder / STATE_FILE, error) from None

    def write_config(self, cache: Path, tags: Path) -> None:
        """``config.json``: for people to read; nothing reads it back."""
        data = self.data
        content = {
            "ranktag_version": __version__,
            "torch_version": torch.__version__,
            "cache": str(cache),
            "tags": str(tags),
            "settings": self.config.to_dict(),
            "images": data.joined.counts(),
            "split": "made from the split seed" if data.joined.made_split else "from the tag file",
            "training_lists": len(data.training.image),
            "vocabulary": len(data.vocabulary),
            "left_out": list(data.joined.notes),
            "features": asdict(data.joined.store.provenance),
            "validation": {"ndcg5": self.ndcg5, "epoch": self.epoch},
        }
        with atomic_path(self.folder / CONFIG_FILE) as temporary:
            temporary.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _damaged_state(path: Path, error: Exception) -> RanktagError:
    return RanktagError(f"{path}: damaged ({str(error)[:120]}); begin the run again with --overwrite")
