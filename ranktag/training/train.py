"""Stage two: a model learns from cached features and tag lists, and is kept in a run folder.

Everything random in an epoch follows from the seed and the epoch's number, and a
state is saved between epochs, so a run that was killed ends with the same weights,
bit for bit, as one that was not.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from ranktag.compute.allocator import kept_memory
from ranktag.compute.device import choose_device
from ranktag.config import TrainingConfig
from ranktag.errors import Usage
from ranktag.feature_cache.together import Caches
from ranktag.models.lstm import FORMS
from ranktag.training.events import EventWriter
from ranktag.training.history import Epoch, read_history
from ranktag.training.record import write_config, write_missing
from ranktag.training.run import Run, fit_baseline
from ranktag.training.run_folder import RunFolder, sweep_files, sweep_options
from ranktag.training.score import in_words, mean_interval
from ranktag.training.state import StateFile, TrainingState
from ranktag.training.trainer import Trainer
from ranktag.training_data.join import Tags
from ranktag.training_data.load import TrainingData, load_training_data

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class TrainingReport:
    """What came of a training.

    ndcg5: validation NDCG@5 of the kept weights. epoch: the one they are of; epochs:
    how many were run (both 0 for a baseline). images, lists, vocabulary: trained on.
    notes: a sentence for everything that was left out. seconds: of this process. low, high:
    95% interval of ndcg5, by bootstrap over the validation_images (nan if a run of an older
    ranktag was resumed). missing: id -> why, of the tagged images that have no feature; the
    run's missing.csv lists them.
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
    low: float = math.nan
    high: float = math.nan
    validation_images: int = 0
    missing: Mapping[str, str] = field(default_factory=dict)

    @property
    def score(self) -> str:
        """The validation score, its interval, and a word where the images are few."""
        return in_words(self.ndcg5, self.low, self.high, self.validation_images)

    @property
    def history(self) -> pd.DataFrame:
        """The epochs, or a baseline's settings, as in ``ranktag.training.history.read_history``."""
        return read_history(self.run)


@kept_memory()
def train(
    cache: Caches,
    tags: Tags,
    run: Path | str,
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

    cache: one, or several that are used as one. tags: a tag-list file, or the lists as ``TagLists`` or as a
    DataFrame. resume: go on with a run that was stopped, of the same settings and data. overwrite: replace a
    run, which stays as it is if this one fails before its first weights are saved. tensorboard: write event
    files too. data: already loaded, for many runs on the same. started, report: are called when the data is
    there and after every epoch.

    Raises RanktagError for files that cannot be read, a run folder that exists or is in
    use, a resume with other settings or data, and a loss that is not finite.
    """
    begin = time.monotonic()
    _refuse_sweep(Path(run), resume)
    folder = RunFolder(Path(run), sweep_files(Path(run)))
    folder.refuse_run(resume=resume, overwrite=overwrite)
    device = choose_device(config.device)
    data = data or load_training_data(cache, tags, config, device)
    started(data)
    with folder.locked():
        # Looked at again: another process may have trained there while the data was loaded.
        folder.refuse_run(resume=resume, overwrite=overwrite)
        events = EventWriter() if tensorboard else None
        state = StateFile(folder, config, data)
        progress = state.read() if resume else None
        if progress is not None:
            # Should it have been killed between its first save and this.
            folder.commit()
        with folder.new_run(resume=resume) if progress is None else nullcontext():
            if progress is None:
                progress = TrainingState()
                state.save(progress)
            write_missing(folder, data)
            if config.model in FORMS:
                Run(folder, state, Trainer(data, config, device), progress).fit(events, report)
            else:
                progress = fit_baseline(folder, config, data)
        interval = mean_interval(progress.values)
        write_config(folder, config, data, cache, progress, interval)
    return _report(folder, data, progress, interval, time.monotonic() - begin)


def _refuse_sweep(run: Path, resume: bool) -> None:
    """Raise RanktagError where a sweep is to be gone on with as if it was a single training."""
    options = sweep_options(run) if resume else ""
    if options:
        raise Usage(f"{run}: holds a sweep; to go on with it, repeat its options beside --resume: {options}")


def _report(
    folder: RunFolder, data: TrainingData, progress: TrainingState, interval: tuple[float, float], seconds: float
) -> TrainingReport:
    low, high = interval
    return TrainingReport(
        run=folder.path,
        ndcg5=progress.ndcg5,
        epoch=progress.epoch,
        epochs=len(progress.history),
        images=len(data.training.row),
        lists=len(data.training.image),
        vocabulary=len(data.vocabulary),
        notes=data.joined.notes,
        seconds=seconds,
        low=low,
        high=high,
        validation_images=len(data.validation.row),
        missing=data.joined.missing,
    )
