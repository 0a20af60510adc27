"""The epochs of a training, as a table and as curves."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from ranktag.errors import NotFound
from ranktag.files.atomic import atomic_path
from ranktag.files.tables import write_table
from ranktag.training.names import HISTORY_FILE

if TYPE_CHECKING:
    import pandas as pd


class Epoch(NamedTuple):
    """A row of the history.

    loss, validation_loss: mean cross-entropy a tag, in nats. ndcg5: of the validation images' free-running decodes.
    lr: at the end. images_per_second: of training, with what is done beside it. seconds: of training and validation.
    """

    epoch: int
    loss: float
    validation_loss: float
    ndcg5: float
    lr: float
    images_per_second: float
    seconds: float


def write_history(path: Path, epochs: Sequence[Epoch]) -> None:
    """``history.csv``: a row an epoch."""
    write_table(
        path,
        Epoch._fields,
        [[f"{value:.6g}" if isinstance(value, float) else value for value in row] for row in epochs],
    )


def read_history(run: Path | str) -> pd.DataFrame:
    """``history.csv`` of a run folder: a row an epoch, with the columns of ``Epoch``; of a baseline, a row a setting
    tried, with the columns ``setting`` and ``ndcg5``.

    Raises RanktagError if there is none.
    """
    import pandas as pd

    path = Path(run) / HISTORY_FILE
    if not path.is_file():
        raise NotFound(f"{path}: no such file; name a run folder of 'train-from-cache'")
    return pd.read_csv(path)


def plot_history(path: Path, epochs: Sequence[Epoch], kept: int) -> bool:
    """Curves of the losses and of NDCG@5 as PNG, with a dot at the epoch whose weights are kept.

    Returns False, and writes no file, where matplotlib is not installed.
    """
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
    best = epochs[number.index(kept)]
    right.plot(best.epoch, best.ndcg5, "o", color="tab:green")
    right.annotate(
        f"{best.ndcg5:.4f}", (best.epoch, best.ndcg5), textcoords="offset points", xytext=(0, -14), ha="center"
    )
    right.set(xlabel="epoch", ylabel="validation NDCG@5")
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=120, format="png")
    return True
