"""``ranktag prepare``: tag lists from annotations, one subcommand a module of ``ranktag.tags.readers``."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import typing
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ranktag import registry
from ranktag.errors import RanktagError, Usage, one_line
from ranktag.files.atomic import refuse_existing
from ranktag.files.tables import write_table
from ranktag.pipelines.shared.command import Command, CommandGroup
from ranktag.pipelines.shared.console import Report
from ranktag.pipelines.shared.options import FilePath, config_options, overwrite_option, quiet_option
from ranktag.pipelines.shared.progress import progress
from ranktag.tags.annotations.builder import TOLD
from ranktag.tags.annotations.download import DATA_SETS
from ranktag.tags.annotations.files import BrokenFile
from ranktag.tags.annotations.summary import summary
from ranktag.tags.matching import RULES

if TYPE_CHECKING:
    from ranktag.config import Config
    from ranktag.tags.annotations.builder import TagListBuilder

READERS = "ranktag.tags.readers"
SHOWN = 20  # images without a photo that are printed


class FormatGroup(CommandGroup):
    """A group whose commands are the formats there are readers for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Names of the formats."""
        return list(registry.names(READERS))

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command of a format."""
        return format_command(cmd_name) if cmd_name in registry.names(READERS) else None


@click.group(
    cls=FormatGroup,
    invoke_without_command=True,
    subcommand_metavar="FORMAT SOURCE -o TAGS.CSV [OPTIONS]",
    context_settings={"max_content_width": 110},
)
@click.option(
    "--download",
    type=click.Choice(tuple(DATA_SETS)),
    show_default="none",
    help="Fetch a data set; with -o, make its tag lists, too.",
)
@click.option(
    "--to",
    "folder",
    type=FilePath,
    show_default="the data set's name",
    help="With --download: the folder to put the data set in.",
)
@click.option(
    "-o", "--output", type=FilePath, show_default="none", help="With --download: the tag-list file to write (CSV)."
)
@overwrite_option
@quiet_option
@click.pass_context
def command(
    ctx: click.Context, download: str | None, folder: Path | None, output: Path | None, overwrite: bool, quiet: bool
) -> Report | None:
    """Make a tag-list file from annotations.

    Each FORMAT has its own page: ranktag prepare FORMAT --help.

    The file written has a row a list, image_id,split,tags (split where the source
    has one), tags joined by |, most important first. image_id is what
    extract-features calls the image: its path below the folder of images, with
    extension. What was left out is counted and printed; files that cannot be used
    are listed and skipped, and the exit code is then 1.
    """
    if ctx.invoked_subcommand is not None:
        if download is not None:
            raise click.UsageError(
                f"--download makes the tag lists itself: leave '{ctx.invoked_subcommand}' away, or --download"
            )
        if output is not None or overwrite or quiet:
            raise click.UsageError(
                f"options stand behind the format: ranktag prepare {ctx.invoked_subcommand} SOURCE -o TAGS.CSV"
            )
        return None
    if download is None:
        formats = ", ".join(registry.names(READERS))
        raise click.UsageError(f"name a format ({formats}), or --download {'|'.join(DATA_SETS)}")
    return _fetch(download, folder or Path(download), output, overwrite, quiet)


def _match_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Decorator: the options by which images are called as their photos are."""
    command = click.option(
        "--match",
        type=click.Choice(RULES),
        show_default="path",
        help="With --images: by what an image finds its photo. path: its path, without regard to letter case, "
        "slashes and leading folders; name: its file name; stem: its file name without extension.",
    )(command)
    return click.option(
        "--images",
        "photos",
        type=FilePath,
        show_default="ids are taken as they stand",
        help="The photos (a folder, or a CSV as extract-features takes it): write the ids of those that are there.",
    )(command)


def _as_it_is(command: Callable[..., Any]) -> Callable[..., Any]:
    return command


def format_command(name: str) -> click.Command:
    """The command of one format: its help, argument and options are what its reader says of itself."""
    reader = registry.load(READERS, name)
    types = typing.get_type_hints(reader.read)
    several = "sources" in types
    # A format may need the photos itself, and then takes ids from them.
    matches = "images" not in {field.name for field in dataclasses.fields(types["config"])}

    @click.command(name, cls=Command, help=reader.__doc__)
    @click.argument(
        "source", type=FilePath, nargs=-1 if several else 1, required=True, metavar="SOURCE..." if several else "SOURCE"
    )
    @click.option("-o", "--output", type=FilePath, required=True, help="The tag-list file to write (CSV).")
    @(_match_options if matches else _as_it_is)
    @overwrite_option
    @quiet_option
    @config_options(types["config"])
    def make_tag_lists(
        source: Path | tuple[Path, ...],
        output: Path,
        overwrite: bool,
        quiet: bool,
        config: Config,
        photos: Path | None = None,
        match: str | None = None,
    ) -> Report:
        if match is not None and photos is None:
            raise click.UsageError("--match says how images find their photos: name those with --images")
        return _prepare(name, source, config, output, overwrite, quiet, photos, match or "path")

    return make_tag_lists


def _prepare(
    name: str,
    source: Path | tuple[Path, ...],
    config: Config,
    output: Path,
    overwrite: bool,
    quiet: bool,
    photos: Path | None = None,
    rule: str = "path",
) -> Report:
    """Make the lists and write them; what cannot be used is said."""
    refuse_existing(output, overwrite)
    if isinstance(source, tuple) and (twice := [s for s in source if source.count(s) > 1]):
        raise Usage(f"{twice[0]}: is named twice, and would be two people's lists; name it once")
    shown = progress(quiet)
    token = TOLD.set(shown)
    try:
        with shown.working("Reading", None, "lists"):
            builder: TagListBuilder = registry.load(READERS, name).read(source, config)
    except BrokenFile as error:
        # A reader of a single file need not catch it.
        raise RanktagError(f"{source}: {error}; mend it there") from None
    finally:
        TOLD.reset(token)
    if photos is not None:
        from ranktag.images.listing import list_images
        from ranktag.tags.annotations.photos import rename_to_photos

        rename_to_photos(builder, list_images(photos).ids, rule, str(photos))
    builder.write(output)
    first, *others = summary(builder)
    lines = [one_line(f"{output}: {first}"), *("  " + one_line(line) for line in others)]
    if builder.broken:
        what = builder.skipped if photos is None else "images"
        click.echo(f"{what} skipped: {len(builder.broken)}", err=True)
        # Of a large archive's images thousands may lack a photo: who wants them all reads the file.
        listed = builder.broken if photos is None else builder.broken[:SHOWN]
        for file, reason in listed:
            click.echo("  " + one_line(f"{file} {reason}"), err=True)
        if photos is not None:
            unmatched = output.with_name(output.name + ".unmatched.csv")
            write_table(unmatched, ("image_id", "reason"), builder.broken)
            click.echo(one_line(f"all of them are in {unmatched}"), err=True)
    lists = builder.tag_lists.lists
    facts = {
        "output": output,
        "images": len(lists),
        "lists": sum(map(len, lists.values())),
        "skipped": [{"what": what, "error": reason} for what, reason in builder.broken],
    }
    return Report(facts, [] if quiet else lines, builder.exit_code)


def _fetch(name: str, folder: Path, output: Path | None, overwrite: bool, quiet: bool) -> Report:
    """Fetch a data set and, if there is an output, make its tag lists."""
    data_set = DATA_SETS[name]
    if output is not None:
        refuse_existing(output, overwrite)
    with contextlib.redirect_stderr(io.StringIO()) if quiet else contextlib.nullcontext():
        annotations = data_set.fetch(folder)
    photos = annotations / data_set.photos
    lines = [] if quiet else [f"{annotations}: {data_set.title} is there; its photos are in {photos}"]
    facts = {"annotations": annotations, "photos": photos}
    if output is None:
        return Report(facts, lines)
    config = typing.get_type_hints(registry.load(READERS, data_set.reader).read)["config"]()
    made = _prepare(data_set.reader, annotations, config, output, overwrite, quiet)
    return Report({**facts, **made.facts}, [*lines, *made.lines], made.code)
