"""How well people's photos are found by predicted tags (after Hwang and Grauman, IJCV 2012).

A query is one tag, or a pair of tags that stand together in a person's list, that at least ten
images hold. The images that have tags are ranked as ``ranktag search`` ranks them, by importance and
by presence (``ranktag.search.relevance``). What an image is worth to a query is the mean over its
people's lists of the gain of the query's tags, summed (``ranktag.evaluation.matches``; a tag that
is not listed earns nothing, empty lists do not count). Of that ranking

    NDCG@10            sum_{j<=10} worth_j / log2(1 + j), over the same of the images ranked by worth
    average precision  mean, over the images that hold the query, of the share of them among the
                       images down to that one; an image holds a pair if one person's list does

What the search does not find earns nothing. Equally relevant images stand in no order: both are their
mean over all orders (McSherry and Najork, ECIR 2008). A score is the mean over queries, of a row of
several files (seeds) first over these, with a 95% interval by bootstrap over queries; rows are
compared by the same draws. Letters: N images, Q queries.
"""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from ranktag.config import EvaluationConfig
from ranktag.evaluation.bootstrap import holm, interval, p_value, resampled_means
from ranktag.evaluation.expected import Entry, Expected
from ranktag.evaluation.matches import GAINS, Floats, Ints, Mask
from ranktag.evaluation.results import Change, Estimate
from ranktag.progress import Progress
from ranktag.search.index import TagIndex
from ranktag.search.query import Query
from ranktag.search.relevance import IMPORTANCE, PRESENCE
from ranktag.search.search import find
from ranktag.tags.lists import TagList
from ranktag.tags.spelling import folded

LEAST_IMAGES = 10
PLACES = 10
METRICS = {"ndcg@10": f"NDCG@{PLACES}", "average_precision": "average precision"}
ORDERS = (IMPORTANCE, PRESENCE)
# The columns of a row's values.
VALUES = tuple(f"{metric}_{by}" for by in ORDERS for metric in METRICS)
KINDS = ("all", "one tag", "pairs")


class Asked(NamedTuple):
    """A query. tags: folded, one or two. images: (n,) the numbers of those that hold it."""

    tags: tuple[str, ...]
    images: Ints


class Worth(NamedTuple):
    """What images are worth to a tag. images: (n,) their numbers. gains: (n,) float64; others are worth nothing."""

    images: Ints
    gains: Floats


@dataclass(frozen=True)
class Truth:
    """What people's lists say. images: N. queries: the tags, then the pairs, the most frequent first; worth: by tag."""

    images: int
    queries: tuple[Asked, ...]
    worth: Mapping[str, Worth]

    @classmethod
    def of(cls, lists: Sequence[Sequence[TagList]], gain: str = "log") -> Truth:
        """lists: for each of N images its people's. gain: what a tag earns by its rank, a name in GAINS."""
        worth: dict[str, dict[int, float]] = defaultdict(lambda: defaultdict(float))
        holding: dict[tuple[str, ...], dict[int, None]] = defaultdict(dict)
        for number, several in enumerate(lists):
            people = [list(dict.fromkeys(map(folded, person))) for person in several if person]
            for person in people:
                ranks = np.arange(1.0, len(person) + 1)
                for tag, earned in zip(person, GAINS[gain](ranks, np.full_like(ranks, len(person))).tolist()):
                    worth[tag][number] += earned / len(people)
                    holding[(tag,)][number] = None
                for pair in itertools.combinations(sorted(person), 2):
                    holding[pair][number] = None
        enough = [Asked(tags, np.array(list(of), np.int64)) for tags, of in holding.items() if len(of) >= LEAST_IMAGES]
        enough.sort(key=lambda query: (len(query.tags), -len(query.images), query.tags))
        return cls(
            len(lists),
            tuple(enough),
            {
                tag: Worth(np.array(list(of), np.int64), np.array(list(of.values())))
                for tag, of in worth.items()
                if len(of) >= LEAST_IMAGES
            },
        )

    def worth_to(self, query: Asked) -> Floats:
        """(N,) what the images are worth to a query."""
        total = np.zeros(self.images)
        for of_tag in map(self.worth.__getitem__, query.tags):
            total[of_tag.images] += of_tag.gains
        return total

    def held(self, query: Asked) -> Mask:
        """(N,) which images hold a query."""
        held = np.zeros(self.images, bool)
        held[query.images] = True
        return held


@dataclass(frozen=True)
class RetrievalRow:
    """How well images are found by one row's predictions, mean over the queries of a kind.

    kind: 'all', 'one tag' or 'pairs'. scores: a name of VALUES -> estimate. gained: a name of METRICS -> by
    importance minus by presence, of the same predictions.
    """

    label: str
    kind: str
    queries: int
    scores: Mapping[str, Estimate]
    gained: Mapping[str, Change]


@dataclass(frozen=True)
class RetrievalDifference:
    """Two rows compared, both by importance, on the queries of a kind. scores: a name of METRICS -> change."""

    first: str
    second: str
    kind: str
    queries: int
    scores: Mapping[str, Change]


@dataclass(frozen=True)
class Retrieval:
    """What was found. images: N. queries: their tags, and how many images hold them.

    values: label -> (Q, len(VALUES)) float64. rows, differences: for each kind of which there are queries.
    """

    images: int
    queries: tuple[tuple[tuple[str, ...], int], ...]
    values: Mapping[str, Floats]
    rows: tuple[RetrievalRow, ...]
    differences: tuple[RetrievalDifference, ...]


def score_retrieval(
    entries: Sequence[Entry],
    expected: Expected,
    pairs: Sequence[tuple[str, str]],
    config: EvaluationConfig,
    progress: Progress | None = None,
) -> Retrieval:
    """Score how well the expected images that have tags are found by every entry's predictions.

    pairs: labels of the rows to compare. progress: is told how many files are scored.
    """
    image_ids = list(itertools.compress(expected.image_ids, expected.tagged))
    truth = Truth.of([expected.lists[i] for i in image_ids], config.gain)
    files = [(entry.label, read) for entry in entries for read in entry.predictions]
    found: dict[str, list[Floats]] = defaultdict(list)
    for label, read in (progress or Progress()).over(files, "Searching", len(files), "prediction files"):
        listed = {number: read[i] for number, i in enumerate(image_ids) if i in read}
        index = TagIndex.of({str(number): tags for number, tags in listed.items()})
        found[label].append(_score_file(index, np.array(list(listed), np.int64), truth))
    seeds = {label: np.stack(several) for label, several in found.items()}
    return _summary(truth, seeds, pairs, config)


def _score_file(index: TagIndex, numbers: Ints, truth: Truth) -> Floats:
    """The values of one file, (Q, len(VALUES)). numbers: of the index's images, among N."""
    values = np.empty((len(truth.queries), len(VALUES)))
    for row, query in zip(values, truth.queries):
        worth, held = truth.worth_to(query), truth.held(query)
        scores = []
        for by in ORDERS:
            found = find(Query(query.tags), index, by)
            order = numbers[found.images]
            scores += [ndcg(worth, order, found.relevance), average_precision(held, order, found.relevance)]
        row[:] = scores
    return values


def _groups(relevance: Floats) -> tuple[Floats, Floats]:
    """For each of the (n,) images, in falling order of relevance: where its group of equals begins, and how many."""
    first = np.r_[True, relevance[1:] != relevance[:-1]] if len(relevance) else np.zeros(0, bool)
    starts = np.flatnonzero(first)
    sizes = np.diff(np.r_[starts, len(relevance)])
    return np.repeat(starts, sizes).astype(np.float64), np.repeat(sizes, sizes).astype(np.float64)


def _mean_of_group(values: Floats, starts: Floats, sizes: Floats) -> Floats:
    """For each of the (n,) images the mean of the values of its group."""
    sums = np.r_[0.0, np.cumsum(values)]
    begin = starts.astype(np.int64)
    return np.asarray((sums[begin + sizes.astype(np.int64)] - sums[begin]) / sizes)


def ndcg(worth: Floats, order: Ints, relevance: Floats) -> float:
    """NDCG@10 of a ranking. worth: (N,), not all 0. order, relevance: (n,) the images found, most relevant first."""
    weights = 1.0 / np.log2(np.arange(2, PLACES + 2))
    got = _mean_of_group(worth[order], *_groups(relevance))[:PLACES]
    ideal = np.sort(worth)[::-1][:PLACES]
    return float(got @ weights[: len(got)] / (ideal @ weights[: len(ideal)]))


def average_precision(held: Mask, order: Ints, relevance: Floats) -> float:
    """Average precision of a ranking. held: (N,), not all False. order, relevance: as for ``ndcg``."""
    hits = held[order].astype(np.float64)
    starts, sizes = _groups(relevance)
    share = _mean_of_group(hits, starts, sizes)
    before = np.r_[0.0, np.cumsum(hits)][starts.astype(np.int64)]
    place = np.arange(1, len(hits) + 1)
    # Given a hit here, each of the others of its group is one with the chance that the rest of its hits leaves.
    others = np.divide(share * sizes - 1, sizes - 1, out=np.zeros_like(share), where=sizes > 1)
    precision = (before + 1 + (place - 1 - starts) * others) / place
    return float((share * precision).sum() / held.sum())


def _summary(
    truth: Truth, seeds: Mapping[str, Floats], pairs: Sequence[tuple[str, str]], config: EvaluationConfig
) -> Retrieval:
    """seeds: label -> (files, Q, len(VALUES))."""
    values = {label: several.mean(axis=0) for label, several in seeds.items()}
    pair = np.array([len(query.tags) == 2 for query in truth.queries], bool)
    rows: list[RetrievalRow] = []
    differences: list[RetrievalDifference] = []
    for kind, chosen in zip(KINDS, (np.ones_like(pair), ~pair, pair)):
        if not chosen.any():
            continue
        of_kind = {label: several[:, chosen] for label, several in seeds.items()}
        stacked = np.hstack([several.mean(axis=0) for several in of_kind.values()])
        # A single query says nothing of how others would do.
        resamples = config.resamples if len(stacked) > 1 else 0
        means = resampled_means(stacked, resamples, config.seed)
        drawn = dict(zip(of_kind, np.split(means, len(of_kind), axis=1)))
        rows += _rows(kind, of_kind, drawn)
        exact = {label: several.mean(axis=(0, 1)) for label, several in of_kind.items()}
        compared = [_changes(exact[a] - exact[b], drawn[a] - drawn[b]) for a, b in pairs]
        count = int(chosen.sum())
        differences += [
            RetrievalDifference(a, b, kind, count, changes) for (a, b), changes in zip(pairs, _corrected(compared))
        ]
    held = tuple((query.tags, len(query.images)) for query in truth.queries)
    return Retrieval(truth.images, held, values, tuple(rows), tuple(differences))


def _rows(kind: str, seeds: Mapping[str, Floats], drawn: Mapping[str, Floats]) -> list[RetrievalRow]:
    """seeds: label -> (files, queries of the kind, len(VALUES)). drawn: label -> (R, len(VALUES)) resampled means."""
    half = len(METRICS)
    rows = []
    for label, several in seeds.items():
        exact, spread, of_row = several.mean(axis=(0, 1)), _spread(several), drawn[label]
        scores = {
            name: Estimate(float(exact[n]), *interval(of_row[:, n]), float(spread[n])) for n, name in enumerate(VALUES)
        }
        gained = _changes(exact[:half] - exact[half:], of_row[:, :half] - of_row[:, half:])
        rows.append(RetrievalRow(label, kind, several.shape[1], scores, gained))
    return [replace(row, gained=one) for row, one in zip(rows, _corrected([row.gained for row in rows]))]


def _spread(several: Floats) -> Floats:
    """Standard deviation of the files' scores, (len(VALUES),); nan for one file. several: (files, Q, len(VALUES))."""
    means = several.mean(axis=1)
    return np.asarray(means.std(axis=0, ddof=1) if len(means) > 1 else np.full(means.shape[1], np.nan))


def _changes(value: Floats, drawn: Floats) -> dict[str, Change]:
    """A change of each metric, from its value, (at least len(METRICS),), and its resampled values in columns."""
    return {
        name: Change(float(value[n]), *interval(drawn[:, n]), p_value(drawn[:, n])) for n, name in enumerate(METRICS)
    }


def _corrected(several: Sequence[Mapping[str, Change]]) -> list[dict[str, Change]]:
    """The same with p corrected for how many there are, metric by metric."""
    p_holm = {name: holm([changes[name].p for changes in several]) for name in METRICS}
    return [
        {name: replace(change, p_holm=p_holm[name][n]) for name, change in changes.items()}
        for n, changes in enumerate(several)
    ]
