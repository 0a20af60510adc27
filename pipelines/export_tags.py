"""``export-tags``: a model's ranked tags as a file."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ranktag.config import ChoiceConfig, DecodingConfig
from ranktag.errors import Usage
from ranktag.pipelines.shared.command import Command
from ranktag.pipelines.shared.console import Report
from ranktag.pipelines.shared.options import (
    FilePath,
    PlacePath,
    config_options,
    failures_as_dicts,
    output_options,
    quiet_option,
    refuse_decoders_of_baselines,
    refuse_other_decoders_settings,
    refuse_unused,
    refuse_useless_given,
    runs_option,
    say_failures,
    say_notes,
)
from ranktag.pipelines.shared.progress import progress
from ranktag.pipelines.shared.startup import imports
from ranktag.tags.outputs import Output
from ranktag.wording import count

if TYPE_CHECKING:
    from ranktag.decoding.decode import DecodingReport
    from ranktag.tags.lists import TagList

# The formats that can be evaluated.
READ = ("long", "wide")
# What makes no difference where every person's list is begun.
FOR_LISTS_OF_IMAGES = (
    *("keep_given", "images", "untagged", "update", "every_seed", "format", "photos"),
    *(f.name for f in fields(ChoiceConfig)),
)


@click.command(cls=Command)
@click.argument("caches", type=PlacePath, nargs=-1, required=True, metavar="CACHE...")
@runs_option
@config_options(DecodingConfig)
@click.option(
    "--split",
    type=click.Choice(("train", "val", "test")),
    show_default="every image of the cache",
    help="Only the images that were in this split when the model was trained.",
)
@click.option(
    "--images",
    type=FilePath,
    metavar="LIST",
    show_default="every image of the cache",
    help="Only these images: a file with an image id a line, or a CSV with the column image_id.",
)
@click.option(
    "--untagged",
    type=FilePath,
    metavar="TAGS",
    show_default="tagged ones too",
    help="Only the images that have no list in this tag-list file.",
)
@click.option(
    "--given",
    type=FilePath,
    metavar="TAGS",
    show_default="lists from nothing",
    help="A tag-list file of lists that are begun: written are the tags that come next. Images that it does not hold "
    "are decoded as usual.",
)
@click.option(
    "--given-first",
    type=click.IntRange(1),
    metavar="K",
    show_default="off",
    help="Of every person's list in --given that is longer, give the first K tags: what 'ranktag evaluate --given K' "
    "compares with the rest.",
)
@click.option(
    "--force",
    is_flag=True,
    show_default="off",
    help="Take features that were made otherwise than those the model was trained on.",
)
@output_options("long", "beside the photos, of a format that does that", with_photos=True)
@click.option(
    "--update",
    is_flag=True,
    show_default="off",
    help="Bring a file that was written with --update up to date: new and changed images are decoded, "
    "those that are gone left out, all others keep their rows.",
)
@click.option(
    "--every-seed",
    is_flag=True,
    show_default="off",
    help="Of a sweep over seeds, write a file a seed of its best settings into the folder -o; 'ranktag evaluate' takes "
    "the folder as one row.",
)
@quiet_option
def command(
    caches: tuple[Path | str, ...],
    runs: tuple[Path, ...],
    config: DecodingConfig,
    choice: ChoiceConfig,
    make_output: Callable[..., Output],
    split: str | None,
    images: Path | None,
    untagged: Path | None,
    given: Path | None,
    given_first: int | None,
    force: bool,
    update: bool,
    every_seed: bool,
    quiet: bool,
) -> Report:
    """Write the ranked tags of the images in a feature CACHE.

    Several caches of one network are used as one; PREFIX=CACHE puts a prefix before its image ids.
    CACHE may be the folder of shards that extract-features leaves without joining, NAME.h5.shards, and the URL of
    either, of which a copy is kept on this machine.

    The probability beside a tag is P(tag in the list) with mbr and the baselines, and with
    greedy and beam that of the tag given the image and the tags before it.

    With --given the exit code is 1 if lists are of images that have no feature.
    """
    refuse_other_decoders_settings(config)
    refuse_useless_given(given is not None)
    if given is not None and given_first is not None:
        refuse_unused(FOR_LISTS_OF_IMAGES, "--given-first writes a file of its own, for 'ranktag evaluate --given'")
        return _complete(caches, runs, given, given_first, make_output(), config, split, force, quiet)
    with imports():
        from ranktag.decoding.decode import decode
    refuse_decoders_of_baselines(runs)
    chosen, tagged, begun = _read_lists(images, untagged, given)

    def export(runs: Sequence[Path], output: Output) -> Report:
        report = decode(
            caches if len(caches) > 1 else caches[0],
            runs,
            output,
            config,
            choice=choice,
            split=split,
            images=chosen,
            untagged=tagged,
            given=begun,
            force=force,
            keep=False,
            progress=progress(quiet),
        )
        return _told(report, output, quiet)

    if every_seed:
        return _every_seed(export, runs, lambda below: make_output(update=update, below=below))
    return export(runs, make_output(update=update))


def _read_lists(
    images: Path | None, untagged: Path | None, given: Path | None
) -> tuple[list[str] | None, set[str] | None, dict[str, TagList] | None]:
    """The ids of the images to decode, the ids of those that are tagged, and the lists that are begun, by id."""
    from ranktag.tags.given import read_given
    from ranktag.tags.image_ids import read_image_ids
    from ranktag.tags.lists import read_tag_lists

    return (
        None if images is None else read_image_ids(images),
        None if untagged is None else set(read_tag_lists(untagged).lists),
        None if given is None else read_given(given),
    )


def _every_seed(
    export: Callable[[Sequence[Path], Output], Report], runs: Sequence[Path], make_output: Callable[[str], Output]
) -> Report:
    """A file a seed. make_output: is given the file's name."""
    seeds = _runs_of_seeds(runs)
    outputs = [make_output(f"seed-{seed}.csv") for seed in seeds]
    if outputs[0].format.name not in READ:
        raise Usage(f"--every-seed: writes what 'ranktag evaluate' reads, --format {' or '.join(READ)}; choose one")
    reports = [export([run], output) for run, output in zip(seeds.values(), outputs)]
    facts = {"files": [report.facts for report in reports]}
    return Report(facts, [line for report in reports for line in report.lines], max(r.code for r in reports))


def _runs_of_seeds(runs: Sequence[Path]) -> dict[int, Path]:
    """The run folder of each seed of a sweep's best settings. Raises RanktagError for anything but one sweep."""
    from ranktag.training.sweep import best_runs

    if len(runs) != 1:
        raise Usage("--every-seed: goes with one --model, the folder of a sweep; give one or leave it out")
    return best_runs(runs[0])


def _told(report: DecodingReport, output: Output, quiet: bool) -> Report:
    """What was written, as text and for programs."""
    if report.without_feature and not quiet:
        click.echo(f"Note: {_without_feature(report.without_feature)}", err=True)
    say_notes(report.notes)
    an_image = report.tags / max(1, report.images)
    of = f"{report.images - len(report.failures):,} of " if report.failures else ""
    said = f"{of}{count(report.images, 'image')}, {an_image:.2f} tags an image: {report.output}"
    kept = f" ({report.kept:,} were there already)" if report.kept else ""
    facts = {
        "output": report.output,
        "images": report.images,
        "tags": report.tags,
        "kept": report.kept,
        "without_feature": report.without_feature,
        "given_missing": list(report.given_missing),
        "not_written": failures_as_dicts(output),
    }
    code = say_failures(output) or int(bool(report.given_missing))
    return Report(facts, [] if quiet else [said + kept], code=code)


def _complete(
    caches: tuple[Path | str, ...],
    runs: tuple[Path, ...],
    tags: Path,
    first: int,
    output: Output,
    config: DecodingConfig,
    split: str | None,
    force: bool,
    quiet: bool,
) -> Report:
    """Write how the models go on with every person's list."""
    if output.path is None:
        raise click.UsageError("--given-first writes a file; say with -o which")
    with imports():
        from ranktag.decoding.complete import complete

    report = complete(
        caches if len(caches) > 1 else caches[0],
        runs,
        tags,
        first,
        output.path,
        config,
        split=split,
        overwrite=output.overwrite,
        force=force,
        progress=progress(quiet),
    )
    say_notes(report.notes)
    said = (
        f"{count(report.images, 'image')}, {count(report.lists, 'beginning')} of their lists, "
        f"{count(first, 'tag')} long: {report.output}"
    )
    facts = {
        "output": report.output,
        "images": report.images,
        "beginnings": report.lists,
        "given_missing": list(report.missing),
    }
    return Report(facts, [] if quiet else [said], code=int(bool(report.missing)))


def _without_feature(images: int) -> str:
    return f"{count(images, 'image')} without a feature {'is' if images == 1 else 'are'} left out"
