"""``ranktag demo``: the whole path on drawn scenes."""

from __future__ import annotations

from pathlib import Path

import click

from ranktag.config import DemoConfig
from ranktag.pipelines.extract_features import progress_printer
from ranktag.pipelines.shared.command import Command
from ranktag.pipelines.shared.console import Report
from ranktag.pipelines.shared.options import (
    FilePath,
    config_options,
    overwrite_option,
    quiet_option,
)
from ranktag.pipelines.shared.startup import share_processors


@click.command("demo", cls=Command)
@click.option(
    "-o",
    "--output",
    type=FilePath,
    default=Path("ranktag-demo"),
    show_default=True,
    help="Folder for everything that the demo makes.",
)
@config_options(DemoConfig)
@overwrite_option
@quiet_option
def command(output: Path, config: DemoConfig, overwrite: bool, quiet: bool) -> Report:
    """Run the whole path on scenes drawn on the spot; nothing is downloaded unless --weights default asks for it.

    It draws scenes and writes made-up people's ranked tags of them, extracts features with
    VGG-16 (ImageNet weights if torch has them already, else random ones), trains a model,
    writes the tags of the test scenes, compares them with tags ranked by popularity, and makes a page of
    them to look at and to search.
    It takes about two minutes on two cores. The same seed gives the same tags on the same machine.
    """
    share_processors()
    from ranktag.recipes.demo import run_demo

    report = run_demo(
        output,
        config,
        overwrite=overwrite,
        say=(lambda line: None) if quiet else click.echo,
        progress=None if quiet else progress_printer(),
    )
    scores = {"ndcg5": report.model.value, "ndcg5_popularity": report.popularity.value}
    facts = {"output": output, "page": report.site, **scores}
    return Report(facts)
