"""``ranktag search``: the photos in which a tag matters most."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ranktag.config import SearchConfig
from ranktag.errors import one_line
from ranktag.pipelines.shared.command import Command
from ranktag.pipelines.shared.console import Report
from ranktag.pipelines.shared.options import FilePath, config_options
from ranktag.pipelines.shared.progress import progress

if TYPE_CHECKING:
    from ranktag.search.search import Found, FoundImage

HEADER = ("place", "image_id", "relevance", "ranks", "probabilities")
WIDEST_NAME = 60


@click.command("search", cls=Command)
@click.argument("query")
@click.argument("predictions", type=FilePath)
@config_options(SearchConfig)
@click.option(
    "--format", type=click.Choice(("table", "csv")), default="table", show_default=True, help="What is printed."
)
def command(query: str, predictions: Path, config: SearchConfig, format: str) -> Report:
    """Print the photos of PREDICTIONS that QUERY finds, those in which its tags matter most first.

    QUERY is tags with spaces between them, in one argument: 'dog beach' finds photos with both, '"fire truck"' a
    tag of two words, 'dog -cat' leaves photos with a cat out (after '--' if the query begins with it:
    ranktag search -- -cat FILE). The page of 'ranktag browse' finds the same.

    The first search reads the whole file and keeps an index beside it (.NAME.search.npz), which
    answers until the file changes.
    """
    from ranktag.search.search import search

    found = search(query, predictions, config, progress(quiet=False))
    shown = list(found.first(config.limit or None))
    facts = {"query": query, "by": config.by, "found": len(found), "images": [_as_dict(image) for image in shown]}
    return Report(facts, [_csv(shown)] if format == "csv" else list(_table(found, shown)))


def _table(found: Found, shown: Sequence[FoundImage]) -> Iterator[str]:
    if not shown:
        yield "No photo has all of these tags." if found.query.wanted else "Every photo has one of these tags."
        return
    width = min(WIDEST_NAME, max(len(one_line(image.image_id)) for image in shown))
    for place, image in enumerate(shown, 1):
        line = f"{place:4}  {one_line(image.image_id):{width}}"
        tags = ", ".join(
            f"{one_line(tag)} {_ordinal(rank)}" + ("" if probability is None else f" {probability:.1%}")
            for tag, rank, probability in image.tags
        )
        yield f"{line}  {image.relevance:.3f}  {tags}" if tags else line.rstrip()
    if len(found) > len(shown):
        yield f"and {len(found) - len(shown):,} more (--limit 0 prints all)"


def _ordinal(rank: int) -> str:
    ending = "th" if rank % 100 in (11, 12, 13) else {1: "st", 2: "nd", 3: "rd"}.get(rank % 10, "th")
    return f"{rank}{ending}"


def _csv(shown: Sequence[FoundImage]) -> str:
    from ranktag.files.tables import write_rows
    from ranktag.tags.predictions import probability_cell

    text = io.StringIO()
    write_rows(text, [HEADER])
    for place, image in enumerate(shown, 1):
        ranks = "|".join(str(tag.rank) for tag in image.tags)
        known = (float("nan") if tag.probability is None else tag.probability for tag in image.tags)
        probabilities = "|".join(map(probability_cell, known))
        write_rows(text, [(place, image.image_id, f"{image.relevance:.6g}", ranks, probabilities)])
    return text.getvalue().removesuffix("\n")


def _as_dict(image: FoundImage) -> dict[str, object]:
    return {
        "image_id": image.image_id,
        "relevance": image.relevance,
        "tags": [{"tag": tag, "rank": rank, "probability": probability} for tag, rank, probability in image.tags],
    }
