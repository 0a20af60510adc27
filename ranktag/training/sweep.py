"""Many trainings on the same data: every combination of settings, with every seed, ranked by validation NDCG@5.

runs/NAME/points/lr=0.001,seed=0/  each training, an ordinary run folder
runs/NAME/sweep.json               the grid and the seeds
runs/NAME/sweep.csv                a row a combination, the best first
runs/NAME/trainings.csv            a row a training: its scores, its seconds, where it is, whether it won
runs/NAME/model.pt, ...            copies of the winner's files
"""

from __future__ import annotations

import itertools
import json
import math
import shutil
import statistics
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ranktag.compute.device import choose_device
from ranktag.config import BASELINES, TrainingConfig
from ranktag.errors import NotFound, Usage
from ranktag.feature_cache.together import Caches
from ranktag.files.atomic import atomic_path
from ranktag.files.tables import write_table
from ranktag.progress import Progress
from ranktag.training.names import POINTS_FOLDER, RUN_FILES, SWEEP_FILE, TABLE_FILE, TRAININGS_FILE
from ranktag.training.run_folder import RunFolder, sweep_files
from ranktag.training.train import TrainingReport, train
from ranktag.training_data.join import Tags
from ranktag.training_data.load import TrainingData, load_training_data

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Combination:
    """A combination of settings. seeds, trainings: of each training, the seed and what came of it."""

    settings: Mapping[str, Any]
    seeds: Sequence[int]
    trainings: Sequence[TrainingReport]

    @property
    def ndcg5(self) -> list[float]:
        """Validation NDCG@5 of each training."""
        return [report.ndcg5 for report in self.trainings]

    @property
    def best(self) -> TrainingReport:
        """The training of the highest NDCG@5."""
        return max(self.trainings, key=lambda report: report.ndcg5)

    @property
    def mean(self) -> float:
        """Mean NDCG@5 over the seeds."""
        return statistics.fmean(self.ndcg5)

    @property
    def spread(self) -> float:
        """Standard deviation over the seeds; 0 for one."""
        return statistics.stdev(self.ndcg5) if len(self.ndcg5) > 1 else 0.0


def sweep(
    cache: Caches,
    tags: Tags,
    run: Path | str,
    config: TrainingConfig,
    grid: Mapping[str, Sequence[Any]],
    seeds: Sequence[int],
    *,
    resume: bool = False,
    overwrite: bool = False,
    started: Callable[[TrainingData], None] = lambda data: None,
    report: Callable[[str, TrainingReport], None] = lambda name, report: None,
    progress: Progress | None = None,
) -> list[Combination]:
    """Train every combination of ``grid`` (setting -> values) with every seed; the rest is as in ``config``.

    The best training of the best combination becomes the run folder ``run``. resume: trainings that are finished are
    not done again. overwrite: replace a sweep or a run, which stays as it is if this one fails before its first
    training is finished. report: is called after every training with its name. progress: is told of every epoch.
    Returns the combinations, the best first; the winner is the first one's ``best``.

    Raises RanktagError for an unknown setting and whatever ``ranktag.training.train.train`` raises.
    """
    folder, shown = (
        RunFolder(Path(run), (SWEEP_FILE, TABLE_FILE, TRAININGS_FILE, POINTS_FOLDER)),
        progress or Progress(),
    )
    _refuse_sweep(folder, resume, overwrite)
    points = [dict(zip(grid, values)) for values in itertools.product(*grid.values())]
    configs = [[config.replace(**point, seed=seed) for seed in seeds] for point in points]
    data = _Data(cache, tags, started)
    numbers = itertools.count(1)

    def train_point(point: Mapping[str, Any], one: TrainingConfig) -> TrainingReport:
        name = ",".join(f"{key}={value}" for key, value in {**point, "seed": one.seed}.items())
        place = folder.file(POINTS_FOLDER) / name
        what = f"{name} ({next(numbers)} of {len(points) * len(seeds)})"
        with shown.working(what, None if one.model in BASELINES else one.epochs, "epochs"):
            trained = train(
                cache, tags, place, one, resume=True, data=data.load(one), report=lambda epoch: shown.advance()
            )
        folder.commit()
        trained = replace(trained, run=folder.path / POINTS_FOLDER / name)
        report(name, trained)
        return trained

    # Before the folder is made: a call that fails on its files leaves all as it is.
    data.load(configs[0][0])
    with folder.locked():
        _refuse_sweep(folder, resume, overwrite)
        with nullcontext() if resume else folder.new_run(resume=False):
            _write_call(folder, grid, seeds)
            reports = [[train_point(point, one) for one in of_seeds] for point, of_seeds in zip(points, configs)]
        return _keep_best(
            folder.path, [Combination(point, seeds, of_seeds) for point, of_seeds in zip(points, reports)]
        )


def _write_call(folder: RunFolder, grid: Mapping[str, Sequence[Any]], seeds: Sequence[int]) -> None:
    """Keep what was asked for, so that a resume that asks for less is told."""
    content = {"grid": {name: list(values) for name, values in grid.items()}, "seeds": list(seeds)}
    with atomic_path(folder.file(SWEEP_FILE)) as temporary:
        temporary.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


class _Data:
    """What a sweep trains on, loaded once."""

    def __init__(self, cache: Caches, tags: Tags, started: Callable[[TrainingData], None]) -> None:
        self._cache, self._tags, self._started = cache, tags, started
        self._loaded: dict[tuple[int, int, bool, int], TrainingData] = {}

    def load(self, config: TrainingConfig) -> TrainingData:
        # The vocabulary and the split follow from these settings; all else is shared.
        least = config.person_min_lists if config.person_embedding else 0
        key = (config.min_count, config.split_seed, config.keep_case, least)
        if key not in self._loaded:
            self._loaded[key] = load_training_data(self._cache, self._tags, config, choose_device(config.device))
            self._started(self._loaded[key])
        return self._loaded[key]


def read_sweep(run: Path | str) -> pd.DataFrame:
    """``sweep.csv`` of a sweep's folder: a row a combination, the best first.

    Columns: the settings of the grid, ``seeds`` (their number), ``ndcg5_mean``, ``ndcg5_std`` (0 for one seed), and
    ``epochs``, text: those of each seed's training. Raises RanktagError if there is none.
    """
    import pandas as pd

    return pd.read_csv(_file_of_sweep(run, TABLE_FILE), dtype={"epochs": str})


def read_trainings(run: Path | str) -> pd.DataFrame:
    """``trainings.csv`` of a sweep's folder: a row a training, those of the best combination first.

    Columns: the settings of the grid, ``seed``; ``ndcg5`` with ``low`` and ``high``, ``epoch``, ``epochs``,
    ``seconds``, ``winner`` (bool) and ``run``, its folder below the sweep's. Raises RanktagError if there is none.
    """
    import pandas as pd

    table = pd.read_csv(_file_of_sweep(run, TRAININGS_FILE))
    table["winner"] = table["winner"] == "yes"
    return table


def _file_of_sweep(run: Path | str, name: str) -> Path:
    path = Path(run) / name
    if not path.is_file():
        raise NotFound(f"{path}: no such file; name the folder of a 'train-from-cache' with --seeds or --grid")
    return path


def best_runs(run: Path | str) -> dict[int, Path]:
    """The run folder of each seed of a sweep's best combination. Raises RanktagError where no sweep is finished."""
    table = read_trainings(run)
    settings = list(table.columns[: list(table.columns).index("seed")])
    winner = table[table["winner"]].iloc[0]
    alike = table[(table[settings].astype(str) == winner[settings].astype(str)).all(axis=1)]
    return {int(seed): Path(run) / place for seed, place in zip(alike["seed"], alike["run"])}


def _keep_best(run: Path, found: Sequence[Combination]) -> list[Combination]:
    """Copy the winner's files and write the tables. Returns the combinations, the best first."""
    ranked = sorted(found, key=lambda combination: -combination.mean)
    winner = ranked[0].best
    header = (*ranked[0].settings, "seeds", "ndcg5_mean", "ndcg5_std", "epochs")
    rows = [
        (
            *c.settings.values(),
            len(c.seeds),
            f"{c.mean:.6f}",
            f"{c.spread:.6f}",
            " ".join(str(report.epochs) for report in c.trainings),
        )
        for c in ranked
    ]
    write_table(run / TABLE_FILE, header, rows)
    header = (*ranked[0].settings, "seed", "ndcg5", "low", "high", "epoch", "epochs", "seconds", "winner", "run")
    write_table(
        run / TRAININGS_FILE,
        header,
        [
            (*c.settings.values(), seed, *_scores(report), "yes" if report is winner else "no", _place(report))
            for c in ranked
            for seed, report in zip(c.seeds, c.trainings)
        ],
    )
    for name in RUN_FILES:
        if (winner.run / name).exists():
            with atomic_path(run / name) as temporary:
                shutil.copyfile(winner.run / name, temporary)
    return ranked


def _scores(report: TrainingReport) -> tuple[str, str, str, int, int, str]:
    history = report.history
    # Those of earlier processes, too, where it was gone on with.
    seconds = float(history["seconds"].sum()) if "seconds" in history else report.seconds
    low, high = ("" if math.isnan(bound) else f"{bound:.6f}" for bound in (report.low, report.high))
    return f"{report.ndcg5:.6f}", low, high, report.epoch, report.epochs, f"{seconds:.1f}"


def _place(report: TrainingReport) -> str:
    """A training's folder below the sweep's."""
    return f"{POINTS_FOLDER}/{report.run.name}"


def _refuse_sweep(folder: RunFolder, resume: bool, overwrite: bool) -> None:
    folder.refuse((*RUN_FILES, *sweep_files(folder.path)), resume=resume, overwrite=overwrite)


def parse_grid(texts: Sequence[str]) -> dict[str, list[Any]]:
    """'lr=3e-4,1e-3' -> {'lr': [0.0003, 0.001]}, with each value of its setting's type.

    Raises RanktagError for an unknown setting or a value that does not fit.
    """
    kinds = {name: type(value) for name, value in TrainingConfig().to_dict().items()}
    grid: dict[str, list[Any]] = {}
    for text in texts:
        name, equals, values = text.partition("=")
        name = name.strip().replace("-", "_")
        if not equals or name not in kinds or name == "seed":
            settings = ", ".join(kind for kind in kinds if kind != "seed")
            raise Usage(f"--grid {text}: is of another form; write SETTING=VALUE,VALUE with one of {settings}")
        try:
            parsed = [_value(kinds[name], value.strip()) for value in values.split(",")]
        except ValueError:
            raise Usage(f"--grid {text}: a value is not of the kind that {name} takes; see --help") from None
        if name in grid:
            raise Usage(f"--grid {text}: {name} is given twice; put its values into one")
        grid[name] = list(dict.fromkeys(parsed))
    return grid


def _value(kind: type, text: str) -> Any:
    if kind is bool:
        if text not in ("on", "off"):
            raise ValueError(text)
        return text == "on"
    return text if kind in (str, type(None)) else kind(text)
