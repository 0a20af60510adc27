"""Comparing predictions with people's tag lists: one row of scores a prediction file, and the differences between rows.

What is compared. The *expected* images are those of the chosen split; without one,
those of every split that any of the files touches; without splits in the tag file,
those that any of the files holds. An image is *scored* in a row if it is expected,
has tags and is in the file. Nothing else is left out, and what is left out is
counted: expected images that the file lacks, images without tags, ids that the tag
file does not know.

A row may stand for several files, say one a seed: an image's value is then the
mean over the files, it is scored if every file holds it, and ``seed_std`` is the
standard deviation of the files' scores.

Scores are means over the scored images (see ``ranktag.evaluation.metrics`` for an image's
value), except order accuracy, which pools the pairs: those in the truth's order
over all pairs of all people's lists of all scored images. Intervals are 95%
percentile intervals of a bootstrap over images; two rows are compared on the images
that both score, by the same draws (see ``ranktag.evaluation.bootstrap``).
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from ranktag.config import EvaluationConfig
from ranktag.errors import RanktagError
from ranktag.evaluation.bootstrap import interval, p_value, resampled_means
from ranktag.evaluation.metrics import Floats, Matches, match
from ranktag.evaluation.results import Change, Difference, Estimate, EvaluationReport, Mask, Row, TagRow
from ranktag.tags.lists import TagList, TagLists
from ranktag.tags.predictions import Predictions

CUTOFFS = (1, 3, 5, 10)


AT_CUTOFFS = tuple(f"{name}@{k}" for name in ("ndcg", "precision", "recall", "f1") for k in CUTOFFS)


LENGTHS = ("predicted_length", "truth_length")


# Every score, in the order of the tables.
SCORES = (*AT_CUTOFFS, "first_tag", "order_accuracy", *LENGTHS)


# What is known of an image and averaged over images: order accuracy is the ratio of two of these.
VALUES = (*AT_CUTOFFS, "first_tag", "order_right", "order_pairs", *LENGTHS)


PEOPLE = "people (each against the others)"


def compare(
    predictions: Mapping[str, Sequence[Predictions]],
    truth: TagLists,
    config: EvaluationConfig = EvaluationConfig(),
    files: Mapping[str, tuple[Path, ...]] | None = None,
    tags: Path = Path("tags.csv"),
) -> EvaluationReport:
    """Compare what was read: label -> the predictions of its files. ``files`` and ``tags`` are named in the report."""
    files = files or {label: (Path(label),) * len(several) for label, several in predictions.items()}
    image_ids, splits = _expected(predictions, truth, config, files, tags)
    lists = {image_id: truth.lists[image_id] for image_id in image_ids}
    tagged = np.array([any(people) for people in lists.values()], bool)
    if not tagged.any():
        raise RanktagError(
            f"{tags}: none of the {len(image_ids)} images to score has tags; is it the right file, or --split?"
        )
    expected = frozenset(image_ids)
    drafts = [
        _draft(label, files[label], several, truth, image_ids, expected, tagged, config)
        for label, several in predictions.items()
    ]
    people = _people(lists, config)
    rows, differences = _with_intervals(drafts if people is None else [*drafts, people], len(drafts), config)
    training = _training_tags(truth, splits)
    occurring = Counter(tag for several in lists.values() for person in several for tag in person)
    return EvaluationReport(
        tags=tags,
        config=config,
        splits=splits,
        image_ids=image_ids,
        lists=lists,
        rows=tuple(rows[: len(drafts)]),
        people=None if people is None else rows[-1],
        differences=differences,
        tag_rows=tuple(
            tag_row
            for row, several in zip(rows, predictions.values())
            for tag_row in _tag_rows(row, several, image_ids, lists)
        ),
        predictions={
            label: {i: several[0][i] for i in image_ids if i in several[0]} for label, several in predictions.items()
        },
        untagged=int(np.count_nonzero(~tagged)),
        not_in_any_file=sum(
            all(i not in read for several in predictions.values() for read in several) for i in truth.lists
        ),
        truth_tags=sum(occurring.values()),
        unseen_tags=None if training is None else len(occurring.keys() - training),
        unseen=None if training is None else sum(n for tag, n in occurring.items() if tag not in training),
    )


def _expected(
    predictions: Mapping[str, Sequence[Predictions]],
    truth: TagLists,
    config: EvaluationConfig,
    files: Mapping[str, tuple[Path, ...]],
    tags: Path,
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Ids of the expected images in the tag file's order, and the splits they were taken from."""
    named: set[str] = set()
    for label, several in predictions.items():
        for number, read in enumerate(several):
            known = truth.lists.keys() & read.keys()
            if not known:
                examples = (
                    f"'{next(iter(read), '')}' here, '{next(iter(truth.lists))}' there" if read else "it has no rows"
                )
                raise RanktagError(
                    f"{files[label][number]}: none of its {len(read)} images is in {tags} ({examples}); the image ids must be the same"
                )
            named |= known
    split = truth.split
    if config.split is not None:
        if split is None:
            raise RanktagError(
                f"{tags}: has no column 'split', so --split {config.split} selects nothing; leave it out"
            )
        chosen = {config.split}
    elif split is not None:
        chosen = {split[image_id] for image_id in named}
    else:
        return tuple(i for i in truth.lists if i in named), ()
    image_ids = tuple(i for i in truth.lists if split[i] in chosen)
    if not image_ids:
        raise RanktagError(
            f"{tags}: has no image in split '{config.split}'; there are {', '.join(sorted(set(split.values())))}"
        )
    return image_ids, tuple(name for name in ("train", "val", "test") if name in chosen)


def _training_tags(truth: TagLists, splits: Sequence[str]) -> set[str] | None:
    """Tags of the training lists; None if the file has none, or if they are what is scored."""
    if truth.split is None or "train" in splits or "train" not in truth.split.values():
        return None
    return {
        tag for i, people in truth.lists.items() if truth.split[i] == "train" for person in people for tag in person
    }


def _values(matches: Matches, config: EvaluationConfig) -> Floats:
    """What is known of each image, (N, len(VALUES)); nan rows for images without tags."""
    right, pairs = matches.order()
    at = {
        "ndcg": lambda k: matches.ndcg(k, config.gain),
        "precision": matches.precision,
        "recall": matches.recall,
        "f1": matches.f1,
    }
    columns = [at[name.split("@")[0]](int(name.split("@")[1])) for name in AT_CUTOFFS]
    values = np.stack([*columns, matches.first_tag(), right, pairs, matches.predicted, matches.truth_length()], axis=1)
    values[matches.people() == 0] = np.nan
    return values


def _scores(means: Floats) -> dict[str, Floats]:
    """Means of the values, (..., len(VALUES)), to scores, (...); order accuracy without pairs is nan."""
    by_name = {name: means[..., column] for column, name in enumerate(VALUES)}
    right, pairs = by_name.pop("order_right"), by_name.pop("order_pairs")
    by_name["order_accuracy"] = np.divide(right, pairs, out=np.full_like(right, np.nan), where=pairs > 0)
    return {name: by_name[name] for name in SCORES}


def _draft(
    label: str,
    files: tuple[Path, ...],
    several: Sequence[Predictions],
    truth: TagLists,
    image_ids: tuple[str, ...],
    expected: frozenset[str],
    tagged: Mask,
    config: EvaluationConfig,
) -> Row:
    """A row without intervals."""
    there = np.array([all(i in read for read in several) for i in image_ids], bool)
    scored = np.flatnonzero(there & tagged)
    if not len(scored):
        raise RanktagError(
            f"{files[0]}: no image to score: of the {len(image_ids)} expected, it has none that has tags; name another split or tag file"
        )
    ids = [image_ids[i] for i in scored]
    ranked = [[[tag for tag, _ in read[i]] for i in ids] for read in several]
    per_file = np.stack([_values(match([truth.lists[i] for i in ids], tags), config) for tags in ranked])
    values = np.full((len(image_ids), len(VALUES)), np.nan)
    values[scored] = per_file.mean(axis=0)
    scores = _scores(values[scored].mean(axis=0))
    spread = {
        name: float(np.std(of_files, ddof=1)) if len(several) > 1 else math.nan
        for name, of_files in _scores(per_file.mean(axis=1)).items()
    }
    said = {tag for read in several for tags in read.values() for tag, _ in tags}
    unnamed = Counter(tag for i in ids for person in truth.lists[i] for tag in person if tag not in said)
    return Row(
        label=label,
        files=files,
        scores={name: Estimate(float(value), seed_std=spread[name]) for name, value in scores.items()},
        order_pairs=float(values[scored, VALUES.index("order_pairs")].sum()),
        values=values,
        missing=tuple(image_ids[i] for i in np.flatnonzero(~there)),
        unknown=tuple(dict.fromkeys(i for read in several for i in read if i not in truth.lists)),
        not_expected=len({i for read in several for i in read if i in truth.lists and i not in expected}),
        empty=sum(any(not tags[n] for tags in ranked) for n in range(len(ids))),
        unnamed_tags=len(unnamed),
        unnamed=sum(unnamed.values()),
    )


def _people(lists: Mapping[str, Sequence[TagList]], config: EvaluationConfig) -> Row | None:
    """Each person's list scored against each other person's list of the image: the mean over ordered pairs of people.

    Only images with two or more lists that are not empty count.
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
    per_person = _values(match(others, own), config)
    image = np.array(numbers)
    count = np.bincount(image, minlength=len(lists))
    sums = np.stack([np.bincount(image, column, minlength=len(lists)) for column in per_person.T], axis=1)
    values = np.divide(sums, count[:, None], out=np.full_like(sums, np.nan), where=count[:, None] > 0)
    scored = count > 0
    return Row(
        label=PEOPLE,
        files=(),
        scores={name: Estimate(float(value)) for name, value in _scores(values[scored].mean(axis=0)).items()},
        order_pairs=float(values[scored, VALUES.index("order_pairs")].sum()),
        values=values,
    )


def _with_intervals(
    rows: Sequence[Row], compared: int, config: EvaluationConfig
) -> tuple[list[Row], tuple[Difference, ...]]:
    """The rows with intervals, and the differences between every two of the first ``compared``."""
    scored = [row.scored for row in rows]
    pairs = [(a, b) for a, b in itertools.combinations(range(compared), 2) if np.any(scored[a] & scored[b])]
    # Rows that score the same images share their draws: each set of images is resampled once, for all that need it.
    wanted: dict[bytes, tuple[Mask, set[int]]] = {}
    for mask, together in [
        *((mask, (n,)) for n, mask in enumerate(scored)),
        *((scored[a] & scored[b], (a, b)) for a, b in pairs),
    ]:
        wanted.setdefault(mask.tobytes(), (mask, set()))[1].update(together)
    drawn: dict[tuple[bytes, int], dict[str, Floats]] = {}
    for key, (mask, numbers) in wanted.items():
        means = resampled_means(np.hstack([rows[n].values[mask] for n in numbers]), config.resamples, config.seed)
        for n, own in zip(numbers, np.split(means, len(numbers), axis=1)):
            drawn[key, n] = _scores(own)

    finished = []
    for number, (row, mask) in enumerate(zip(rows, scored)):
        resampled = drawn[mask.tobytes(), number]
        scores = {
            name: Estimate(estimate.value, *interval(resampled[name]), estimate.seed_std)
            for name, estimate in row.scores.items()
        }
        finished.append(dataclasses.replace(row, scores=scores))
    differences = []
    for a, b in pairs:
        mask = scored[a] & scored[b]
        first, second = (_scores(rows[n].values[mask].mean(axis=0)) for n in (a, b))
        changes = {}
        for name in SCORES:
            change = drawn[mask.tobytes(), a][name] - drawn[mask.tobytes(), b][name]
            changes[name] = Change(float(first[name] - second[name]), *interval(change), p_value(change))
        differences.append(Difference(rows[a].label, rows[b].label, int(np.count_nonzero(mask)), changes))
    return finished, tuple(differences)


def _tag_rows(
    row: Row, several: Sequence[Predictions], image_ids: Sequence[str], lists: Mapping[str, Sequence[TagList]]
) -> list[TagRow]:
    """A row's tags, the most frequent in the truth first, then in alphabetical order."""
    support: Counter[str] = Counter()
    predicted: Counter[str] = Counter()
    hits: Counter[str] = Counter()
    error: Counter[str] = Counter()
    for image_id in itertools.compress(image_ids, row.scored):
        people = [person for person in lists[image_id] if person]
        for person in people:
            support.update(person)
        for read in several:
            places: dict[str, int] = {}
            for place, (tag, _) in enumerate(read[image_id], 1):
                places.setdefault(tag, place)
            for tag in places:
                predicted[tag] += len(people)
            for person in people:
                for rank, tag in enumerate(person, 1):
                    if tag in places:
                        hits[tag] += 1
                        error[tag] += abs(places[tag] - rank)
    files = len(several)
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
