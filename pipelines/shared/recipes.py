"""What the recipes share: their options, the features, and the table at the end."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ranktag.config import ExtractionConfig, RecipeConfig
from ranktag.pipelines.shared.console import Report
from ranktag.pipelines.shared.options import FilePath
from ranktag.pipelines.shared.startup import share_processors

if TYPE_CHECKING:
    from ranktag.tags.lists import TagLists


def recipe_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Decorator: adds the options of a recipe that are paths."""
    command = click.option(
        "--cache", type=FilePath, show_default="features are extracted", help="A feature cache of the photos."
    )(command)
    return click.option(
        "-o", "--output", type=FilePath, required=True, metavar="FOLDER", help="Folder for everything the recipe makes."
    )(command)


def features(cache: Path | None, photos: Path, output: Path, config: RecipeConfig) -> Path:
    """The given cache, or one extracted from the photos."""
    if cache is not None:
        return cache

    share_processors()
    from ranktag.features.extract import extract_features
    from ranktag.pipelines.extract_features import progress_printer

    made = output / "features.h5"
    extraction = ExtractionConfig(backbone=config.backbone, weights=config.weights, device=config.device)
    extract_features(photos, made, extraction, progress_printer())
    return made


def finish(
    cache: Path, lists: TagLists, output: Path, config: RecipeConfig, photos: Path | None, overwrite: bool
) -> Report:
    """Run the recipe and report its table."""
    share_processors()
    from ranktag.evaluation.report.text import to_text
    from ranktag.pipelines.evaluate import as_dict
    from ranktag.recipes.all_models import run_recipe

    report = run_recipe(
        cache,
        lists,
        output,
        config,
        images=photos if photos is not None and photos.is_dir() else None,
        overwrite=overwrite,
        say=lambda text: click.echo(text, err=True),
    )
    lines = [to_text(report), f"The report is {output / 'report' / 'report.html'}"]
    facts = {
        "output": output,
        "images": len(report.image_ids),
        "rows": [as_dict(row) for row in report.rows],
        "completion": {str(part.config.given): [as_dict(row) for row in part.rows] for part in report.completion},
    }
    return Report(facts, lines, code=0 if report.complete else 1)
