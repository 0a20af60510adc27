"""Many trainings on the same data: every combination of settings, with every seed, ranked by validation NDCG@5.

runs/NAME/points/lr=0.001,seed=0/  each training, an ordinary run folder
runs/NAME/sweep.csv                a row a combination, the best first
runs/NAME/model.pt, ...            copies of the best training's files
"""

from __future__ import annotations

import itertools
import shutil
import statistics
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ranktag.compute.device import choose_device
from ranktag.config import TrainingConfig
from ranktag.errors import NotFound, Usage
from ranktag.feature_cache.together import Caches
from ranktag.files.atomic import atomic_path
from ranktag.files.tables import write_table
from ranktag.training.run_folder import LOCK_FILE, RUN_FILES, RunFolder
from ranktag.training.train import TrainingReport, train
from ranktag.training_data.join import Tags
from ranktag.training_data.load import TrainingData, load_training_data

if TYPE_CHECKING:
    import pandas as pd

POINTS_FOLDER, TABLE_FILE = "points", "sweep.csv"


@dataclass(frozen=True)
class Combination:
    """A combination of settings. ndcg5: validation NDCG@5 of each seed's training."""

    settings: Mapping[str, Any]
    ndcg5: Sequence[float]
    epochs: Sequence[int]
    seconds: float

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
) -> list[Combination]:
    """Train every combination of ``grid`` (setting -> values) with every seed; the rest is as in ``config``.

    The best training of the best combination becomes the run folder ``run``. resume: trainings that are finished are
    not done again. overwrite: replace a sweep or a run, which stays as it is if this one fails before its first
    training is finished. Returns the combinations, the best first.

    Raises RanktagError for an unknown setting and whatever ``ranktag.training.train.train`` raises.
    """
    folder = RunFolder(Path(run), (TABLE_FILE, POINTS_FOLDER))
    _refuse_sweep(folder, resume, overwrite)
    points = [dict(zip(grid, values)) for values in itertools.product(*grid.values())]
    configs = [[config.replace(**point, seed=seed) for seed in seeds] for point in points]
    data = _Data(cache, tags, started)

    def train_point(point: Mapping[str, Any], one: TrainingConfig) -> TrainingReport:
        name = ",".join(f"{key}={value}" for key, value in {**point, "seed": one.seed}.items())
        trained = train(cache, tags, folder.file(POINTS_FOLDER) / name, one, resume=True, data=data.load(one))
        folder.commit()
        trained = replace(trained, run=folder.path / POINTS_FOLDER / name)
        report(name, trained)
        return trained

    # Before the folder is made: a call that fails on its files leaves all as it is.
    data.load(configs[0][0])
    with folder.locked():
        _refuse_sweep(folder, resume, overwrite)
        with nullcontext() if resume else folder.new_run(resume=False):
            reports = [[train_point(point, one) for one in of_seeds] for point, of_seeds in zip(points, configs)]
        return _keep_best(folder.path, points, reports)


class _Data:
    """What a sweep trains on, loaded once."""

    def __init__(self, cache: Caches, tags: Tags, started: Callable[[TrainingData], None]) -> None:
        self._cache, self._tags, self._started = cache, tags, started
        self._loaded: dict[tuple[int, int, bool], TrainingData] = {}

    def load(self, config: TrainingConfig) -> TrainingData:
        # The vocabulary and the split follow from these settings; all else is shared.
        key = (config.min_count, config.split_seed, config.keep_case)
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

    path = Path(run) / TABLE_FILE
    if not path.is_file():
        raise NotFound(f"{path}: no such file; name the folder of a 'train-from-cache' with --seeds or --grid")
    return pd.read_csv(path, dtype={"epochs": str})


def _keep_best(
    run: Path, points: Sequence[Mapping[str, Any]], reports: Sequence[Sequence[TrainingReport]]
) -> list[Combination]:
    """Copy the best training's files and write the table.

    points: the settings of each combination; reports: its trainings. Returns the combinations, the best first.
    """
    found = [
        Combination(point, [r.ndcg5 for r in of_seeds], [r.epochs for r in of_seeds], sum(r.seconds for r in of_seeds))
        for point, of_seeds in zip(points, reports)
    ]
    ranked = sorted(zip(found, reports), key=lambda pair: -pair[0].mean)
    header = (*points[0], "seeds", "ndcg5_mean", "ndcg5_std", "epochs")
    rows = [
        (*c.settings.values(), len(c.ndcg5), f"{c.mean:.6f}", f"{c.spread:.6f}", " ".join(map(str, c.epochs)))
        for c, _ in ranked
    ]
    write_table(run / TABLE_FILE, header, rows)
    best = max(ranked[0][1], key=lambda report: report.ndcg5).run
    for name in RUN_FILES:
        if (best / name).exists():
            with atomic_path(run / name) as temporary:
                shutil.copyfile(best / name, temporary)
    return [combination for combination, _ in ranked]


def _refuse_sweep(folder: RunFolder, resume: bool, overwrite: bool) -> None:
    # A folder "points" may be anybody's: one of trainings holds their locks.
    points = (POINTS_FOLDER,) if any((folder.path / POINTS_FOLDER).glob(f"*/{LOCK_FILE}")) else ()
    folder.refuse((*RUN_FILES, TABLE_FILE, *points), resume=resume, overwrite=overwrite)


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
