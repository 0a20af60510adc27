"""The epochs of a training, as a table and as curves."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ranktag.files.atomic import atomic_path
from ranktag.files.tables import write_table
from ranktag.training.loop import Epoch


def write_history(path: Path, epochs: Sequence[Epoch]) -> None:
    """``history.csv``: a row an epoch."""
    write_table(
        path,
        Epoch._fields,
        [[f"{value:.6g}" if isinstance(value, float) else value for value in row] for row in epochs],
    )


def plot_history(path: Path, epochs: Sequence[Epoch], kept: int) -> bool:
    """Curves of the losses and of NDCG@5 as PNG, with a dot at the epoch whose weights are kept; False, and no file, where matplotlib is not installed."""
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
