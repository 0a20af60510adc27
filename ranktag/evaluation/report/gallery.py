"""The page's galleries: images with their people's lists, every row's list, and small photos."""

from __future__ import annotations

import base64
import functools
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ranktag.evaluation.results import EvaluationReport, Row
from ranktag.tags.lists import TagList
from ranktag.wording import count

GALLERY_IMAGES = 12
APART_IMAGES = 6
SHOWN_TAGS = 10
SHOWN_PEOPLE = 5

# Twice the width a photo has on the page: sharp on a dense screen, about 20 kB each.
PHOTO_SIZE = (560, 420)


def galleries(report: EvaluationReport, best: Row, photos: Mapping[str, Path]) -> list[dict[str, Any]]:
    """Where two rows differ most; of one row the best, the worst and a random dozen; of those with photos, if any."""
    if report.config.given is not None:
        # What is predicted differs from list to list, and a card shows one prediction an image.
        return []
    leading = report.metrics.leading
    values = best.values[:, report.metrics.values.index(leading.name)]
    length = [_mean_length(people) for people in report.lists.values()]
    scored = [int(n) for n in np.flatnonzero(best.scored)]
    chosen = [n for n in scored if report.image_ids[n] in photos] or scored
    # Many images share a value: those with the longest lists say most.
    highest = sorted(chosen, key=lambda n: (-values[n], -length[n], report.image_ids[n]))
    lowest = sorted(chosen, key=lambda n: (values[n], -length[n], report.image_ids[n]))
    random = [int(n) for n in np.random.default_rng(report.config.seed).permutation(chosen)]

    @functools.cache
    def card(number: int) -> dict[str, Any]:
        path = photos.get(report.image_ids[number])
        return {"photo": None if path is None else _photo(path), **_card(report, number)}

    return [
        {"name": name, "text": text, "cards": [card(n) for n in numbers[:GALLERY_IMAGES]]}
        for name, text, numbers in (
            *_apart(report, best, chosen),
            ("The best", f"Highest {leading.label}, longest lists first", highest),
            ("The worst", f"Lowest {leading.label}, longest lists first", lowest),
            ("A random dozen", f"Drawn with seed {report.config.seed}", random),
        )
    ]


def _apart(report: EvaluationReport, best: Row, chosen: Sequence[int]) -> list[tuple[str, str, list[int]]]:
    """Where the best row and another one, the reference or else the second best, differ most: name, text, images."""
    leading = report.metrics.leading
    others = sorted((row for row in report.rows if row is not best), key=lambda row: -row.scores[leading.name].value)
    other = next((row for row in others if row.label == report.config.reference), others[0] if others else None)
    if other is None:
        return []
    column = report.metrics.values.index(leading.name)
    ahead = best.values[:, column] - other.values[:, column]
    both = [n for n in chosen if other.scored[n]]
    galleries = []
    for first, second, sign in ((best, other, 1), (other, best, -1)):
        numbers = sorted((n for n in both if sign * ahead[n] > 0), key=lambda n: -sign * ahead[n])
        if numbers:
            name = f"Where {first.label} is ahead of {second.label}"
            text = f"The largest differences in {leading.label}, of {count(len(numbers), 'image')} where it is higher"
            galleries.append((name, text, numbers[:APART_IMAGES]))
    return galleries


def _mean_length(people: Sequence[TagList]) -> float:
    """The mean length of the lists that are not empty; 0 if all are."""
    lengths = [len(person) for person in people if person]
    return sum(lengths) / len(lengths) if lengths else 0.0


def _card(report: EvaluationReport, number: int) -> dict[str, Any]:
    """One image: its people's lists, and each row's list with its hits."""
    image_id = report.image_ids[number]
    people = [person for person in report.lists[image_id] if person]
    rank = {tag: r for r, tag in enumerate(people[0], 1)} if len(people) == 1 else {}
    named = {tag for person in people for tag in person}
    rows = []
    for row in report.rows:
        predicted = report.predictions[row.label].get(image_id)
        tags, seen = [], set()
        for place, (tag, _) in enumerate(predicted or (), 1):
            hit = tag in named and tag not in seen
            seen.add(tag)
            tags.append({"tag": tag, "hit": hit, "rank": rank.get(tag) if hit and rank.get(tag) != place else None})
        score = float(row.values[number, report.metrics.values.index(report.metrics.leading.name)])
        rows.append(
            {
                "label": row.label,
                "missing": predicted is None,
                "tags": tags[:SHOWN_TAGS],
                "more": len(tags[SHOWN_TAGS:]),
                "score": score,
            }
        )
    return {
        "image_id": image_id,
        "people": [{"tags": person[:SHOWN_TAGS], "more": len(person[SHOWN_TAGS:])} for person in people[:SHOWN_PEOPLE]],
        "more_people": len(people[SHOWN_PEOPLE:]),
        "rows": rows,
    }


def inside(folder: Path, image_id: str) -> Path | None:
    """The file ``image_id`` of the folder; None if there is none, or if it lies outside (an id may be ``../x``)."""
    path = folder / image_id
    try:
        return path if path.is_file() and path.resolve().is_relative_to(folder.resolve()) else None
    except (OSError, ValueError):
        # An id may be too long for a file name, or hold a NUL byte.
        return None


def _photo(path: Path) -> str | None:
    """A small JPEG of the photo as a data URI; None if it cannot be read."""
    from PIL import Image, ImageOps

    try:
        with Image.open(path) as image:
            image.draft("RGB", PHOTO_SIZE)
            small = ImageOps.exif_transpose(image).convert("RGB")
            small.thumbnail(PHOTO_SIZE)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return None
    jpeg = io.BytesIO()
    small.save(jpeg, "JPEG", quality=80, optimize=True)
    return "data:image/jpeg;base64," + base64.b64encode(jpeg.getvalue()).decode("ascii")
