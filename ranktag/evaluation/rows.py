"""What one entry of a comparison scores: its row, without intervals, and how it does with every tag."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from ranktag.errors import RanktagError
from ranktag.evaluation.completion import ranked_lists
from ranktag.evaluation.expected import Entry, Expected
from ranktag.evaluation.matches import Floats, Mask, match, match_each
from ranktag.evaluation.results import Estimate, Row, TagRow
from ranktag.evaluation.scores import MetricTable
from ranktag.tags.lists import TagList
from ranktag.tags.matching import what_would_join
from ranktag.tags.predictions import seen_split

MATCHED_AT_ONCE = 16384

PEOPLE = "people (each against the others)"


def score_entry(entry: Entry, expected: Expected, metrics: MetricTable, gain: str, tags: Path) -> Row:
    """The row of an entry. tags: the tag file, to be named.

    Raises RanktagError if it has none of the expected images that have tags.
    """
    image_ids = expected.image_ids
    there = np.array([all(i in read for read in entry.predictions) for i in image_ids], bool)
    scored = there & expected.tagged
    if not scored.any():
        raise RanktagError(
            f"{entry.files[0]}: no image to score: of the {len(image_ids)} expected, "
            "it has none that has tags; name another split or tag file"
        )
    ids = list(itertools.compress(image_ids, scored))
    lists = [expected.lists[i] for i in ids]
    per_file, empty = _per_file(entry, ids, lists, metrics, gain)
    per_image = np.full((len(image_ids), len(metrics.values)), np.nan)
    per_image[scored] = per_file.mean(axis=0) if len(per_file) > 1 else per_file[0]
    unnamed = _never_predicted(entry, lists)
    unknown = tuple(dict.fromkeys(i for read in entry.predictions for i in read if i not in expected.known))
    missing = tuple(itertools.compress(image_ids, ~there))
    return Row(
        label=entry.label,
        files=entry.files,
        scores=_scores(per_image, scored, metrics, _spread(per_file, metrics)),
        counts=_counts(per_image, scored, metrics),
        values=per_image,
        missing=missing,
        unknown=unknown,
        near=what_would_join(missing, unknown, str(tags)) if missing and unknown else "",
        not_expected=len(
            {i for read in entry.predictions for i in read if i in expected.known} - expected.lists.keys()
        ),
        empty=empty,
        unnamed_tags=len(unnamed),
        unnamed=sum(unnamed.values()),
        trained_on=_trained_on(entry, expected, ids),
    )


def _per_file(
    entry: Entry, ids: Sequence[str], lists: Sequence[Sequence[TagList]], metrics: MetricTable, gain: str
) -> tuple[Floats, int]:
    """The values of the images in each file, (files, N, C), and for how many of them a file predicts nothing.

    Matched a block of images at a time: Python's objects take many times the memory of the values.
    """
    values = np.empty((len(entry.predictions), len(ids), len(metrics.values)))
    empty = 0
    for start in range(0, len(ids), MATCHED_AT_ONCE):
        block = slice(start, start + MATCHED_AT_ONCE)
        ranked = [
            [[[tag for tag, _ in one] for one in ranked_lists(read, i)] for i in ids[block]]
            for read in entry.predictions
        ]
        for of_file, named in zip(values, ranked):
            of_file[block] = metrics.per_image(match_each(lists[block], named, gain))
        empty += sum(any(not all(named[n]) for named in ranked) for n in range(len(ranked[0])))
    return values, empty


def _trained_on(entry: Entry, expected: Expected, ids: Sequence[str]) -> int:
    """How many of the images a model of the entry was trained on: by its own account, else by the tag file's."""
    # What other files say of their models is no account of this one.
    by_tags = expected.split if expected.told_by == "tags" else {}
    told = [by_tags if (own := seen_split(read)) is None else own for read in entry.predictions]
    return sum(any(split.get(i) == "train" for split in told) for i in ids)


def score_people(lists: Mapping[str, Sequence[TagList]], metrics: MetricTable, gain: str) -> Row | None:
    """Each person's list scored against each other person's list of the image: the mean over ordered pairs of people.

    Only images with two or more lists that are not empty count; None if there are none.
    """
    numbers, others, own = [], [], []
    for number, several in enumerate(lists.values()):
        people = [person for person in several if person]
        for i, person in enumerate(people if len(people) > 1 else []):
            numbers.append(number)
            others.append(people[:i] + people[i + 1 :])
            own.append(person)
    if not numbers:
        return None
    per_person = metrics.per_image(match(others, own, gain))
    image = np.array(numbers)
    count = np.bincount(image, minlength=len(lists))
    sums = np.stack([np.bincount(image, column, minlength=len(lists)) for column in per_person.T], axis=1)
    values = np.divide(sums, count[:, None], out=np.full_like(sums, np.nan), where=count[:, None] > 0)
    scored = count > 0
    return Row(PEOPLE, (), _scores(values, scored, metrics, {}), _counts(values, scored, metrics), values)


def _scores(values: Floats, scored: Mask, metrics: MetricTable, seed_std: Mapping[str, float]) -> dict[str, Estimate]:
    """The means over the scored images of the values (N, C)."""
    means = metrics.from_means(values[scored].mean(axis=0))
    return {name: Estimate(float(mean), seed_std=seed_std.get(name, math.nan)) for name, mean in means.items()}


def _counts(values: Floats, scored: Mask, metrics: MetricTable) -> dict[str, float]:
    """The sums over the scored images of the values (N, C) that are denominators."""
    return {name: float(values[scored, metrics.values.index(name)].sum()) for name in metrics.counts}


def _spread(per_file: Floats, metrics: MetricTable) -> dict[str, float]:
    """The standard deviation of the files' scores, from their values (files, N, C); none of a single file."""
    if len(per_file) < 2:
        return {}
    of_files = metrics.from_means(per_file.mean(axis=1))
    return {name: float(np.std(scores, ddof=1)) for name, scores in of_files.items()}


def _never_predicted(entry: Entry, lists: Sequence[Sequence[TagList]]) -> Counter[str]:
    """Tags of the scored lists that the entry predicts for no image, and how often they stand there."""
    predicted = {tag for read in entry.predictions for i in read for tags in ranked_lists(read, i) for tag, _ in tags}
    return Counter(tag for people in lists for person in people for tag in person if tag not in predicted)


def score_tags(row: Row, entry: Entry, expected: Expected) -> list[TagRow]:
    """How a row did with each tag, the most frequent in the truth first, then in alphabetical order."""
    support: Counter[str] = Counter()
    predicted: Counter[str] = Counter()
    hits: Counter[str] = Counter()
    error: Counter[str] = Counter()
    for image_id in itertools.compress(expected.image_ids, row.scored):
        people = [person for person in expected.lists[image_id] if person]
        for person in people:
            support.update(person)
        for read in entry.predictions:
            ranked = ranked_lists(read, image_id)
            for person, tags in zip(people, ranked if len(ranked) > 1 else [ranked[0]] * len(people)):
                places: dict[str, int] = {}
                for place, (tag, _) in enumerate(tags, 1):
                    places.setdefault(tag, place)
                predicted.update(places.keys())
                for rank, tag in enumerate(person, 1):
                    if tag in places:
                        hits[tag] += 1
                        error[tag] += abs(places[tag] - rank)
    files = len(entry.predictions)
    return [
        TagRow(
            label=row.label,
            tag=tag,
            support=support[tag],
            predicted=predicted[tag] / files,
            precision=_ratio(hits[tag], predicted[tag]),
            recall=_ratio(hits[tag], files * support[tag]),
            rank_error=_ratio(error[tag], hits[tag]),
        )
        for tag in sorted(support.keys() | predicted.keys(), key=lambda tag: (-support[tag], tag))
    ]


def _ratio(part: int, whole: int) -> float:
    return part / whole if whole else math.nan
