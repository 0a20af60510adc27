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
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ranktag.config import TrainingConfig
from ranktag.device import choose_device
from ranktag.errors import RanktagError
from ranktag.files import atomic_path
from ranktag.tables import write_table
from ranktag.training import RUN_FILES, TrainingReport, train
from ranktag.training_set import TrainingData, load_training_data

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
    cache: Path,
    tags: Path,
    run: Path,
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

    The best training of the best combination becomes the run folder ``run``. resume:
    trainings that are finished are not done again. Returns the combinations, the best first.

    Raises RanktagError for an unknown setting and whatever ``ranktag.training.train`` raises.
    """
    _refuse_sweep(run, resume, overwrite)
    points = [dict(zip(grid, values)) for values in itertools.product(*grid.values())]
    configs = [[config.replace(**point, seed=seed) for seed in seeds] for point in points]
    loaded: dict[tuple[int, int], TrainingData] = {}
    combinations = []
    best: tuple[float, Path] | None = None
    for point, of_seeds in zip(points, configs):
        reports = []
        for one in of_seeds:
            name = ",".join(f"{key}={value:g}" if isinstance(value, float) else f"{key}={value}" for key, value in {**point, "seed": one.seed}.items())
            # The vocabulary and the split follow from these two; all else is shared.
            key = (one.min_count, one.split_seed)
            if key not in loaded:
                loaded[key] = load_training_data(cache, tags, one, choose_device(one.device))
                if overwrite and not resume and len(loaded) == 1:
                    # Not before: a call that fails on its files leaves the old sweep as it is.
                    _remove_sweep(run)
                started(loaded[key])
            reports.append(train(cache, tags, run / POINTS_FOLDER / name, one, resume=True, data=loaded[key]))
            report(name, reports[-1])
        found = Combination(point, [r.ndcg5 for r in reports], [r.epochs for r in reports], sum(r.seconds for r in reports))
        combinations.append(found)
        top = max(reports, key=lambda r: r.ndcg5)
        if best is None or found.mean > best[0]:
            best = (found.mean, top.run)
    combinations.sort(key=lambda combination: -combination.mean)
    header = (*grid, "seeds", "ndcg5_mean", "ndcg5_std", "epochs")
    rows = [
        (*c.settings.values(), len(c.ndcg5), f"{c.mean:.6f}", f"{c.spread:.6f}", " ".join(map(str, c.epochs))) for c in combinations
    ]
    write_table(run / TABLE_FILE, header, rows)
    assert best is not None
    for name in RUN_FILES:
        if (best[1] / name).exists():
            with atomic_path(run / name) as temporary:
                shutil.copyfile(best[1] / name, temporary)
    return combinations


def _refuse_sweep(run: Path, resume: bool, overwrite: bool) -> None:
    if run.exists() and not run.is_dir():
        raise RanktagError(f"{run}: is a file, the run needs a folder; choose another path")
    if resume or not run.exists() or not any(run.iterdir()):
        return
    if not overwrite:
        raise RanktagError(f"{run}: is not empty; choose another folder, go on with --resume or pass --overwrite")


def _remove_sweep(run: Path) -> None:
    shutil.rmtree(run / POINTS_FOLDER, ignore_errors=True)
    for name in (*RUN_FILES, TABLE_FILE):
        (run / name).unlink(missing_ok=True)


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
            raise RanktagError(f"--grid {text}: expected SETTING=VALUE,VALUE with one of {', '.join(k for k in kinds if k != 'seed')}")
        try:
            parsed = [_value(kinds[name], value.strip()) for value in values.split(",")]
        except ValueError:
            raise RanktagError(f"--grid {text}: a value is not of the kind that {name} takes") from None
        if name in grid:
            raise RanktagError(f"--grid {text}: {name} is given twice")
        grid[name] = list(dict.fromkeys(parsed))
    return grid


def _value(kind: type, text: str) -> Any:
    if kind is bool:
        if text not in ("on", "off"):
            raise ValueError(text)
        return text == "on"
    return text if kind in (str, type(None)) else kind(text)
