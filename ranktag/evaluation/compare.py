"""Comparing predictions with people's tag lists: one row of scores a prediction file, and the differences between rows.

What is compared. The *expected* images are those of the chosen split, by default test
(see ``ranktag.evaluation.expected``); where neither the tag file nor the predictions know
of splits, those that any of the files holds. An image is *scored* in a row if it is expected,
has tags and is in the file. Nothing else is left out, and what is left out is
counted: expected images that the file lacks, images without tags, ids that the tag
file does not know.

A row may stand for several files, say one a seed: an image's value is then the
mean over the files, it is scored if every file holds it, and ``seed_std`` is the
standard deviation of the files' scores.

Scores are means over the scored images (see ``ranktag.evaluation.matches`` for an
image's value, ``ranktag.evaluation.metrics`` for what there is), except ratios, whose
parts are pooled: order accuracy is the pairs in the truth's order over all pairs of
all people's lists of all scored images. Intervals are 95% percentile intervals of a
bootstrap over images; two rows are compared on the images that both score, by the
same draws (see ``ranktag.evaluation.bootstrap``).
"""

from __future__ import annotations

import dataclasses
import itertools
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from ranktag.config import EvaluationConfig
from ranktag.evaluation.calibration import score_calibration
from ranktag.evaluation.completion import CompletedLists, begin_lists, ranked_lists
from ranktag.evaluation.expected import Entry, expected_images, training_tags
from ranktag.evaluation.intervals import with_intervals
from ranktag.evaluation.results import EvaluationReport
from ranktag.evaluation.retrieval import score_retrieval
from ranktag.evaluation.rows import score_entry, score_people, score_tags
from ranktag.evaluation.scores import load_metrics
from ranktag.progress import Progress
from ranktag.tags.lists import TagLists
from ranktag.tags.predictions import Predictions, PredictionsWithSplit, seen_split
from ranktag.tags.spelling import Spelling


def compare(
    predictions: Mapping[str, Sequence[Predictions]],
    truth: TagLists,
    config: EvaluationConfig = EvaluationConfig(),
    files: Mapping[str, Sequence[Path]] | None = None,
    tags: Path = Path("tags.csv"),
    progress: Progress | None = None,
) -> EvaluationReport:
    """Compare what was read: label -> the predictions of its files. ``files`` and ``tags`` are named in the report.

    progress: is told how many rows are scored.

    Raises RanktagError for what cannot be compared: no image in common, none with tags,
    a split that there is not.
    """
    if config.given is not None:
        truth, predictions = begin_lists(truth, predictions, config.given)
    files = files or {label: [Path(label)] * len(several) for label, several in predictions.items()}
    entries = [Entry(label, tuple(files[label]), tuple(several)) for label, several in predictions.items()]
    metrics = load_metrics("whole" if config.given is None else "rest")
    spelling = None if config.keep_case else _spelling(truth, entries)
    if spelling is not None:
        truth, entries = _spelt_alike(truth, entries, spelling)
    expected = expected_images(entries, truth, config, tags)
    scored = [
        score_entry(entry, expected, metrics, config.gain, tags)
        for entry in (progress or Progress()).over(entries, "Scoring", len(entries), "rows")
    ]
    people = None if config.given is not None else score_people(expected.lists, metrics, config.gain)
    table, differences = with_intervals([*scored, *([] if people is None else [people])], len(entries), metrics, config)
    rows = table[: len(entries)]
    training = training_tags(truth, expected.splits)
    occurring = Counter(itertools.chain(*itertools.chain(*expected.lists.values())))
    return EvaluationReport(
        metrics=metrics,
        tags=tags,
        config=config,
        splits=expected.splits,
        told_by=expected.told_by,
        spelling_note="" if spelling is None else spelling.note(),
        image_ids=expected.image_ids,
        lists=expected.lists,
        rows=tuple(rows),
        people=None if people is None else table[-1],
        differences=tuple(differences),
        tag_rows=tuple(tag_row for row, entry in zip(rows, entries) for tag_row in score_tags(row, entry, expected)),
        predictions={
            entry.label: {i: entry.predictions[0][i] for i in expected.image_ids if i in entry.predictions[0]}
            for entry in entries
        },
        untagged=int(np.count_nonzero(~expected.tagged)),
        not_in_any_file=len(truth.lists.keys() - {i for entry in entries for read in entry.predictions for i in read}),
        truth_tags=sum(occurring.values()),
        unseen_tags=None if training is None else len(occurring.keys() - training),
        unseen=None if training is None else sum(n for tag, n in occurring.items() if tag not in training),
        retrieval=score_retrieval(entries, expected, [(d.first, d.second) for d in differences], config, progress)
        if config.retrieval
        else None,
        calibration=score_calibration(entries, expected, config),
    )


def _spelling(truth: TagLists, entries: Sequence[Entry]) -> Spelling | None:
    """The tag file's spellings, and those of tags that only the predictions hold; None if each has one."""
    counts = Counter(tag for people in truth.lists.values() for tags in people for tag in tags)
    said = {
        tag
        for entry in entries
        for read in entry.predictions
        for image_id in read
        for tags in ranked_lists(read, image_id)
        for tag, _ in tags
    }
    spelling = Spelling(dict.fromkeys(said, 0) | counts)
    return spelling if spelling.merged else None


def _spelt_alike(truth: TagLists, entries: Sequence[Entry], spelling: Spelling) -> tuple[TagLists, list[Entry]]:
    """The same with every tag in one spelling."""
    lists = {i: [spelling.spell_list(tags) for tags in people] for i, people in truth.lists.items()}
    spelt = []
    for entry in entries:
        several: list[Predictions] = []
        for read in entry.predictions:
            if isinstance(read, CompletedLists):
                several.append(read.spelt(spelling.spell))
                continue
            # A tag that comes again takes up its place and earns nothing, as any repeat.
            tags = {i: [(spelling.spell(tag), p) for tag, p in ranked] for i, ranked in read.items()}
            split = seen_split(read)
            several.append(tags if split is None else PredictionsWithSplit(tags, split))
        spelt.append(dataclasses.replace(entry, predictions=tuple(several)))
    return dataclasses.replace(truth, lists=lists), spelt
