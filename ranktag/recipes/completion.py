"""The second tables of a recipe: what comes next, given the first one or two tags that a person wrote."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from ranktag.config import DecodingConfig, RecipeConfig
from ranktag.decoding.complete import complete
from ranktag.errors import Usage
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


def completed(
    cache: Path, output: Path, config: RecipeConfig, say: Callable[[str], None] = lambda line: None
) -> dict[int, dict[str, list[Path]]]:
    """How the models of a recipe, trained in ``output/runs``, go on after K tags, for each K of GIVEN.

    Returns K -> label -> files, one a seed; a K that no list is longer than is left out. Raises RanktagError as the
    stages do.
    """
    tags, found = output / "tags.csv", dict[int, dict[str, list[Path]]]()
    known = len(load_checkpoint(output / "runs" / f"popularity-{config.seeds[0]}").vocabulary)
    for k in GIVEN:
        decoding = DecodingConfig(num_tags=max(1, min(config.num_tags, known - k)), device=config.device)
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
            say(f"Note: {error}")
            continue
        found[k] = files
    return found
