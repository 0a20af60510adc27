"""The data of the page, in parts that it loads as they are needed.

A page opened from the disk may read no files, but it may run scripts: each part is one that hands its
data to the page, ``ranktagPart(NAME, DATA, VERSION)``, in ASCII. Numbers that would be long as text are
the bytes of little-endian arrays, in base64. The version is a digest of all data: a browser may keep old
parts of a page that has been brought up to date, and must not mix them with new ones.

=============  ===============================================================================================
archive.js     N, how parts are cut, the labels of the prediction files, what ranks weigh, failed photos
tags.js        every tag: its name, its folded form if that is another, how many photos list it, its mean rank
typical.js     the photos in which each tag matters most: [number, id, image]
listed-K.js    for a run of tags, the photos that list them: numbers, ranks and probabilities
lengths.js     (N,) of every photo the length of its vector of p / log2(1 + rank) over the tags
photos-K.js    of ``BLOCK`` photos the id, the image or why there is none, every file's list, people's lists
=============  ===============================================================================================
"""

from __future__ import annotations

import base64
import hashlib
import json
import math
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ranktag.search.index import TagIndex
from ranktag.search.relevance import IMPORTANCE, gains, tag_relevance
from ranktag.tags.lists import TagList
from ranktag.tags.predictions import Predictions
from ranktag.tags.spelling import folded

# Photos a part: one is loaded for each block that has a photo in view.
BLOCK = 128
# Entries of the index a part, or a whole tag's if it has more.
LISTED = 100_000
TYPICAL = 5


@dataclass(frozen=True)
class Archive:
    """What a page is of.

    predictions: label -> the lists of a file; the first is searched, and its images are the photos, in its order.
    images: of every photo the small image's place below the page, '' if it has none. failed: number -> why it has none.
    people: image id -> people's lists.
    """

    predictions: Mapping[str, Predictions]
    images: Sequence[str]
    failed: Mapping[int, str]
    people: Mapping[str, Sequence[TagList]] = field(default_factory=dict)


def write_parts(folder: Path, archive: Archive) -> None:
    """Write the data of the page to a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    digest = hashlib.sha256()
    for name, data in parts(archive):
        digest.update(f"{name} {_json(data)}".encode("ascii"))
    version = digest.hexdigest()[:16]
    for name, data in parts(archive):
        (folder / f"{name}.js").write_text(f'ranktagPart("{name}", {_json(data)}, "{version}");\n', encoding="ascii")


def _json(data: Any) -> str:
    return json.dumps(data, separators=(",", ":"), allow_nan=False)


def parts(archive: Archive) -> Iterator[tuple[str, Any]]:
    """Name and data of every part."""
    labels = list(archive.predictions)
    index = TagIndex.of(archive.predictions[labels[0]])
    cuts = list(_cuts(index.starts))
    longest = int(index.listed.ranks.max()) if len(index.listed.ranks) else 0
    yield (
        "archive",
        {
            "photos": len(index),
            "block": BLOCK,
            "labels": labels,
            "people": bool(archive.people),
            "gains": gains(longest).tolist(),
            "folds": _folds(),
            "failed": sorted(archive.failed),
            "cuts": [first for first, _ in cuts],
        },
    )
    yield "tags", list(_tags(index))
    yield "typical", list(_typical(index, archive.images))
    for number, (first, stop) in enumerate(cuts):
        yield f"listed-{number}", _listed(index, first, stop)
    yield "lengths", _base64(_lengths(index), "<f4")
    ids = list(archive.predictions[labels[0]])
    for start in range(0, len(ids), BLOCK):
        block = range(start, min(start + BLOCK, len(ids)))
        yield f"photos-{start // BLOCK}", [_photo(archive, ids[number], number) for number in block]


def _base64(array: npt.NDArray[Any], dtype: str) -> str:
    return base64.b64encode(np.ascontiguousarray(array, dtype).tobytes()).decode("ascii")


def _folds() -> dict[str, str]:
    """Letters whose folded form is another than their small letter, which a browser knows itself."""
    return {c: c.casefold() for c in map(chr, range(sys.maxunicode + 1)) if c.casefold() != c.lower()}


def _cuts(starts: npt.NDArray[np.int64]) -> Iterator[tuple[int, int]]:
    """(first, stop) of runs of tags with together about ``LISTED`` entries."""
    first = 0
    for stop in range(1, len(starts)):
        if stop == len(starts) - 1 or starts[stop + 1] - starts[first] > LISTED:
            yield first, stop
            first = stop


def _tags(index: TagIndex) -> Iterator[list[Any]]:
    for number in range(len(index.tags)):
        tag, listed = index.tags[number], index.of_tag(number)
        key = folded(tag)
        yield [tag, 0 if key == tag else key, len(listed.images), round(float(listed.ranks.mean()), 2)]


def _typical(index: TagIndex, images: Sequence[str]) -> Iterator[list[list[Any]]]:
    """Of every tag the photos, of those with an image, in which it matters most."""
    there = np.array([bool(image) for image in images], bool)
    for number in range(len(index.tags)):
        listed = index.of_tag(number)
        relevant = np.where(there[listed.images], tag_relevance(listed.ranks, listed.probabilities, IMPORTANCE), -1.0)
        best = np.argsort(-relevant, kind="stable")[:TYPICAL]
        chosen = [int(listed.images[place]) for place in best if relevant[place] >= 0.0]
        yield [[photo, index.ids[photo], images[photo]] for photo in chosen]


def _listed(index: TagIndex, first: int, stop: int) -> dict[str, Any]:
    part = slice(index.starts[first], index.starts[stop])
    probabilities = index.listed.probabilities[part]
    return {
        "starts": (index.starts[first : stop + 1] - index.starts[first]).tolist(),
        "photos": _base64(index.listed.images[part], "<i4"),
        "ranks": _base64(index.listed.ranks[part], "<i4"),
        "probabilities": _base64(np.where(np.isnan(probabilities), 1.0, probabilities), "<f4"),
    }


def _lengths(index: TagIndex) -> npt.NDArray[np.float64]:
    squares = tag_relevance(index.listed.ranks, index.listed.probabilities, IMPORTANCE) ** 2
    return np.sqrt(np.bincount(index.listed.images, squares, minlength=len(index)))


def _photo(archive: Archive, image_id: str, number: int) -> list[Any]:
    """[id, image or 0, why there is none or 0, lists, people's lists]; a list is [tag, probability or null, tag, ...].

    There is one a file, 0 where the file has none.
    """
    lists = []
    for predictions in archive.predictions.values():
        tags = predictions.get(image_id)
        lists.append(0 if tags is None else [cell for tag, p in tags for cell in (tag, _rounded(p))])
    people = [person for person in archive.people.get(image_id, ()) if person]
    return [image_id, archive.images[number] or 0, archive.failed.get(number, 0), lists, people]


def _rounded(probability: float) -> float | None:
    return None if math.isnan(probability) else float(f"{probability:.4g}")
