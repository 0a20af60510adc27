"""How well images are found, as tables and as JSON: what the files ``retrieval*.csv`` and ``metrics.json`` hold."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

from ranktag.evaluation.results import Change, Estimate
from ranktag.evaluation.retrieval import METRICS, VALUES, Retrieval
from ranktag.evaluation.tables import Table
from ranktag.tags.lists import join_tags

_CHANGE = ("", "_low", "_high", "_p", "_p_holm")


def retrieval_table(retrieval: Retrieval) -> Table:
    """A row of scores and kind of query each: how well images are found, by importance, by presence, and what it gains.

    The gain's p is corrected for the number of rows.
    """
    header = ["label", "kind", "queries"]
    header += [name + part for name in VALUES for part in ("", "_low", "_high", "_seed_std")]
    header += [f"{name}_gained{part}" for name in METRICS for part in _CHANGE]
    rows = [
        [
            *(row.label, row.kind, row.queries),
            *(number for name in VALUES for number in dataclasses.astuple(row.scores[name])),
            *(number for name in METRICS for number in dataclasses.astuple(row.gained[name])),
        ]
        for row in retrieval.rows
    ]
    return Table(header, rows)


def retrieval_difference_table(retrieval: Retrieval) -> Table:
    """A row a pair of rows and kind of query: the first's score minus the second's, both by importance."""
    header = ["first", "second", "kind", "queries", *(name + part for name in METRICS for part in _CHANGE)]
    rows = [
        [d.first, d.second, d.kind, d.queries]
        + [number for name in METRICS for number in dataclasses.astuple(d.scores[name])]
        for d in retrieval.differences
    ]
    return Table(header, rows)


def query_table(retrieval: Retrieval) -> Table:
    """A row a query and row of scores: the images that hold it, and its scores."""
    header = ["label", "query", "images", *VALUES]
    rows = (
        [label, join_tags(tags), images, *map(float, of_query)]
        for label, values in retrieval.values.items()
        for (tags, images), of_query in zip(retrieval.queries, values)
    )
    return Table(header, rows)


def retrieval_json(retrieval: Retrieval) -> dict[str, Any]:
    """How well images are found, as JSON holds it."""
    return {
        "images": retrieval.images,
        "rows": [
            {
                **{"label": row.label, "kind": row.kind, "queries": row.queries},
                "scores": {name: numbers_json(estimate) for name, estimate in row.scores.items()},
                "importance_minus_presence": {name: numbers_json(change) for name, change in row.gained.items()},
            }
            for row in retrieval.rows
        ],
        "differences": [
            {
                **{"first": d.first, "second": d.second, "kind": d.kind, "queries": d.queries},
                "scores": {name: numbers_json(change) for name, change in d.scores.items()},
            }
            for d in retrieval.differences
        ],
    }


def numbers_json(numbers: Estimate | Change) -> dict[str, float | None]:
    """The numbers of a score or of a difference as JSON holds them, null where there is none."""
    return {name: None if math.isnan(number) else number for name, number in dataclasses.asdict(numbers).items()}


RETRIEVAL_TABLES = {
    "retrieval.csv": retrieval_table,
    "retrieval_differences.csv": retrieval_difference_table,
    "retrieval_queries.csv": query_table,
}
