"""``ranktag search``: the photos in which a tag matters most."""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ranktag.config import SearchConfig
from ranktag.errors import one_line
from ranktag.pipelines.shared.options import FilePath, config_options
from ranktag.pipelines.shared.progress import progress

if TYPE_CHECKING:
    from collections.abc import Callable

    from ranktag.search.search import Found

HEADER = ("place", "image_id", "relevance", "ranks", "probabilities")


@click.command("search", context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("query")
@click.argument("predictions", type=FilePath)
@config_options(SearchConfig)
@click.option(
    "--format",
    type=click.Choice(("table", "csv", "json")),
    default="table",
    show_default=True,
    help="How the photos are printed.",
)
def command(query: str, predictions: Path, config: SearchConfig, format: str) -> None:
    """Print the photos of PREDICTIONS that QUERY finds, those in which its tags matter most first.

    QUERY is tags with spaces between them, in one argument: 'dog beach' finds photos with both, '"fire truck"' a
    tag of two words, 'dog -cat' leaves photos with a cat out (after '--' if the query begins with it:
    ranktag search -- -cat FILE). The page of 'ranktag browse' finds the same.

    The first search reads the whole file and keeps an index beside it (.NAME.search.npz), which
    answers until the file changes.
    """
    from ranktag.search.search import search

    found = search(query, predictions, config, progress(quiet=False))
    WRITERS[format](found, query, config)


def _print_table(found: Found, query: str, config: SearchConfig) -> None:
    shown = list(found.first(config.limit or None))
    if not shown:
        click.echo("No photo has all of these tags." if found.query.wanted else "Every photo has one of these tags.")
        return
    name_width = min(60, max(len(one_line(image.image_id)) for image in shown))
    for place, image in enumerate(shown, 1):
        tags = ", ".join(
            f"{one_line(tag)} {_ordinal(rank)}" + ("" if math.isnan(probability) else f" {probability:.1%}")
            for tag, rank, probability in image.tags
        )
        line = f"{place:4}  {one_line(image.image_id):{name_width}}"
        click.echo(f"{line}  {image.relevance:.3f}  {tags}" if image.tags else line)
    if len(found) > len(shown):
        click.echo(f"and {len(found) - len(shown):,} more (--limit 0 prints all)")


def _ordinal(rank: int) -> str:
    ending = "th" if rank % 100 in (11, 12, 13) else {1: "st", 2: "nd", 3: "rd"}.get(rank % 10, "th")
    return f"{rank}{ending}"


def _print_csv(found: Found, query: str, config: SearchConfig) -> None:
    from ranktag.files.tables import write_rows
    from ranktag.tags.predictions import probability_cell

    write_rows(sys.stdout, [HEADER])
    for place, image in enumerate(found.first(config.limit or None), 1):
        ranks = "|".join(str(tag.rank) for tag in image.tags)
        probabilities = "|".join(probability_cell(tag.probability) for tag in image.tags)
        write_rows(sys.stdout, [(place, image.image_id, f"{image.relevance:.6g}", ranks, probabilities)])


def _print_json(found: Found, query: str, config: SearchConfig) -> None:
    images = [
        {
            "image_id": image.image_id,
            "relevance": image.relevance,
            "tags": [
                {"tag": tag, "rank": rank, "probability": None if math.isnan(probability) else probability}
                for tag, rank, probability in image.tags
            ],
        }
        for image in found.first(config.limit or None)
    ]
    answer = {"query": query, "by": config.by, "found": len(found), "images": images}
    click.echo(json.dumps(answer, indent=1, ensure_ascii=False))


WRITERS: dict[str, Callable[[Found, str, SearchConfig], None]] = {
    "table": _print_table,
    "csv": _print_csv,
    "json": _print_json,
}
