"""The second tables of a recipe: what comes next, given the first one or two tags that a person wrote."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from ranktag.config import DecodingConfig, EvaluationConfig, RecipeConfig
from ranktag.decoding.complete import complete
from ranktag.errors import Usage
from ranktag.evaluation.evaluate import evaluate
from ranktag.evaluation.results import EvaluationReport
from ranktag.models.checkpoint import load_checkpoint

GIVEN = (1, 2)
BASELINES = (("popularity", False), ("knn", False), ("linear", False), ("logistic", True), ("mlp", True))


class CompletionRow(NamedTuple):
    """A row of a table: a model, whether its training depends on a seed, and how it looks at the given tags."""

    label: str
    model: str
    seeded: bool
    cooccurrence: bool = True


ROWS = (
    *(CompletionRow(f"{name}, masked", name, seeded, False) for name, seeded in BASELINES),
    *(CompletionRow(f"{name} + co-occurrence", name, seeded) for name, seeded in BASELINES),
    CompletionRow("initial-state mbr", "initial-state", True),
    CompletionRow("every-step mbr", "every-step", True),
)


def completion_tables(
    cache: Path, output: Path, config: RecipeConfig, say: Callable[[str], None] = lambda line: None
) -> dict[int, EvaluationReport]:
    """Score how the models of a recipe go on after K tags, for each K of GIVEN, in ``output/completion-K``.

    To be called after ``ranktag.recipes.all_models.run_recipe``, which trains them. A K that no list is longer than
    has no table. Returns K -> report. Raises RanktagError as the stages do.
    """
    tags, tables = output / "tags.csv", {}
    known = len(load_checkpoint(output / "runs" / f"popularity-{config.seeds[0]}").vocabulary)
    for k in GIVEN:
        named = max(1, min(config.num_tags, known - k))
        decoding = DecodingConfig(num_tags=named, device=config.device)
        files: dict[str, list[Path]] = {}
        try:
            for row in ROWS:
                for seed in config.seeds if row.seeded else config.seeds[:1]:
                    run = output / "runs" / f"{row.model}-{seed}"
                    file = output / "completions" / f"given-{k}" / row.label.replace(" ", "-") / f"seed-{seed}.csv"
                    one = decoding.replace(cooccurrence=row.cooccurrence)
                    complete(cache, run, tags, k, file, one, split="test", overwrite=True)
                    files.setdefault(row.label, []).append(file)
        except Usage as error:
            say(str(error))
            continue
        settings = EvaluationConfig(given=k, reference="every-step mbr")
        tables[k] = evaluate(dict(files), tags, output / f"completion-{k}", settings, overwrite=True)
    return tables
