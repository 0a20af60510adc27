"""``ranktag labelme``: the recipe for LabelMe."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import click

from ranktag.config import RecipeConfig
from ranktag.errors import RanktagError
from ranktag.pipelines.shared.command import Command
from ranktag.pipelines.shared.console import Report
from ranktag.pipelines.shared.options import FilePath, config_options, overwrite_option, refuse_unused
from ranktag.pipelines.shared.recipes import features, finish, recipe_options


@click.command(cls=Command)
@click.argument("tags", type=FilePath)
@click.argument("images", type=FilePath, required=False)
@recipe_options
@config_options(RecipeConfig)
@overwrite_option
def command(
    tags: Path, images: Path | None, output: Path, cache: Path | None, config: RecipeConfig, overwrite: bool
) -> Report:
    """Every model on LabelMe, or any other tag lists, to the finished table.

    TAGS is a tag-list file ('ranktag prepare labelme-xml' or 'labelme-json' make one), IMAGES
    the folder of the photos. Features are extracted from them unless --cache gives them; then
    IMAGES may be left out, and is only shown in the report. Without a split column, images are split 80/10/10;
    of few photos, --folds 5 makes the table of all of them.
    """
    if images is None and cache is None:
        raise click.UsageError("name the folder of the photos (IMAGES), or features of them with --cache")
    if images is not None and cache is not None and not images.is_dir():
        raise RanktagError(f"{images}: is no folder of photos to show in the report; leave it out beside --cache")
    if cache is not None:
        refuse_unused(["weights"], "with --cache no features are extracted")
    from ranktag.tags.lists import read_tag_lists
    from ranktag.tags.splits import assign_splits

    lists = read_tag_lists(tags)
    if lists.split is None:
        lists = replace(lists, split=assign_splits(lists.lists, seed=0))
    made = cache if images is None else features(cache, images, output, config)
    assert made is not None  # one of the two was given
    return finish(made, lists, output, config, images, overwrite)
