"""The last stage: predictions and people's tag lists in, a report out.

What is compared, and how, is described in ``ranktag.evaluation.compare``.
"""

from __future__ import annotations

import dataclasses
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias, cast

from ranktag.config import EvaluationConfig
from ranktag.errors import Mismatch, NotFound, RanktagError, Usage
from ranktag.evaluation.compare import compare
from ranktag.evaluation.completion import parted
from ranktag.evaluation.report.folder import check_output, write_report
from ranktag.evaluation.report.gallery import inside
from ranktag.evaluation.results import EvaluationReport
from ranktag.files.lock import only_writer
from ranktag.progress import Progress
from ranktag.tags.completions import holds_completions, read_completions
from ranktag.tags.lists import TagLists, read_tag_lists
from ranktag.tags.predictions import Predictions, predictions_from_frame, read_predictions
from ranktag.tags.unicode_forms import other_forms, said

if TYPE_CHECKING:
    import pandas as pd

# Predictions: a file, a folder of files (one a seed), or what would be read from a file.
Source: TypeAlias = "str | Path | Predictions | pd.DataFrame"


def evaluate(
    predictions: Source | Sequence[Source] | Mapping[str, Source | Sequence[Source]],
    tags: str | Path | TagLists | pd.DataFrame,
    output: str | Path | None = None,
    config: EvaluationConfig = EvaluationConfig(),
    images: str | Path | None = None,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> EvaluationReport:
    """Score predictions against tag lists; with ``output``, write the folder of the report there.

    predictions: prediction files, or DataFrames like them (``ranktag.tags.predictions``), one
    row each; a folder stands for the CSV files in it (one a seed). A mapping gives the rows
    names and may give several files a row; else the names are the files' names, with folders
    before them where needed to tell them apart. tags: a tag-list file, or a DataFrame like
    one (``ranktag.tags.lists``). images: folder of the photos, for the gallery. progress: is
    told how far reading and scoring are.

    A row's files may also say how begun lists go on (``export-tags --given``): beside whole lists they are scored
    apart, by the number of tags that are given (``EvaluationReport.completion``).

    Raises RanktagError for unreadable files, no image in common, a split that the
    tag file does not have, ``images`` that has none of the photos, and an ``output`` that
    exists (unless ``overwrite``, which replaces a report and nothing else) or that another
    process writes.
    """
    if output is not None:
        check_output(Path(output), overwrite)
    if images is not None and config.given is not None:
        raise Usage("--images shows whole lists beside photos, and --given scores what comes next; leave one out")
    if config.retrieval and config.given is not None:
        raise Usage("--retrieval searches in whole lists, and --given scores what comes next; leave one out")
    if images is not None and not Path(images).is_dir():
        raise NotFound(f"{images}: no such folder of photos; name the one that the image ids are paths below")
    with only_writer(None if output is None else Path(output)):
        sources = _by_label(predictions)
        truth = _read_tags(tags)
        progress = progress or Progress()
        every_file = [(label, source) for label, several in sources.items() for _, source in several]
        read: dict[str, list[Predictions]] = {label: [] for label in sources}
        for label, source in progress.over(every_file, "Reading", len(every_file), "prediction files"):
            read[label].append(_read(source))
        files = {label: tuple(file for file, _ in several) for label, several in sources.items()}
        name = Path(tags) if isinstance(tags, (str, Path)) else Path("tags")
        predicted = {image_id for several in read.values() for one in several for image_id in one}
        if forms := other_forms(truth.lists, predicted, str(name)):
            truth = truth.renamed(forms)
            progress.note(said(forms))
        report = _compared(read, truth, config, files, name, progress)
        if images is not None:
            refuse_other_photos(Path(images), report.image_ids)
        if output is not None:
            write_report(Path(output), report, None if images is None else Path(images), overwrite)
        return report


def _compared(
    read: Mapping[str, Sequence[Predictions]],
    truth: TagLists,
    config: EvaluationConfig,
    files: Mapping[str, Sequence[Path]],
    tags: Path,
    progress: Progress,
) -> EvaluationReport:
    """``compare`` for whole lists, with how begun lists go on beside them; or for those alone if ``config.given``."""
    whole, begun = parted(read, files)
    if config.given is not None or not begun:
        return compare(read, truth, config, files, tags, progress)
    if not whole.predictions:
        k, some = next(iter(begun.items()))
        raise Usage(
            f"'{next(iter(some.predictions))}' says how lists go on that people began; score that alone with "
            f"ranktag evaluate --given {k}, or give a file of whole lists, too"
        )
    completion = []
    for k, some in begun.items():
        reference = config.reference if config.reference in some.predictions else None
        settings = config.replace(given=k, retrieval=False, reference=reference)
        completion.append(compare(some.predictions, truth, settings, some.files, tags, progress))
    report = compare(whole.predictions, truth, config, whole.files, tags, progress)
    return dataclasses.replace(report, completion=tuple(completion))


def _by_label(
    predictions: Source | Sequence[Source] | Mapping[str, Source | Sequence[Source]],
) -> dict[str, list[tuple[Path, Source]]]:
    """Label -> what its row is of, each with the path that stands for it in the report."""
    if isinstance(predictions, Mapping):
        named = {label: _several(given) for label, given in predictions.items()}
        names = {label: [_path(source, label) for source in given] for label, given in named.items()}
    else:
        given = _several(predictions)
        numbers = [f" {number}" for number in range(1, len(given) + 1)] if len(given) > 1 else [""]
        paths = [_path(source, f"predictions{number}") for number, source in zip(numbers, given)]
        labels = unique_labels(paths)
        named = {label: [source] for label, source in zip(labels, given)}
        names = {label: [path] for label, path in zip(labels, paths)}
    if not named:
        raise RanktagError("no prediction file was given; make one with 'export-tags'")
    empty = next((label for label, given in named.items() if not given), None)
    if empty is not None:
        raise RanktagError(f"row '{empty}' has no prediction file; name at least one")
    return {
        label: [part for path, source in zip(names[label], given) for part in _files(path, source)]
        for label, given in named.items()
    }


def refuse_other_photos(images: Path, image_ids: Sequence[str]) -> None:
    """Raise RanktagError if the folder has none of the photos."""
    if not any(inside(images, image_id) for image_id in image_ids):
        raise Mismatch(
            f"{images}: has none of the {len(image_ids)} photos, '{next(iter(image_ids))}' among them; "
            "name the folder that the image ids are paths below"
        )


def _several(given: Source | Sequence[Source]) -> list[Source]:
    return list(given) if isinstance(given, Sequence) and not isinstance(given, str) else [given]


def _path(source: Source, otherwise: str) -> Path:
    return Path(source) if isinstance(source, (str, Path)) else Path(otherwise)


def _files(path: Path, source: Source) -> list[tuple[Path, Source]]:
    """The source, or the files in it if it is a folder."""
    if not isinstance(source, (str, Path)) or not path.is_dir():
        return [(path, source)]
    files = sorted(path.glob("*.csv"))
    if not files:
        raise NotFound(f"{path}: holds no .csv file; expected prediction files, one a seed")
    return [(file, file) for file in files]


def _read(source: Source) -> Predictions:
    """What a file holds; what says how lists go on, ``ranktag.evaluation.completion`` takes apart."""
    if isinstance(source, (str, Path)):
        completed = holds_completions(source)
        return cast(Predictions, read_completions(source)) if completed else read_predictions(Path(source))
    return source if isinstance(source, dict) else predictions_from_frame(source)


def _read_tags(tags: str | Path | TagLists | pd.DataFrame) -> TagLists:
    if isinstance(tags, (str, Path)):
        return read_tag_lists(Path(tags))
    return tags if isinstance(tags, TagLists) else TagLists.from_frame(tags)


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
