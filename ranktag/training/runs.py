"""The runs that lie in a folder: of which data and settings, how good, finished or not. Torch is not needed."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ranktag.config import BASELINE_SETTINGS, BASELINES, TrainingConfig
from ranktag.errors import NotFound, NotInstalled, Usage
from ranktag.files.atomic import atomic_path
from ranktag.files.lock import is_locked
from ranktag.training.names import CONFIG_FILE, HISTORY_FILE, LOCK_FILE, STATE_FILE, TRAININGS_FILE

if TYPE_CHECKING:
    import pandas as pd

FINISHED, TRAINING, STOPPED = "finished", "training", "stopped"


@dataclass(frozen=True)
class RunSummary:
    """What a run folder says of itself.

    state: 'finished'; 'training', if a process is at work there; or 'stopped', to be gone on with. settings: those of
    the training; {} until it is finished, as is all that is not known. ndcg5, low, high: on the validation images,
    with a 95% interval; of an unfinished run the best epoch's so far, without. epoch: the one they are of; epochs:
    how many are done (None of baselines). seconds: of the epochs. trainings: of a sweep, of how many it is the winner.
    """

    path: Path
    state: str
    settings: Mapping[str, Any]
    cache: str
    tags: str
    images: Mapping[str, int]
    ndcg5: float | None
    low: float | None
    high: float | None
    epoch: int | None
    epochs: int | None
    seconds: float | None
    finished: str
    trainings: int = 0

    @property
    def data(self) -> str:
        """The tag lists and the cache, by their files' names."""
        return f"{Path(self.tags).name} on {Path(self.cache).name}" if self.tags else ""

    @property
    def score(self) -> str:
        """The validation score as text; '' where there is none yet."""
        if self.ndcg5 is None:
            return ""
        return f"{self.ndcg5:.4f}" + (f" [{self.low:.4f}, {self.high:.4f}]" if self.low and self.high else "")

    def used_settings(self) -> dict[str, Any]:
        """Those that the model makes use of."""
        all_used = self.settings.get("model") not in BASELINES
        return {name: value for name, value in self.settings.items() if all_used or name in BASELINE_SETTINGS}

    def changed_settings(self) -> dict[str, Any]:
        """Those of them that are not the defaults."""
        defaults = TrainingConfig().to_dict()
        return {k: v for k, v in self.used_settings().items() if k != "model" and defaults.get(k, v) != v}

    def to_dict(self) -> dict[str, Any]:
        """Everything, ready for JSON."""
        return {**vars(self), "path": str(self.path)}


def is_run(folder: Path) -> bool:
    """Whether a folder is one that a training has written to."""
    return (folder / CONFIG_FILE).is_file() or (folder / STATE_FILE).is_file()


def find_runs(folders: Iterable[str | Path]) -> list[RunSummary]:
    """The runs in folders, which may be runs themselves, in the order of their paths.

    Raises RanktagError for a folder that is not there, and where there is no run at all.
    """
    found = []
    places = [Path(folder) for folder in folders]
    for folder in places:
        if not folder.is_dir():
            raise NotFound(f"{folder}: no such folder; name a run or a folder that holds runs")
        for place, names, _ in os.walk(folder):
            # Hidden ones are runs in the making.
            names[:] = sorted(name for name in names if not name.startswith("."))
            if is_run(Path(place)):
                found.append(summarise(Path(place)))
    if not found:
        where = ", ".join(map(str, places))
        raise NotFound(f"{where}: holds no run; name a folder that 'train-from-cache -o FOLDER' has made")
    return found


def summarise(run: str | Path) -> RunSummary:
    """What a run folder says of itself. Raises RanktagError if its config.json cannot be read."""
    run = Path(run)
    config = _read_config(run / CONFIG_FILE)
    validation = config.get("validation", {})
    history = _read_table(run / HISTORY_FILE)
    of_epochs = history is not None and "epoch" in history and len(history) > 0
    best = history.loc[history["ndcg5"].idxmax()] if history is not None and of_epochs else None
    state = FINISHED if config else TRAINING if is_locked(run / LOCK_FILE) else STOPPED
    return RunSummary(
        path=run,
        state=state,
        settings=config.get("settings", {}),
        cache=_as_text(config.get("cache", "")),
        tags=str(config.get("tags", "")),
        images=config.get("images", {}),
        ndcg5=validation.get("ndcg5", None if best is None else float(best["ndcg5"])),
        low=validation.get("low"),
        high=validation.get("high"),
        epoch=validation.get("epoch", None if best is None else int(best["epoch"])) or None,
        epochs=len(history) if history is not None and of_epochs else None,
        seconds=float(history["seconds"].sum()) if history is not None and "seconds" in history else None,
        finished=config.get("finished", ""),
        trainings=_rows(run / TRAININGS_FILE),
    )


def _read_config(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        content = None
    if not isinstance(content, dict):
        raise Usage(f"{path}: is no run's config.json; leave the folder out, or train the run again")
    return content


def _as_text(caches: str | Sequence[str]) -> str:
    return caches if isinstance(caches, str) else ", ".join(caches)


def _read_table(path: Path) -> pd.DataFrame | None:
    import pandas as pd

    return pd.read_csv(path) if path.is_file() else None


def _rows(path: Path) -> int:
    table = _read_table(path)
    return 0 if table is None else len(table)


def compared(runs: Sequence[RunSummary]) -> list[list[str]]:
    """A table with a column a run: what differs between their data and settings, and how good each is."""
    names = dict.fromkeys(name for run in runs for name in run.used_settings())
    facts: dict[str, list[str]] = {
        "state": [run.state for run in runs],
        "model": [str(run.settings.get("model", "")) for run in runs],
        "tags": [run.tags for run in runs],
        "cache": [run.cache for run in runs],
        "images": [", ".join(f"{n:,} {split}" for split, n in run.images.items()) for run in runs],
    }
    for name in names:
        values = [str(run.used_settings().get(name, "")) for run in runs]
        if name != "model" and len(set(values)) > 1:
            facts[name] = values
    facts["NDCG@5"] = [run.score for run in runs]
    facts["best epoch"] = ["" if run.epoch is None else f"{run.epoch} of {run.epochs}" for run in runs]
    facts["seconds"] = ["" if run.seconds is None else f"{run.seconds:.1f}" for run in runs]
    return [[name, *values] for name, values in facts.items() if any(values)]


def curves(runs: Sequence[RunSummary]) -> pd.DataFrame:
    """NDCG@5 on the validation images: a row an epoch, a column a run, named by its path; nan where one has ended."""
    import pandas as pd

    found = {}
    for run in runs:
        history = _read_table(run.path / HISTORY_FILE)
        if history is not None and "epoch" in history:
            found[str(run.path)] = history.set_index("epoch")["ndcg5"]
    return pd.DataFrame(found)


def plot_runs(path: str | Path, runs: Sequence[RunSummary]) -> None:
    """The runs' curves of validation NDCG@5 in one picture, of the kind that the file's ending names (.png, .svg).

    Raises RanktagError where matplotlib is not installed, knows no such kind, or no run has curves.
    """
    path, table = Path(path), curves(runs)
    try:
        from matplotlib.figure import Figure
    except ModuleNotFoundError:
        raise NotInstalled("curves are drawn by matplotlib; pip install 'ranktag[plots]'") from None
    if not len(table):
        raise Usage("none of these runs has epochs: baselines have no curves; leave out --curves")
    figure = Figure(figsize=(8, 4.5), layout="constrained")
    kind = path.suffix.lstrip(".").lower() or "png"
    if kind not in figure.canvas.get_supported_filetypes():
        raise Usage(f"{path}: a picture of that kind cannot be drawn; name a .png, .svg or .pdf")
    axes = figure.subplots()
    for name, values in table.items():
        line = axes.plot(values.index, values, label=str(name))[0]
        axes.plot(values.idxmax(), values.max(), "o", color=line.get_color())
    axes.set(xlabel="epoch", ylabel="validation NDCG@5")
    axes.legend(frameon=False)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=120, format=kind)
