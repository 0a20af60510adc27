"""``ranktag pascal2007``: the recipe for PASCAL VOC 2007."""

from __future__ import annotations

from pathlib import Path

import click

from ranktag.config import RecipeConfig
from ranktag.pipelines.shared.command import Command
from ranktag.pipelines.shared.console import Report
from ranktag.pipelines.shared.options import FilePath, config_options, overwrite_option, refuse_unused
from ranktag.pipelines.shared.recipes import features, finish, recipe_options


@click.command(cls=Command)
@click.argument("source", type=FilePath)
@recipe_options
@config_options(RecipeConfig)
@overwrite_option
def command(source: Path, output: Path, cache: Path | None, config: RecipeConfig, overwrite: bool) -> Report:
    """Every model on PASCAL VOC 2007, to the finished table.

    SOURCE is a VOC devkit folder. Tags are its classes, the largest box first, in the
    official splits. Features are extracted from its photos unless --cache gives them.
    """
    if cache is not None:
        refuse_unused(["weights"], "with --cache no features are extracted")
    from ranktag.tags.readers import voc

    tag_lists = voc.read(source, voc.VocConfig()).tag_lists
    photos = voc.voc_folder(source) / "JPEGImages"
    return finish(features(cache, photos, output, config), tag_lists, output, config, photos, overwrite)
