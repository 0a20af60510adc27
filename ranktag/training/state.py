"""``state.pt`` of a run: what ``resume`` needs to go on exactly, and what it compares first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ranktag.config import TrainingConfig
from ranktag.errors import Damaged, Mismatch, RanktagError
from ranktag.models.checkpoint import read_tensors, write_tensors
from ranktag.training.history import Epoch
from ranktag.training.names import STATE_FILE
from ranktag.training.run_folder import RunFolder
from ranktag.training.trainer import Trainer
from ranktag.training_data.load import TrainingData

# Of what a trainer needs to go on.
FORMAT = 2


@dataclass
class TrainingState:
    """How far a training is.

    history: its epochs. ndcg5, epoch: of the weights that are kept (-1 and 0: none yet; of a
    baseline the epoch stays 0). values: NDCG@5 of each validation image by those weights.
    best: those weights; weights: all that the trainer needs to go
    on; both empty once the training is finished.
    """

    history: list[Epoch] = field(default_factory=list)
    ndcg5: float = -1.0
    epoch: int = 0
    values: Sequence[float] = ()
    best: Mapping[str, Any] = field(default_factory=dict)
    weights: Mapping[str, Any] = field(default_factory=dict)


class StateFile:
    """The state of one run, of the settings and data that it was begun with."""

    def __init__(self, folder: RunFolder, config: TrainingConfig, data: TrainingData) -> None:
        self.folder = folder
        # Where the features are kept makes no difference to what is learned.
        self.settings = config.to_dict() | data.identity()
        del self.settings["max_memory"]

    def save(self, progress: TrainingState) -> None:
        """From now on a resume goes on from here, and one with other settings or data is refused."""
        content = {
            "format": FORMAT,
            "settings": self.settings,
            "history": [tuple(row) for row in progress.history],
            "ndcg5": progress.ndcg5,
            "epoch": progress.epoch,
            "values": list(progress.values),
        }
        weights = {"trainer": progress.weights, "best": progress.best} if progress.weights else {}
        write_tensors(self.folder.file(STATE_FILE), content | weights)

    def read(self) -> TrainingState | None:
        """What was saved; None if nothing was, or nothing but the settings.

        Raises RanktagError if the file is damaged or of other settings or data.
        """
        path = self.folder.file(STATE_FILE)
        if not path.exists():
            return None
        state = read_tensors(path, "state")
        try:
            self._refuse_other(dict(state["settings"]))
            self._refuse_other_format(state)
            history = [Epoch(*row) for row in state["history"]]
            progress = TrainingState(
                history,
                state["ndcg5"],
                state["epoch"],
                state.get("values", ()),
                state.get("best", {}),
                state.get("trainer", {}),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise self._damaged(error) from None
        return progress if history else None

    def restore(self, trainer: Trainer, progress: TrainingState) -> None:
        """Let a trainer go on from there. Raises RanktagError if the weights are not its own."""
        try:
            if not progress.best:
                raise KeyError("best")
            trainer.load_state_dict(dict(progress.weights))
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            raise self._damaged(error) from None

    def _refuse_other(self, theirs: Mapping[str, Any]) -> None:
        run = self.folder.path
        # A run of before there was the setting: where it makes a difference, its weights do not fit.
        before = {"keep_case": self.settings["keep_case"], "head": 0.0, "person_embedding": False}
        before |= {name: self.settings[name] for name in ("person_min_lists", "dropout_person")}
        theirs = before | dict(theirs)
        for name, ours in self.settings.items():
            if name not in theirs:
                raise Mismatch(
                    f"{run}: was begun by a ranktag that knew no {name}; resume it with that, "
                    "or begin the run again with --overwrite"
                )
            if theirs[name] != ours:
                what = {"cache": "another cache", "tags": "another tag file"}.get(
                    name, f"{name} {theirs[name]}, not {ours}"
                )
                raise Mismatch(f"{run}: was begun with {what}; resume it with that, or begin another run")

    def _refuse_other_format(self, state: Mapping[str, Any]) -> None:
        # Of a finished run nothing is needed that might be kept in another way.
        if "trainer" in state and state.get("format") != FORMAT:
            raise Mismatch(
                f"{self.folder.path}: was begun by another version of ranktag, which trains in another way; "
                "resume it with that, or begin the run again with --overwrite"
            )

    def _damaged(self, error: Exception) -> RanktagError:
        path = self.folder.file(STATE_FILE)
        return Damaged(f"{path}: damaged ({str(error)[:120]}); begin the run again with --overwrite")
