"""Predicted tags of images, as CSV: long (a row a tag) or wide (a row an image).

Long, ``image_id,rank,tag,probability``: ranks count from 1; an image with no
predicted tag has one row with empty rank, tag and probability. Wide,
``image_id,tags,probabilities``: both joined by ``|``, so that a wide file is also a
tag-list file (see ``ranktag.tags.lists``).

A file may leave the probabilities out, and a single one may be empty (nan in
memory): evaluation reads only the order, so any tagger's lists can be compared.
They are written with six significant digits. Tags are cleaned as those of tag
lists are, so that the two sides of a comparison are spelt alike.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from ranktag.errors import RanktagError
from ranktag.files.tables import read_header, read_table, write_table
from ranktag.tags.lists import SEPARATOR, clean_tag, join_tags

LONG = ("image_id", "rank", "tag", "probability")


WIDE = ("image_id", "tags", "probabilities")


# Image id -> (tag, probability) in order of rank; images in the order of the file.
Predictions = dict[str, list[tuple[str, float]]]


def write_predictions(path: Path, predictions: Mapping[str, Sequence[tuple[str, float]]], format: str = "long") -> None:
    """Write predictions in one piece, in their order; a nan probability is left empty.

    Raises RanktagError for a wide file with a tag that holds ``|``.
    """
    if format == "long":
        write_table(path, LONG, (row for image_id, tags in predictions.items() for row in long_rows(image_id, tags)))
    elif format == "wide":
        write_table(
            path,
            WIDE,
            (
                (image_id, join_tags(tag for tag, _ in tags), SEPARATOR.join(_number(p) for _, p in tags))
                for image_id, tags in predictions.items()
            ),
        )
    else:
        raise ValueError(f"format '{format}' is neither long nor wide")


def long_rows(image_id: str, tags: Sequence[tuple[str, float]]) -> list[tuple[object, ...]]:
    """The rows of an image in a long file; one without tags has a row with empty cells."""
    if not tags:
        return [(image_id, None, None, None)]
    return [(image_id, rank, tag, _number(probability)) for rank, (tag, probability) in enumerate(tags, 1)]


def _number(probability: float) -> str:
    return "" if math.isnan(probability) else f"{probability:.6g}"


def read_predictions(path: Path) -> Predictions:
    """Read a long or a wide file (its header says which).

    The rows of an image may stand in any order. Raises RanktagError for an
    unreadable table (see ``ranktag.files.tables``); a row without image id or tag; a rank
    that is no whole number from 1, comes twice or is missing; a probability that is
    no number from 0 to 1; a wide row with more or fewer probabilities than tags, or
    an image on two wide rows.
    """
    path = Path(path)
    header = read_header(path)
    if "tags" in header and "rank" not in header:
        return _read_wide(path)
    return _read_long(path)


def _read_long(path: Path) -> Predictions:
    # Image -> rank -> (tag, probability, line); an image without tags is there with no rank.
    found: dict[str, dict[int, tuple[str, float, int]]] = {}
    empty: dict[str, int] = {}
    for line, (image_id, rank_cell, tag_cell, probability_cell) in read_table(path, LONG[:3], LONG[3:]):
        if not image_id:
            raise RanktagError(f"{path}: line {line} has no image_id; fill it in or remove the line")
        ranks = found.setdefault(image_id, {})
        tag, rank_text = clean_tag(tag_cell), rank_cell.strip()
        if image_id in empty or (not rank_text and not tag and ranks):
            raise RanktagError(
                f"{path}: line {line}: '{image_id}' has a row without tags and other rows; keep the one or the others"
            )
        if not rank_text and not tag:
            empty[image_id] = line
            continue
        if not tag:
            raise RanktagError(f"{path}: line {line} has a rank but no tag; an image without tags has neither")
        # Longer numbers than any list needs are refused before int() spends time on them.
        if not (rank_text.isascii() and rank_text.isdigit() and len(rank_text) < 10 and int(rank_text) > 0):
            raise RanktagError(
                f"{path}: line {line}: rank '{rank_text[:20]}' is not a whole number from 1; ranks run from 1 without a gap"
            )
        rank = int(rank_text)
        if rank in ranks:
            raise RanktagError(
                f"{path}: rank {rank} of '{image_id}' is on line {ranks[rank][2]} and on line {line}; remove one"
            )
        ranks[rank] = (tag, _probability(path, line, probability_cell), line)
    for image_id, ranks in found.items():
        missing = next((rank for rank in range(1, len(ranks) + 1) if rank not in ranks), None)
        if missing is not None:
            line = min(entry[2] for entry in ranks.values())
            raise RanktagError(
                f"{path}: '{image_id}' (line {line}) has {len(ranks)} tags up to rank {max(ranks)}, but none at rank {missing}; "
                "ranks run from 1 without a gap"
            )
    return {image_id: [ranks[rank][:2] for rank in range(1, len(ranks) + 1)] for image_id, ranks in found.items()}


def _read_wide(path: Path) -> Predictions:
    predictions: Predictions = {}
    lines: dict[str, int] = {}
    for line, (image_id, tag_cell, probability_cell) in read_table(path, WIDE[:2], WIDE[2:]):
        if not image_id:
            raise RanktagError(f"{path}: line {line} has no image_id; fill it in or remove the line")
        if image_id in lines:
            raise RanktagError(
                f"{path}: '{image_id}' is on line {lines[image_id]} and on line {line}; a prediction has one list an image"
            )
        lines[image_id] = line
        tags = [clean_tag(tag) for tag in tag_cell.split(SEPARATOR)] if tag_cell.strip() else []
        if "" in tags:
            raise RanktagError(
                f"{path}: line {line}: tag {tags.index('') + 1} of {len(tags)} is empty; tags are joined by one '{SEPARATOR}'"
            )
        cells = probability_cell.split(SEPARATOR) if probability_cell.strip() else [""] * len(tags)
        if len(cells) != len(tags):
            raise RanktagError(
                f"{path}: line {line} has {len(tags)} tags and {len(cells)} probabilities; each tag has one, or none has"
            )
        predictions[image_id] = [(tag, _probability(path, line, cell)) for tag, cell in zip(tags, cells)]
    return predictions


def _probability(path: Path, line: int, cell: str) -> float:
    text = cell.strip()
    if not text:
        return math.nan
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0.0 <= value <= 1.0:
        raise RanktagError(
            f"{path}: line {line}: probability '{text[:40]}' is not a number from 0 to 1; mend it or leave the cell empty"
        )
    return value
