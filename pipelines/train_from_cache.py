"""``train-from-cache``: stage two."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ranktag.config import BASELINE_SETTINGS, BASELINES, TrainingConfig
from ranktag.errors import Usage, one_line
from ranktag.pipelines.shared.command import Command
from ranktag.pipelines.shared.console import Report
from ranktag.pipelines.shared.options import (
    FilePath,
    PlacePath,
    Seeds,
    config_options,
    overwrite_option,
    quiet_option,
    refuse_unused,
)
from ranktag.pipelines.shared.progress import progress
from ranktag.pipelines.shared.startup import imports, share_processors
from ranktag.wording import count

if TYPE_CHECKING:
    from ranktag.training.history import Epoch
    from ranktag.training.train import TrainingReport
    from ranktag.training_data.load import TrainingData


@click.command(cls=Command)
@click.argument("caches", type=PlacePath, nargs=-1, required=True, metavar="CACHE...")
@click.argument("tags", type=FilePath)
@click.option(
    "-o",
    "--output",
    "run",
    type=FilePath,
    required=True,
    metavar="FOLDER",
    help="The run folder to make, such as runs/NAME.",
)
@config_options(TrainingConfig)
@click.option(
    "--seeds",
    type=Seeds,
    show_default="the one of --seed",
    help="Train once a seed, and report mean and spread: a list, such as 0,1,2, or how many, such as 5.",
)
@click.option(
    "--grid",
    multiple=True,
    metavar="SETTING=VALUES",
    show_default="none",
    help="Train every combination of settings, such as --grid lr=3e-4,1e-3 --grid hidden=256,512; "
    "on and off for switches.",
)
@click.option(
    "--resume",
    is_flag=True,
    show_default="off",
    help="Go on with a run that was stopped, with the same settings and files.",
)
@click.option(
    "--allow-missing",
    is_flag=True,
    show_default="off",
    help="Take it as it is that tagged images have no feature in the cache; the exit code is else 1.",
)
@overwrite_option
@click.option(
    "--tensorboard", is_flag=True, show_default="off", help="Write TensorBoard event files into the run folder too."
)
@quiet_option
def command(
    caches: tuple[Path | str, ...],
    tags: Path,
    run: Path,
    config: TrainingConfig,
    seeds: tuple[int, ...] | None,
    grid: tuple[str, ...],
    resume: bool,
    allow_missing: bool,
    overwrite: bool,
    tensorboard: bool,
    quiet: bool,
) -> Report:
    """Train a model on a feature CACHE and the tag lists in the CSV file TAGS.

    Several caches of one network are used as one; PREFIX=CACHE puts a prefix before its image ids.
    CACHE may be the folder of shards that extract-features leaves without joining, NAME.h5.shards, and the URL of
    either, of which a copy is kept on this machine.

    Early stopping keeps the weights of the epoch with the best validation NDCG@5. With
    --seeds or --grid, the best training becomes the run folder, and sweep.csv in it lists
    all of them; --resume does not train the finished ones again.

    Tagged images that have no feature in the cache are left out and listed in missing.csv in
    the run folder; the exit code is then 1, unless --allow-missing is given.
    """
    if config.model in BASELINES:
        unused = [*(f.name for f in fields(TrainingConfig) if f.name not in BASELINE_SETTINGS), "tensorboard"]
        refuse_unused(unused, f"--model {config.model} makes no use of this")
    if seeds or grid:
        if tensorboard:
            raise Usage("--tensorboard goes with a single training; leave it out or leave out --seeds and --grid")
        report, missing = train_many(caches, tags, run, config, seeds, grid, resume, overwrite, quiet)
    else:
        report, missing = train_once(caches, tags, run, config, resume, overwrite, tensorboard, quiet)
    code = say_missing(missing, run, allow_missing, quiet)
    facts = {"output": run, **report.facts, "without_feature": len(missing)}
    return Report(facts, [] if quiet else report.lines, code)


def train_once(
    caches: tuple[Path | str, ...],
    tags: Path,
    run: Path,
    config: TrainingConfig,
    resume: bool,
    overwrite: bool,
    tensorboard: bool,
    quiet: bool,
) -> tuple[Report, Mapping[str, str]]:
    """Train, with a line an epoch. Returns how good it is, and the tagged images that have no feature."""
    share_processors()
    with imports():
        from ranktag.training.train import train

    # On a terminal there is a bar below the lines; elsewhere the lines are enough.
    epochs = progress(quiet or not sys.stderr.isatty())
    lines = epochs if sys.stderr.isatty() else progress(quiet)

    def say(row: Epoch) -> None:
        epochs.advance()
        lines.note(epoch_line(row, config))

    with epochs.working("Training", config.epochs, "epochs"):
        report = train(
            caches if len(caches) > 1 else caches[0],
            tags,
            run,
            config,
            resume=resume,
            overwrite=overwrite,
            tensorboard=tensorboard,
            started=(lambda data: None) if quiet else (lambda data: say_data(data, config)),
            report=(lambda row: None) if quiet else say,
        )
    kept = f", epoch {report.epoch} of {report.epochs}" if report.epochs else ""
    line = f"validation {report.score}{kept}, {report.seconds:.1f} s; the model is in {report.run}"
    return Report(_as_dict(report), [line]), report.missing


def _as_dict(report: TrainingReport) -> dict[str, object]:
    return {
        "ndcg5": report.ndcg5,
        "epoch": report.epoch,
        "epochs": report.epochs,
        "images": report.images,
        "lists": report.lists,
        "seconds": report.seconds,
    }


def train_many(
    caches: tuple[Path | str, ...],
    tags: Path,
    run: Path,
    config: TrainingConfig,
    seeds: tuple[int, ...] | None,
    grid: tuple[str, ...],
    resume: bool,
    overwrite: bool,
    quiet: bool,
) -> tuple[Report, Mapping[str, str]]:
    """Train every combination and seed. Returns the table, and the tagged images that have no feature."""
    share_processors()
    with imports():
        from ranktag.training.names import TABLE_FILE, TRAININGS_FILE
        from ranktag.training.sweep import parse_grid, sweep

    combined = parse_grid(grid)
    unused = [name for name in combined if name not in BASELINE_SETTINGS]
    if config.model in BASELINES and "model" not in combined and unused:
        raise Usage(f"--grid {unused[0]}: --model {config.model} makes no use of this; leave it out")
    shown = progress(quiet)
    missing: dict[str, str] = {}

    done: list[str] = []

    def say_report(name: str, report: TrainingReport) -> None:
        missing.update(report.missing)
        done.append(name)
        shown.note(f"{name}: {report.score}, {count(report.epochs, 'epoch')}, {report.seconds:.1f} s")

    try:
        combinations = sweep(
            caches if len(caches) > 1 else caches[0],
            tags,
            run,
            config,
            combined,
            seeds or (config.seed,),
            resume=resume,
            overwrite=overwrite,
            started=lambda data: None if quiet else say_data(data, config),
            report=say_report,
            progress=shown,
        )
    except KeyboardInterrupt:
        finished = f"{count(len(done), 'training')} {'is' if len(done) == 1 else 'are'} finished"
        click.echo(f"{finished}; the same command with --resume goes on from there", err=True)
        raise
    lines, facts = [], []
    for one in combinations:
        settings = " ".join(f"{name}={value}" for name, value in one.settings.items()) or config.model
        lines.append(f"NDCG@5 {one.mean:.4f} ± {one.spread:.4f} over {count(len(one.seeds), 'seed')}  {settings}")
        facts.append({"settings": one.settings, "ndcg5": one.mean, "ndcg5_std": one.spread, "seeds": len(one.seeds)})
    winner = combinations[0].best
    lines.append(f"the winner is {winner.run}, validation {winner.score}; {run} holds a copy of it")
    lines.append(f"every training is a row of {run / TRAININGS_FILE}, every combination one of {run / TABLE_FILE}")
    tables = {"table": run / TABLE_FILE, "trainings": run / TRAININGS_FILE, "winner": winner.run}
    return Report({"combinations": facts, **tables}, lines), missing


def say_missing(missing: Mapping[str, str], run: Path, allowed: bool, quiet: bool) -> int:
    """Say which tag lists were lost, even to who wants to hear nothing, and return the exit code."""
    if not missing or (allowed and quiet):
        return 0
    remedy = "" if allowed else "; mend the ids or the photos, or pass --allow-missing"
    click.echo(
        one_line(
            f"{count(len(missing), 'tagged image')} {'has' if len(missing) == 1 else 'have'} no feature and "
            f"{'was' if len(missing) == 1 else 'were'} left out, {next(iter(missing))} among them: "
            f"all are in {run / 'missing.csv'}{remedy}"
        ),
        err=True,
    )
    return 0 if allowed else 1


def say_data(data: TrainingData, config: TrainingConfig) -> None:
    """What is trained on, and what was left out."""
    for note in data.joined.notes:
        click.echo(f"Note: {note}", err=True)
    counts = ", ".join(f"{n:,} {split}" for split, n in data.joined.counts().items() if n)
    lists, tags = count(len(data.training.image), "training list"), count(len(data.vocabulary), "tag")
    click.echo(f"{config.model} on {counts} images, {lists}, {tags}", err=True)


def epoch_line(row: Epoch, config: TrainingConfig) -> str:
    """What is said of an epoch."""
    left = (config.epochs - row.epoch) * row.seconds
    return (
        f"epoch {row.epoch:3}  loss {row.loss:.4f}  validation loss {row.validation_loss:.4f}  NDCG@5 {row.ndcg5:.4f}  "
        f"{row.images_per_second:,.0f} images/s  at most {left:.0f} s left"
    )
