"""A recipe: every model on one data set, several seeds each, to the table a paper would print.

The models are trained on the split train and stopped (or, the baselines, tuned) by
the split val. Where val is the table, that is a seeded tenth of train instead: no
number of the table chooses anything. Every model names equally many tags.

With ``folds`` the table is of all images: of each, by models trained on the other folds (``ranktag.recipes.folds``).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from ranktag.compute.device import choose_device
from ranktag.config import DecodingConfig, EvaluationConfig, RecipeConfig, TrainingConfig
from ranktag.decoding.decode import decode
from ranktag.errors import Exists, RanktagError
from ranktag.evaluation.evaluate import evaluate, refuse_other_photos
from ranktag.evaluation.results import EvaluationReport
from ranktag.feature_cache.store import open_features
from ranktag.recipes.completion import completed
from ranktag.recipes.folds import HELD_OUT, dealt, joined
from ranktag.tags.lists import TagLists, write_tag_lists
from ranktag.tags.splits import shuffled
from ranktag.training.train import train
from ranktag.training_data.load import load_training_data
from ranktag.wording import count


class Row(NamedTuple):
    """A row of the table: a model and how its tags are decoded. seeded: its training depends on a seed."""

    label: str
    model: str
    decode: str
    seeded: bool


ROWS = (
    Row("popularity", "popularity", "mbr", False),
    Row("knn", "knn", "mbr", False),
    Row("linear", "linear", "mbr", False),
    Row("logistic", "logistic", "mbr", True),
    Row("mlp", "mlp", "mbr", True),
    Row("initial-state mbr", "initial-state", "mbr", True),
    Row("every-step greedy", "every-step", "greedy", True),
    Row("every-step mbr", "every-step", "mbr", True),
)


def split_for_table(lists: TagLists, table: str) -> TagLists:
    """The same lists, with the images of the split ``table`` as 'test', and others as 'val' (see the module).

    Raises RanktagError for lists without a split, or without one that is needed.
    """
    if lists.split is None:
        raise RanktagError(
            "the tag lists have no splits; give them a column split, or leave it to train-from-cache and export-tags"
        )
    if table == "test":
        return lists
    training = [i for i, part in lists.split.items() if part == "train"]
    held_out = set(shuffled(training, 0)[: max(1, round(HELD_OUT * len(training)))])
    parts = {"train": training, "val": [i for i, part in lists.split.items() if part == "val"]}
    if not parts["train"] or not parts["val"]:
        raise RanktagError(
            f"the tag lists hold {len(parts['train'])} train and {len(parts['val'])} val images; both are needed"
        )
    split = {i: "val" if i in held_out else "train" for i in training} | dict.fromkeys(parts["val"], "test")
    return replace(lists, lists={i: lists.lists[i] for i in lists.lists if i in split}, split=split)


def run_recipe(
    cache: Path,
    lists: TagLists,
    output: Path,
    config: RecipeConfig,
    *,
    images: Path | None = None,
    overwrite: bool = False,
    say: Callable[[str], None] = lambda line: None,
) -> EvaluationReport:
    """Train, decode and evaluate every row of the table in ``output``, and the last row's seeds as one model.

    The report also says how the models go on with lists that people began (``ranktag.recipes.completion``), which has
    a report of its own for each number of tags, ``output/completion-K``. images: the photos, for the report's gallery.
    Trainings that an earlier call finished are not done again. say: is given a line a training.

    Raises RanktagError as the stages do.
    """
    tags, report = output / "tags.csv", output / "report"
    if report.exists() and not overwrite:
        raise Exists(f"{report}: exists already; choose another folder or pass --overwrite")
    if images is not None:
        # Now, and not when everything is trained.
        refuse_other_photos(images, list(lists.lists))
    lists = _with_features(lists, cache, say)
    if config.folds is None:
        write_tag_lists(tags, split_for_table(lists, config.table))
        whole, begun = _predicted(cache, output, config, say), completed(cache, output, config, say)
    else:
        folders = []
        for number, fold in enumerate(dealt(lists, config.folds), 1):
            folders.append(output / f"fold-{number}")
            write_tag_lists(folders[-1] / "tags.csv", fold)
            say(f"Fold {number} of {config.folds}")
        write_tag_lists(tags, replace(lists, split=dict.fromkeys(lists.lists, "test")))
        whole = joined(output, folders, [_predicted(cache, folder, config, say) for folder in folders])
        several = [completed(cache, folder, config, say) for folder in folders]
        begun = {k: joined(output, folders, [one[k] for one in several if k in one]) for one in several for k in one}
    together = {
        label: [*whole.get(label, []), *(file for rows in begun.values() for file in rows.get(label, []))]
        for label in dict.fromkeys([*whole, *(label for rows in begun.values() for label in rows)])
    }
    found = evaluate(together, tags, report, EvaluationConfig(retrieval=True), images=images, overwrite=overwrite)
    for k, rows in begun.items():
        settings = EvaluationConfig(given=k, reference=ROWS[-1].label)
        evaluate(dict(rows), tags, output / f"completion-{k}", settings, overwrite=True)
    return found


def _predicted(cache: Path, output: Path, config: RecipeConfig, say: Callable[[str], None]) -> dict[str, list[Path]]:
    """Train and decode every row on ``output/tags.csv``; the files of each row, one a seed."""
    tags = output / "tags.csv"
    settings = TrainingConfig(device=config.device)
    data = load_training_data(cache, tags, settings, choose_device(config.device))
    decoding = DecodingConfig(num_tags=min(config.num_tags, len(data.vocabulary)), device=config.device)
    predictions: dict[str, list[Path]] = {}
    for row in ROWS:
        predictions[row.label] = []
        for seed in config.seeds if row.seeded else config.seeds[:1]:
            run = _run_folder(output, row, seed)
            trained = train(cache, tags, run, settings.replace(model=row.model, seed=seed), resume=True, data=data)
            file = output / "predictions" / row.label.replace(" ", "-") / f"seed-{seed}.csv"
            decode(cache, run, file, decoding.replace(decode=row.decode), split="test", overwrite=True)
            predictions[row.label].append(file)
            say(f"{row.label}, seed {seed}: validation NDCG@5 {trained.ndcg5:.4f}, {trained.seconds:.0f} s")
    if len(config.seeds) > 1:
        last = ROWS[-1]
        together = output / "predictions" / "every-step-mbr-together.csv"
        runs = [_run_folder(output, last, seed) for seed in config.seeds]
        decode(cache, runs, together, decoding.replace(decode=last.decode), split="test", overwrite=True)
        predictions[f"{last.label}, {len(config.seeds)} seeds together"] = [together]
    return predictions


def _run_folder(output: Path, row: Row, seed: int) -> Path:
    return output / "runs" / f"{row.model}-{seed}"


def _with_features(lists: TagLists, cache: Path, say: Callable[[str], None]) -> TagLists:
    """Only the images that have a feature in the cache: those that nobody extracted are no model's fault."""
    featured = open_features(cache).row_of()
    left_out = [i for i in lists.lists if i not in featured]
    if not left_out:
        return lists
    say(f"{count(len(left_out), 'tagged image')} left out for want of a feature, {left_out[0]} among them")
    return replace(lists, lists={i: people for i, people in lists.lists.items() if i in featured})
