"""What the tests of evaluation compare: four images' lists, and predictions of them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from ranktag.evaluation.results import EvaluationReport
from ranktag.tags.lists import TagLists, write_tag_lists
from ranktag.tags.predictions import write_predictions

D2 = 0.6309298

# Truth of four images: 'd' has no tags, 't' is training.
TRUTH = {"a": ["x|y"], "b": ["y"], "c": ["x|y|z"], "d": [""], "t": ["x|y"]}
SPLIT = {"a": "val", "b": "val", "c": "val", "d": "val", "t": "train"}


def lists(texts: Mapping[str, list[str]]) -> dict[str, list[tuple[str, ...]]]:
    return {i: [tuple(filter(None, text.split("|"))) for text in people] for i, people in texts.items()}


def predicted(**texts: str) -> dict[str, list[tuple[str, float]]]:
    return {i: [(tag, 0.5) for tag in text.split("|") if tag] for i, text in texts.items()}


def score(report: EvaluationReport, name: str, row: int = 0) -> float:
    return report.rows[row].scores[name].value


def write_example(folder: Path) -> dict[str, Path]:
    """Tag lists and two prediction files: 'good' is right everywhere, 'poor' swaps, misses and invents."""
    paths = {name: folder / f"{name}.csv" for name in ("tags", "good", "poor")}
    write_tag_lists(paths["tags"], TagLists(lists(TRUTH), SPLIT))
    write_predictions(paths["good"], predicted(a="x|y", b="y", c="x|y|z", d="x"))
    write_predictions(paths["poor"], predicted(a="y|x", b="", c="q", d="q"), "wide")
    return paths
