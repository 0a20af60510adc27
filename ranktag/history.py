"""The epochs of a training, as a table, as curves and for TensorBoard."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ranktag.errors import RanktagError
from ranktag.files import atomic_path
from ranktag.tables import write_table
from ranktag.trainer import Epoch


def write_history(path: Path, epochs: Sequence[Epoch]) -> None:
    """``history.csv``: a row an epoch."""
    write_table(path, Epoch._fields, [[f"{value:.6g}" if isinstance(value, float) else value for value in row] for row in epochs])


def plot_history(path: Path, epochs: Sequence[Epoch]) -> bool:
    """Curves of the losses and of NDCG@5 as PNG; False, and no file, where matplotlib is not installed."""
    try:
        from matplotlib.figure import Figure
    except ModuleNotFoundError:
        return False
    number = [row.epoch for row in epochs]
    figure = Figure(figsize=(8, 3.2), layout="constrained")
    left, right = figure.subplots(1, 2)
    left.plot(number, [row.loss for row in epochs], label="training")
    left.plot(number, [row.validation_loss for row in epochs], label="validation")
    left.set(xlabel="epoch", ylabel="loss (nats a tag)")
    left.legend(frameon=False)
    right.plot(number, [row.ndcg5 for row in epochs], color="tab:green")
    best = max(epochs, key=lambda row: row.ndcg5)
    right.plot(best.epoch, best.ndcg5, "o", color="tab:green")
    right.annotate(f"{best.ndcg5:.4f}", (best.epoch, best.ndcg5), textcoords="offset points", xytext=(0, -14), ha="center")
    right.set(xlabel="epoch", ylabel="validation NDCG@5")
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=120, format="png")
    return True


EVENT_FILES = "events.out.tfevents.*"


class EventWriter:
    """TensorBoard event files in the run folder. Raises RanktagError where TensorBoard is not installed."""

    def __init__(self, folder: Path) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ModuleNotFoundError:
            raise RanktagError("--tensorboard: TensorBoard is not installed; install it with pip install 'ranktag[tensorboard]'") from None
        self._folder, self._kind = folder, SummaryWriter
        self._writer: Any = None

    def begin(self, epochs: Sequence[Epoch]) -> None:
        """Begin a file with the epochs so far."""
        # TensorBoard is told to forget all that older files say: of a process that was killed they hold epochs that
        # are run again, and lack some that were saved.
        self._writer = self._kind(str(self._folder), purge_step=0)  # type: ignore[no-untyped-call]
        self.write(epochs)

    def write(self, epochs: Sequence[Epoch]) -> None:
        """Add epochs."""
        for row in epochs:
            for name, value in row._asdict().items():
                if name != "epoch":
                    self._writer.add_scalar(name, value, row.epoch)

    def close(self) -> None:
        """Write what is left."""
        if self._writer:
            self._writer.close()
