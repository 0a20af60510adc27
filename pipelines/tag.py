"""``ranktag tag``: photo to ranked tags in one go."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ranktag.config import DecodingConfig
from ranktag.errors import one_line
from ranktag.pipelines.shared.options import FilePath, config_options
from ranktag.pipelines.shared.startup import imports

if TYPE_CHECKING:
    from ranktag.tagging import TaggedImage


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
@click.option(
    "--format",
    type=click.Choice(("table", "lines", "csv", "json")),
    default="table",
    show_default=True,
    help="table: to read; lines: path, tab, tags joined by |; csv: a row a tag; json: a list of images.",
)
@config_options(DecodingConfig)
def command(images: tuple[Path, ...], run: Path, weights: str | None, format: str, config: DecodingConfig) -> int:
    """Print the ranked tags of IMAGES: photos, or folders of photos.

    The network, layer, weights and preprocessing are those the model was trained on. Photos
    that cannot be read are listed on stderr; the exit code is then 1.
    """
    with imports():
        from ranktag.tagging import tag_images

    failed = 0

    def readable() -> Iterable[TaggedImage]:
        nonlocal failed
        for image in tag_images(images, run, config, weights=weights):
            if image.error:
                failed += 1
                click.echo(f"Error: {one_line(image.path)}: {one_line(image.error)}", err=True)
            else:
                yield image

    {"table": _table, "lines": _lines, "csv": _csv, "json": _json}[format](readable())
    return 1 if failed else 0


def _table(images: Iterable[TaggedImage]) -> None:
    for image in images:
        click.echo(one_line(image.path))
        for rank, (tag, probability) in enumerate(image.tags, 1):
            click.echo(f"{rank:4}  {one_line(tag):24} {probability:6.1%}")


def _lines(images: Iterable[TaggedImage]) -> None:
    for image in images:
        click.echo(f"{one_line(image.path)}\t{'|'.join(one_line(tag) for tag, _ in image.tags)}")


def _csv(images: Iterable[TaggedImage]) -> None:
    from ranktag.files.tables import write_rows
    from ranktag.tags.predictions import LONG, long_rows

    write_rows(sys.stdout, [LONG])
    for image in images:
        write_rows(sys.stdout, long_rows(image.path, image.tags))


def _json(images: Iterable[TaggedImage]) -> None:
    content = [
        {"image": i.path, "tags": [{"tag": tag, "probability": round(p, 6)} for tag, p in i.tags]} for i in images
    ]
    click.echo(json.dumps(content, ensure_ascii=False, indent=2))
