"""``ranktag tag``: photo to ranked tags in one go."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import click

from ranktag import registry
from ranktag.config import DecodingConfig
from ranktag.errors import one_line
from ranktag.pipelines.shared.options import (
    FilePath,
    config_options,
    module_option,
    refuse_other_decoders_settings,
)
from ranktag.pipelines.shared.progress import progress
from ranktag.pipelines.shared.startup import imports
from ranktag.tags.predictions import WRITERS, PredictedImage


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("images", type=FilePath, nargs=-1, required=True)
@click.option(
    "--model", "run", type=FilePath, required=True, metavar="FOLDER", help="The run folder of train-from-cache."
)
@click.option(
    "--weights",
    metavar="FILE",
    show_default="those the model was trained on",
    help="Where the network's weights are, if the model was trained on features of a weights file.",
)
@module_option("--format", WRITERS, default="table")
@config_options(DecodingConfig)
def command(images: tuple[Path, ...], run: Path, weights: str | None, format: str, config: DecodingConfig) -> int:
    """Print the ranked tags of IMAGES: photos, or folders of photos.

    The network, layer, weights and preprocessing are those the model was trained on. Photos
    that cannot be read are listed on stderr; the exit code is then 1.
    """
    refuse_other_decoders_settings(config)
    with imports():
        from ranktag.tagging import tag_images

    failed = 0

    def readable() -> Iterator[PredictedImage]:
        nonlocal failed
        for image in tag_images(images, run, config, weights=weights, progress=progress(quiet=False)):
            if image.error:
                failed += 1
                click.echo(f"Error: {one_line(image.path)}: {one_line(image.error)}", err=True)
            else:
                yield PredictedImage(image.path, image.tags)
                # Whoever waits for the lines gets each as soon as it is known.
                sys.stdout.flush()

    registry.load(WRITERS, format).write(readable(), sys.stdout)
    return 1 if failed else 0
