"""``ranktag labelme``: the recipe for LabelMe."""

from __future__ import annotations

from pathlib import Path

import click

from ranktag.config import RecipeConfig
from ranktag.pipelines.shared.options import FilePath, config_options, overwrite_option
from ranktag.pipelines.shared.recipes import features, finish, recipe_options


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("tags", type=FilePath)
@click.argument("images", type=FilePath)
@recipe_options
@config_options(RecipeConfig)
@overwrite_option
def command(tags: Path, images: Path, output: Path, cache: Path | None, config: RecipeConfig, overwrite: bool) -> int:
    """Every model on LabelMe, to the finished table.

    TAGS is a tag-list file ('ranktag prepare labelme-xml' or 'labelme-json' make one), IMAGES
    the folder of the photos. Features are extracted from them unless --cache gives them.
    Without a split column, images are split 80/10/10.
    """
    from ranktag.tags.lists import TagLists, read_tag_lists
    from ranktag.tags.splits import assign_splits

    lists = read_tag_lists(tags)
    if lists.split is None:
        lists = TagLists(lists.lists, assign_splits(lists.lists, seed=0))
    return finish(features(cache, images, output, config), lists, output, config, images, overwrite)
