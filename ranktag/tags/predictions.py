"""Predicted tags of images, and the two CSV forms that are read again: long (a row a tag) and wide (a row an image).

Long, ``image_id,rank,tag,probability``: ranks count from 1; an image with no
predicted tag has one row with empty rank, tag and probability. Wide,
``image_id,tags,probabilities``: both joined by ``|``, so that a wide file is also a
tag-list file (see ``ranktag.tags.lists``).

A file may leave the probabilities out, and a single one may be empty (nan in
memory): evaluation reads only the order, so any tagger's lists can be compared.
They are written with six significant digits. Tags are cleaned as those of tag
lists are, so that the two sides of a comparison are spelt alike.

Predictions of a trained model end in a column ``split``: 'train', 'val' or 'test' as
the model saw the image, empty for one that it never saw. A file may leave it out.

As a DataFrame, predictions are of the long form (``predictions_to_frame``,
``predictions_from_frame``).
"""

from __future__ import annotations

import itertools
import math
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from ranktag import registry
from ranktag.errors import RanktagError, RanktagWarning, no_image_id
from ranktag.files.atomic import atomic_text
from ranktag.files.tables import read_header, read_table
from ranktag.tags.frames import FRAME, cell_text, frame_rows
from ranktag.tags.lists import SEPARATOR, clean_tag
from ranktag.tags.splits import SPLITS

if TYPE_CHECKING:
    import pandas as pd

WRITERS = "ranktag.tags.writers"
LONG = ("image_id", "rank", "tag", "probability")
WIDE = ("image_id", "tags", "probabilities")
SPLIT = "split"

# A tag and its probability, nan if it is not known.
RankedTag = tuple[str, float]
# Image id -> (tag, probability) in order of rank; images in the order of the file.
Predictions = dict[str, list[RankedTag]]
# Where a row of a table stands, 'line 3', and its cells.
Rows = Iterable[tuple[str, Sequence[str]]]


class PredictionsWithSplit(dict[str, list[RankedTag]]):
    """Predictions of which it is known how the model saw each image.

    split: image id -> 'train', 'val' or 'test', or '' for an image that it never saw.
    """

    def __init__(self, predictions: Mapping[str, list[RankedTag]], split: Mapping[str, str]) -> None:
        super().__init__(predictions)
        self.split = split


def seen_split(predictions: Mapping[str, Sequence[RankedTag]]) -> Mapping[str, str] | None:
    """Image id -> how the model saw it (see ``PredictionsWithSplit``); None if the predictions do not say."""
    return predictions.split if isinstance(predictions, PredictionsWithSplit) else None


class PredictedImage(NamedTuple):
    """What writers take: an image's id, or its path, and its tags in order of rank."""

    image_id: str
    tags: Sequence[RankedTag]


class SeenImage(PredictedImage):
    """One of which it is known how the model saw it. split: 'train', 'val' or 'test', '' if it never did."""

    split: str

    def __new__(cls, image_id: str, tags: Sequence[RankedTag], split: str) -> SeenImage:
        """The pair, and the split beside it: writers that do not look for it are given pairs."""
        image = super().__new__(cls, image_id, tags)
        image.split = split
        return image


def split_cells(image: PredictedImage) -> tuple[str, ...]:
    """The cells of the column ``split``: one if it is known how the model saw the image, else none."""
    return (image.split,) if isinstance(image, SeenImage) else ()


def write_predictions(path: str | Path, predictions: Mapping[str, Sequence[RankedTag]], format: str = "long") -> None:
    """Write predictions in one piece, in their order.

    format: a module of ``ranktag.tags.writers`` that writes one file of text (see ``ranktag.tags.outputs`` for
    all formats); 'long' and 'wide' can be read again. Raises ValueError for an unknown format, and
    RanktagError for tags that the format cannot hold (wide: a tag with ``|``).
    """
    writer = registry.load(WRITERS, format)
    with atomic_text(path) as file:
        writer.write(predicted_images(predictions), file)


def predicted_images(predictions: Mapping[str, Sequence[RankedTag]]) -> Iterator[PredictedImage]:
    """Predictions as writers take them, in their order, with the split the model saw each in if it is known."""
    split = seen_split(predictions)
    for image_id, tags in predictions.items():
        yield PredictedImage(image_id, tags) if split is None else SeenImage(image_id, tags, split.get(image_id, ""))


def with_split_column(
    images: Iterable[PredictedImage], header: Sequence[str]
) -> tuple[Sequence[str], Iterator[PredictedImage]]:
    """The header, with the column ``split`` if the first image has one, and the images."""
    rest = iter(images)
    first = next(rest, None)
    if first is None:
        return header, rest
    return (*header, SPLIT) if split_cells(first) else header, itertools.chain([first], rest)


def probability_cell(probability: float) -> str:
    """A probability as it stands in a CSV file: six significant digits, '' for nan."""
    return "" if math.isnan(probability) else f"{probability:.6g}"


def read_predictions(path: str | Path) -> Predictions:
    """Read a long or a wide file (its header says which); with a column ``split`` as ``PredictionsWithSplit``.

    The rows of an image may stand in any order. Raises RanktagError for an
    unreadable table (see ``ranktag.files.tables``); a row without image id or tag; a rank
    that is no whole number from 1, comes twice or is missing; a probability that is
    no number from 0 to 1; a wide row with more or fewer probabilities than tags, or
    an image on two wide rows; a split that is none, or two of one image.
    """
    path = Path(path)
    header = read_header(path)
    if "given" in header and "rank" in header:
        raise RanktagError(
            f"{path}: holds how a model goes on with lists that people began; say how many of their tags it was "
            "given: ranktag evaluate --given K"
        )
    if "tags" in header and "rank" not in header:
        return _read_wide(path, has_split=SPLIT in header)

    def rows() -> Rows:
        return ((f"line {line}", cells) for line, cells in read_table(path, LONG[:3], (*LONG[3:], SPLIT)))

    return _from_rows(str(path), rows, has_split=SPLIT in header)


def predictions_to_frame(predictions: Mapping[str, Sequence[RankedTag]]) -> pd.DataFrame:
    """Predictions as a pandas DataFrame of the long form, a row a tag.

    Columns: image_id (text), rank (Int64, from 1), tag (text), probability (float64,
    nan if it is not known) and, if it is known, split (text, '' for an image that the model
    never saw). An image without tags has one row without rank and tag.
    """
    import pandas as pd

    split = seen_split(predictions)

    rows: list[tuple[object, ...]] = []
    for image_id, tags in predictions.items():
        rows += [(image_id, rank, tag, probability) for rank, (tag, probability) in enumerate(tags, 1)]
        if not tags:
            rows.append((image_id, None, None, math.nan))
    frame = pd.DataFrame(rows, columns=list(LONG)).astype({"rank": "Int64", "probability": "float64"})
    return frame if split is None else frame.assign(**{SPLIT: [split.get(i, "") for i in frame["image_id"]]})


def predictions_from_frame(frame: pd.DataFrame) -> Predictions:
    """Predictions from a pandas DataFrame of the long form: the columns image_id, rank, tag and, if known, probability.

    The rows of an image may stand in any order; an image without tags has one row
    without rank and tag. Raises RanktagError for what ``read_predictions`` refuses.
    """
    columns = LONG[:3], (*LONG[3:], SPLIT)

    def rows() -> Rows:
        return ((where, [cell_text(cell) for cell in cells]) for where, cells in frame_rows(frame, *columns))

    return _from_rows(FRAME, rows, has_split=SPLIT in frame.columns)


def _from_rows(source: str, rows: Callable[[], Rows], *, has_split: bool) -> Predictions:
    """Predictions from rows of the long form. source, and where each row stands ('line 3'), are for errors."""
    in_order = _from_rows_in_order(rows(), has_split=has_split)
    if in_order is not None:
        return in_order
    with warnings.catch_warnings():
        # What there is to say of a table was said when it was read first.
        warnings.simplefilter("ignore", RanktagWarning)
        return _from_any_rows(source, rows(), has_split=has_split)


def _from_rows_in_order(rows: Rows, *, has_split: bool) -> Predictions | None:
    """Predictions from rows as ranktag writes them, an image's together and by rank, in half of the memory.

    None for rows that stand otherwise, or that are wrong.
    """
    splits = {split: split for split in ("", *SPLITS)}
    predictions: Predictions = {}
    seen: dict[str, str] = {}
    current, ranked, closed = "", [], False  # type: str, list[RankedTag], bool
    for _, (image_id, rank_cell, tag_cell, probability_text, split_cell) in rows:
        split, tag, rank = splits.get(split_cell.strip()), clean_tag(tag_cell), rank_cell.strip()
        if image_id != current or not predictions:
            if split is None or not image_id or image_id in predictions:
                return None
            current, ranked, closed = image_id, [], False
            predictions[image_id] = ranked
            if has_split:
                seen[image_id] = split
        elif closed or (has_split and split != seen[image_id]):
            return None
        if not rank and not tag:
            closed = True
            if ranked:
                return None
            continue
        probability = _number(probability_text)
        if rank != str(len(ranked) + 1) or not tag or probability is None:
            return None
        ranked.append((tag, probability))
    return PredictionsWithSplit(predictions, seen) if has_split else predictions


def _from_any_rows(source: str, rows: Rows, *, has_split: bool) -> Predictions:
    seen: dict[str, str] = {}
    # Image -> rank -> (tag, probability, where); an image without tags is there with no rank.
    found: dict[str, dict[int, tuple[str, float, str]]] = {}
    empty: set[str] = set()
    for where, (image_id, rank_cell, tag_cell, probability_text, split_cell) in rows:
        if not image_id:
            raise no_image_id(source, where)
        _note_split(source, where, image_id, split_cell, seen)
        ranks = found.setdefault(image_id, {})
        tag, rank_text = clean_tag(tag_cell), rank_cell.strip()
        nothing = not rank_text and not tag
        if image_id in empty or (nothing and ranks):
            raise RanktagError(
                f"{source}: {where}: '{image_id}' has a row without tags and other rows; keep the one or the others"
            )
        if nothing:
            empty.add(image_id)
            continue
        if not tag:
            raise RanktagError(f"{source}: {where} has a rank but no tag; an image without tags has neither")
        rank = _rank(source, where, rank_text)
        if rank in ranks:
            raise RanktagError(
                f"{source}: rank {rank} of '{image_id}' is on {ranks[rank][2]} and on {where}; remove one"
            )
        ranks[rank] = (tag, _probability(source, where, probability_text), where)
    predictions = {image_id: _in_order(source, image_id, ranks) for image_id, ranks in found.items()}
    return PredictionsWithSplit(predictions, seen) if has_split else predictions


def _note_split(source: str, where: str, image_id: str, cell: str, seen: dict[str, str]) -> None:
    """Keep how the model saw an image. Raises RanktagError for another word than a split, and for two of one image."""
    split = cell.strip()
    if split and split not in SPLITS:
        raise RanktagError(
            f"{source}: {where}: split '{split[:40]}' is not one of {', '.join(SPLITS)}; mend it or leave it empty"
        )
    if seen.setdefault(image_id, split) != split:
        raise RanktagError(
            f"{source}: {where}: '{image_id}' is in split '{split}' there and in '{seen[image_id]}' before; "
            "an image belongs to one split"
        )


def _rank(source: str, where: str, text: str) -> int:
    # Longer numbers than any list needs are refused before int() spends time on them.
    if not (text.isascii() and text.isdigit() and len(text) < 10 and int(text) > 0):
        raise RanktagError(
            f"{source}: {where}: rank '{text[:20]}' is not a whole number from 1; ranks run from 1 without a gap"
        )
    return int(text)


def _in_order(source: str, image_id: str, ranks: Mapping[int, tuple[str, float, str]]) -> list[RankedTag]:
    """An image's tags by rank. Raises RanktagError if a rank is missing."""
    missing = next((rank for rank in range(1, len(ranks) + 1) if rank not in ranks), None)
    if missing is not None:
        first = next(iter(ranks.values()))[2]
        raise RanktagError(
            f"{source}: '{image_id}' ({first}) has {len(ranks)} tags up to rank {max(ranks)}, "
            f"but none at rank {missing}; ranks run from 1 without a gap"
        )
    return [ranks[rank][:2] for rank in range(1, len(ranks) + 1)]


def _read_wide(path: Path, *, has_split: bool) -> Predictions:
    predictions: Predictions = {}
    seen: dict[str, str] = {}
    lines: dict[str, int] = {}
    for line, (image_id, tag_cell, probability_text, split_cell) in read_table(path, WIDE[:2], (*WIDE[2:], SPLIT)):
        if not image_id:
            raise no_image_id(path, f"line {line}")
        if image_id in lines:
            raise RanktagError(
                f"{path}: '{image_id}' is on line {lines[image_id]} and on line {line}; "
                "a prediction has one list an image"
            )
        lines[image_id] = line
        _note_split(str(path), f"line {line}", image_id, split_cell, seen)
        tags = [clean_tag(tag) for tag in tag_cell.split(SEPARATOR)] if tag_cell.strip() else []
        if "" in tags:
            raise RanktagError(
                f"{path}: line {line}: tag {tags.index('') + 1} of {len(tags)} is empty; "
                f"tags are joined by one '{SEPARATOR}'"
            )
        cells = probability_text.split(SEPARATOR) if probability_text.strip() else [""] * len(tags)
        if len(cells) != len(tags):
            raise RanktagError(
                f"{path}: line {line} has {len(tags)} tags and {len(cells)} probabilities; "
                "each tag has one, or none has"
            )
        predictions[image_id] = [
            (tag, _probability(str(path), f"line {line}", cell)) for tag, cell in zip(tags, cells, strict=True)
        ]
    return PredictionsWithSplit(predictions, seen) if has_split else predictions


def _probability(source: str, where: str, cell: str) -> float:
    value = _number(cell)
    if value is None:
        raise RanktagError(
            f"{source}: {where}: probability '{cell.strip()[:40]}' is not a number from 0 to 1; "
            "mend it or leave the cell empty"
        )
    return value


def _number(cell: str) -> float | None:
    """A probability, nan for an empty cell; None for what is none."""
    text = cell.strip()
    if not text:
        return math.nan
    try:
        value = float(text)
    except ValueError:
        return None
    return value if 0.0 <= value <= 1.0 else None
