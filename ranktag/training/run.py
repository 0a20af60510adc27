"""One training in progress: of an LSTM epoch by epoch to its early stop, of a baseline at once."""

from __future__ import annotations

import statistics
import time
import warnings
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, nullcontext

import numpy as np
import torch
from torch import Tensor

from ranktag import registry
from ranktag.config import BASELINE_FOLDER, TrainingConfig
from ranktag.errors import RanktagError, RanktagWarning
from ranktag.files.tables import write_table
from ranktag.models.baselines import mlp
from ranktag.models.baselines._shared import Baseline
from ranktag.models.checkpoint import MODEL_FILE, Checkpoint, Model, load_checkpoint, save_checkpoint
from ranktag.models.ranking import Head, best_five
from ranktag.tags.splits import SPLITS
from ranktag.training.events import EventWriter
from ranktag.training.history import Epoch, plot_history, write_history
from ranktag.training.names import CURVES_FILE, HISTORY_FILE
from ranktag.training.run_folder import RunFolder
from ranktag.training.score import ndcg5, ndcg5_of_images
from ranktag.training.state import StateFile, TrainingState
from ranktag.training.trainer import Trainer
from ranktag.training_data.load import TrainingData

# A state is five times the weights, so it is not written after every short epoch.
SECONDS_BETWEEN_STATES = 10.0


class Run:
    """An LSTM in training: its trainer, how far it is, and the files that are saved."""

    def __init__(self, folder: RunFolder, state: StateFile, trainer: Trainer, progress: TrainingState) -> None:
        self.folder, self.state, self.trainer, self.progress = folder, state, trainer, progress
        self.config = trainer.config
        if progress.history and not self.stopped:
            state.restore(trainer, progress)

    @property
    def stopped(self) -> bool:
        """Whether all epochs are run, or the best is too long ago."""
        done = len(self.progress.history)
        return done >= self.config.epochs or done - self.progress.epoch >= self.config.patience

    def fit(self, events: EventWriter | None, report: Callable[[Epoch], None]) -> None:
        """Run epochs to the early stop, saving now and then, and draw the curves."""
        head = self._begin_head()
        if head is not None:
            # Much of a head's step is Python: it fits between those of the LSTMs.
            self.trainer.members.beside = head
        with (
            closing(self.trainer),
            nullcontext() if events is None else events.begun(self.folder, self.progress.history),
        ):
            self._run_epochs(events, report)
        with ThreadPoolExecutor(1) as beside:
            # Most of it is the import of matplotlib.
            drawn = beside.submit(
                plot_history, self.folder.file(CURVES_FILE), self.progress.history, self.progress.epoch
            )
            self._finish(head)
            drawn.result()

    def _run_epochs(self, events: EventWriter | None, report: Callable[[Epoch], None]) -> None:
        saved = time.monotonic()
        try:
            while not self.stopped:
                # When a state is due, the members are not to be in the next epoch already.
                row = self.trainer.run_epoch(ahead_until=saved + SECONDS_BETWEEN_STATES)
                self._take(row)
                report(row)
                if events:
                    events.write([row])
                due = time.monotonic() - saved >= SECONDS_BETWEEN_STATES and not self.trainer.ahead
                if due or self.stopped:
                    self._save()
                    saved = time.monotonic()
        except RanktagError:
            # The loss went wrong: the weights of the last good epochs are kept.
            if self.progress.best:
                self._save_model()
            raise

    def _begin_head(self) -> mlp.HeadTraining | None:
        """The training of what has a say beside the LSTMs, if that is wanted and fits the memory."""
        data, config = self.trainer.data, self.config
        if not config.head:
            return None
        gibibytes = mlp.head_gibibytes(data.training, data.validation)
        if gibibytes > config.max_memory:
            warnings.warn(
                f"the network beside the LSTMs is left out, as its training takes {gibibytes:.1f} GiB, more than "
                f"--max-memory {config.max_memory:g}; raise it, or pass --head 0 to say that none is wanted",
                RanktagWarning,
                stacklevel=2,
            )
            return None
        device, epochs = self.trainer.device, config.epochs
        return mlp.HeadTraining(data, lambda gain: _score(data, gain), config.seed, device, epochs)

    def _finish(self, head: mlp.HeadTraining | None) -> None:
        """Train the head to its end, and make the kept model's probabilities honest, where that was not done before."""
        # Not before: a training's first step does not wait for the decoders.
        from ranktag.training.calibrate import temperature_for

        data, saved = self.trainer.data, load_checkpoint(self.folder.file(MODEL_FILE)).model
        if head is not None and not isinstance(saved, Baseline) and saved.head is None:
            saved.head = Head(head.trained(), self.config.head)
            self._save_kept(saved)
        if saved.temperature is None:
            saved.temperature = temperature_for(saved, data, self.config, self.trainer.device)
            self._save_kept(saved)

    def _save_kept(self, model: Model) -> None:
        _save_checkpoint(self.folder, model, self.config, self.trainer.data, self.progress)
        self.folder.commit()

    def _take(self, row: Epoch) -> None:
        progress = self.progress
        progress.history.append(row)
        if best_epoch(progress.history, self.config.window) == row.epoch:
            progress.ndcg5, progress.epoch, progress.values = row.ndcg5, row.epoch, self.trainer.values.tolist()
            weights = self.trainer.average.state_dict()
            progress.best = {name: value.detach().cpu().clone() for name, value in weights.items()}

    def _save(self) -> None:
        self._save_model()
        write_history(self.folder.file(HISTORY_FILE), self.progress.history)
        self.progress.weights = {} if self.stopped else self.trainer.state_dict()
        self.state.save(self.progress)
        self.folder.commit()

    def _save_model(self) -> None:
        model = self.trainer.average
        current = {name: value.clone() for name, value in model.state_dict().items()}
        model.load_state_dict(self.progress.best)
        _save_checkpoint(self.folder, model, self.config, self.trainer.data, self.progress)
        model.load_state_dict(current)


def best_epoch(history: Sequence[Epoch], window: int) -> int:
    """The epoch of the highest mean NDCG@5 of it and the ``window`` - 1 epochs before it; of equal ones the first.

    A few hundred validation images tell neighbouring epochs apart by chance: the best
    of single numbers is often one of the first that come near, well before the weights are at their best.
    """
    means = [statistics.fmean(row.ndcg5 for row in history[max(0, n - window) : n]) for n in range(1, len(history) + 1)]
    return history[means.index(max(means))].epoch


def fit_baseline(folder: RunFolder, config: TrainingConfig, data: TrainingData) -> TrainingState:
    """Fit a baseline, choosing its settings on the validation images, and save it."""
    from ranktag.training.calibrate import temperature_for

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        model, attempts = registry.load(BASELINE_FOLDER, config.model).fit(
            data.training, data.validation, lambda gain: _score(data, gain)
        )
        attempts = [*attempts, *model.learn_cooccurrence(data.training, data.validation)]
    gains = [model.predict(block.cpu()).gain for _, block in data.validation.blocks()]
    values = ndcg5_of_images(data.validation, best_five(torch.cat(gains)))
    progress = TrainingState(ndcg5=float(np.mean(values)), values=values.tolist())
    model.temperature = temperature_for(model, data, config, torch.device("cpu"))
    rows = [(attempt.setting, f"{attempt.score:.6g}") for attempt in attempts]
    write_table(folder.file(HISTORY_FILE), ("setting", "ndcg5"), rows)
    _save_checkpoint(folder, model, config, data, progress)
    folder.commit()
    return progress


def _score(data: TrainingData, gain: Tensor) -> float:
    """NDCG@5 of the validation images, from the gain (N, V) of their tags."""
    return ndcg5(data.validation, best_five(gain))


def _save_checkpoint(
    folder: RunFolder, model: Model, config: TrainingConfig, data: TrainingData, progress: TrainingState
) -> None:
    joined = data.joined
    checkpoint = Checkpoint(
        kind=config.model,
        model=model,
        vocabulary=data.vocabulary,
        longest=data.longest,
        split={split: [i for i in joined.image_ids if joined.split[i] == split] for split in SPLITS},
        provenance=joined.store.provenance,
        training=config.to_dict(),
        validation={"ndcg5": progress.ndcg5, "epoch": progress.epoch},
    )
    save_checkpoint(folder.file(MODEL_FILE), checkpoint)
