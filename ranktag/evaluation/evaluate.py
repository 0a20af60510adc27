"""The last stage: prediction files and people's tag lists in, a report out (what is compared, and how: ``ranktag.evaluation.compare``)."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from ranktag.config import EvaluationConfig
from ranktag.errors import RanktagError
from ranktag.evaluation.compare import compare
from ranktag.evaluation.report.folder import check_output, write_report
from ranktag.evaluation.results import EvaluationReport
from ranktag.tags.lists import read_tag_lists
from ranktag.tags.predictions import read_predictions


def evaluate(
    predictions: Sequence[Path] | Mapping[str, Path | Sequence[Path]],
    tags: Path,
    output: Path | None = None,
    config: EvaluationConfig = EvaluationConfig(),
    images: Path | None = None,
    overwrite: bool = False,
) -> EvaluationReport:
    """Score prediction files against a tag-list file; with ``output``, write the folder of the report there.

    predictions: one row each; a folder stands for the CSV files in it (one a seed).
    A mapping gives the rows names and may give several files a row; else the names
    are the files' names, with folders before them where needed to tell them apart.
    images: folder of the photos, for the gallery.

    Raises RanktagError for unreadable files, no image in common, a split that the
    tag file does not have, and an ``output`` that exists (unless ``overwrite``, which
    replaces a report and nothing else).
    """
    if output is not None:
        check_output(Path(output), overwrite)
    if images is not None and not Path(images).is_dir():
        raise RanktagError(f"{images}: no such folder of photos; name the one that the image ids are paths below")
    sources = _sources(predictions)
    truth = read_tag_lists(Path(tags))
    read = {label: [read_predictions(file) for file in files] for label, files in sources.items()}
    report = compare(read, truth, config, sources, Path(tags))
    if output is not None:
        write_report(Path(output), report, None if images is None else Path(images), overwrite)
    return report


def _sources(predictions: Sequence[Path] | Mapping[str, Path | Sequence[Path]]) -> dict[str, tuple[Path, ...]]:
    """Label -> the files of its row."""
    if not predictions:
        raise RanktagError("no prediction file was given; make one with 'export-tags'")
    if isinstance(predictions, Mapping):
        named = {
            label: (given,) if isinstance(given, (str, Path)) else tuple(given) for label, given in predictions.items()
        }
        empty = next((label for label, given in named.items() if not given), None)
        if empty is not None:
            raise RanktagError(f"row '{empty}' has no prediction file; name at least one")
        return {label: tuple(file for path in given for file in _files(Path(path))) for label, given in named.items()}
    paths = [Path(path) for path in predictions]
    return dict(zip(unique_labels(paths), map(_files, paths)))


def _files(path: Path) -> tuple[Path, ...]:
    if not path.is_dir():
        return (path,)
    files = tuple(sorted(path.glob("*.csv")))
    if not files:
        raise RanktagError(f"{path}: holds no .csv file; expected prediction files, one a seed")
    return files


def unique_labels(paths: Sequence[Path]) -> list[str]:
    """File names without '.csv', each with as many of its folders before it as tells it from the others."""
    parts = [
        (*path.parent.parts, path.stem if path.suffix == ".csv" else path.name) for path in map(Path.absolute, paths)
    ]
    labels = []
    for number, own in enumerate(parts):
        others = [other for i, other in enumerate(parts) if i != number and other != own]
        depth = next((d for d in range(1, len(own)) if all(other[-d:] != own[-d:] for other in others)), len(own))
        # A name that is not UTF-8 could not be written to a report.
        labels.append(os.fsencode("/".join(own[-depth:])).decode("utf-8", "backslashreplace"))
    counts: Counter[str] = Counter()
    for number, label in enumerate(labels):
        counts[label] += 1
        if counts[label] > 1:
            labels[number] = f"{label} ({counts[label]})"
    return labels
