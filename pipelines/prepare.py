"""``ranktag prepare``: tag lists from annotations, one subcommand a format."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ranktag.config import (
    CaptionsConfig,
    LabelmeConfig,
    PrepareConfig,
    TableConfig,
    VocConfig,
)
from ranktag.errors import one_line
from ranktag.pipelines.shared.options import (
    FilePath,
    config_options,
    overwrite_option,
    quiet_option,
)

if TYPE_CHECKING:
    from ranktag.tags.annotations.builder import Prepared

output_option = click.option("-o", "--output", type=FilePath, required=True, help="The tag-list file to write (CSV).")
aliases_option = click.option(
    "--aliases",
    type=FilePath,
    show_default="none",
    help="A CSV file with the columns name,tag: names to be written as another tag, or left out where tag is empty.",
)
source_argument = click.argument("source", type=FilePath)
sources_argument = click.argument("sources", type=FilePath, nargs=-1, required=True, metavar="SOURCE...")


class FormatGroup(click.Group):
    """Lists the formats in the order they are defined in."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands)


@click.group(
    cls=FormatGroup,
    invoke_without_command=True,
    subcommand_metavar="FORMAT SOURCE -o TAGS.CSV [OPTIONS]",
    context_settings={"max_content_width": 110},
)
@click.option(
    "--download",
    type=click.Choice(["voc2007"]),
    show_default="none",
    help="Fetch a data set; with -o, make its tag lists, too.",
)
@click.option(
    "--to",
    "folder",
    type=FilePath,
    default=Path("voc2007"),
    show_default=True,
    help="With --download: the folder to put the data set in.",
)
@click.option(
    "-o", "--output", type=FilePath, show_default="none", help="With --download: the tag-list file to write (CSV)."
)
@overwrite_option
@quiet_option
@click.pass_context
def command(
    ctx: click.Context, download: str | None, folder: Path, output: Path | None, overwrite: bool, quiet: bool
) -> int | None:
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
        raise click.UsageError(f"name a format ({', '.join(command.commands)}), or --download voc2007")
    from ranktag.tags.annotations.download import download_voc2007
    from ranktag.tags.readers.voc import prepare_voc

    if output is not None:
        _refuse(output, overwrite)
    with contextlib.redirect_stderr(io.StringIO()) if quiet else contextlib.nullcontext():
        devkit = download_voc2007(folder)
    if not quiet:
        click.echo(f"{devkit}: PASCAL VOC 2007 is there; its photos are in {devkit / 'JPEGImages'}")
    if output is None:
        return 0
    return _write(lambda: prepare_voc(devkit, VocConfig()), output, overwrite, quiet)


def _refuse(output: Path, overwrite: bool) -> None:
    from ranktag.files.atomic import refuse_existing

    refuse_existing(output, overwrite)


def _write(prepare: Callable[[], Prepared], output: Path, overwrite: bool, quiet: bool) -> int:
    """Make the lists, write them, give the account, and return the exit code."""
    _refuse(output, overwrite)
    prepared = prepare()
    prepared.write(output)
    if not quiet:
        first, *others = prepared.summary()
        click.echo(one_line(f"{output}: {first}"))
        for line in others:
            click.echo("  " + one_line(line))
    if prepared.broken:
        click.echo(f"files skipped: {len(prepared.broken)}", err=True)
        for file, reason in prepared.broken:
            click.echo("  " + one_line(f"{file} {reason}"), err=True)
    return prepared.exit_code


def _format(name: str) -> Callable[[Callable[..., Any]], click.Command]:
    """Decorator: a subcommand of that name with the options that every format has."""

    def decorate(function: Callable[..., Any]) -> click.Command:
        return command.command(name)(output_option(overwrite_option(quiet_option(function))))

    return decorate


@_format("voc")
@source_argument
@config_options(VocConfig)
def voc(source: Path, output: Path, overwrite: bool, quiet: bool, config: VocConfig) -> int:
    """PASCAL VOC 2007 to 2012, and data sets laid out like it.

    SOURCE is a folder such as VOCdevkit/VOC2007, or a devkit with one of them.

    The tags of an image are the classes of its boxes, each once. image_id is the
    path below JPEGImages (000005.jpg: the annotation's name with the extension of
    its <filename>). The splits are those of ImageSets/Main; images in none of its
    train, val and test are left out (trainval counts as train where there is
    neither train nor val), and without such lists no split is written.
    """
    from ranktag.tags.readers.voc import prepare_voc

    return _write(lambda: prepare_voc(source, config), output, overwrite, quiet)


@_format("labelme-xml")
@source_argument
@aliases_option
@config_options(LabelmeConfig)
def labelme_xml(
    source: Path, aliases: Path | None, output: Path, overwrite: bool, quiet: bool, config: LabelmeConfig
) -> int:
    """LabelMe, the web tool (XML).

    SOURCE is an Annotations folder, searched recursively, or one file. Folders
    named annotationCache (templates and drafts) are not entered.

    image_id is folder/filename as the annotation gives them, the image's path below
    LabelMe's Images. Files for the same image are several people's lists. Deleted
    objects are dropped. Names are put in lower case, in Unicode normal form C, with
    single spaces; tags in one list only are reported as rare: mend them with
    --aliases, or leave them out with --min-count. An object's size is the area of its
    polygon, mask (in Masks, beside Annotations) or box, in pixels; objects without
    one come last.
    """
    from ranktag.tags.readers.labelme_xml import prepare_labelme_xml

    return _write(lambda: prepare_labelme_xml(source, config, aliases), output, overwrite, quiet)


@_format("labelme-json")
@source_argument
@click.option(
    "--images", type=FilePath, show_default="SOURCE", help="The folder of images that image_id is relative to."
)
@aliases_option
@config_options(LabelmeConfig)
def labelme_json(
    source: Path,
    images: Path | None,
    aliases: Path | None,
    output: Path,
    overwrite: bool,
    quiet: bool,
    config: LabelmeConfig,
) -> int:
    """labelme, the desktop tool (JSON).

    SOURCE is a folder, searched recursively, or one file.

    image_id is the path of the annotated image (imagePath) below --images. Where
    imagePath is no image, or leads out of --images, the image beside the JSON file
    is taken. Names are put in lower case, in Unicode normal form C, with single
    spaces; tags in one list only are reported as rare: mend them with --aliases, or
    leave them out with --min-count. An object's size is the area of its polygon,
    box, circle or mask, in pixels; shapes of one group_id are parts of one object;
    points and lines have no area and come last. __ignore__ and _background_ are
    dropped.
    """
    from ranktag.tags.readers.labelme_json import prepare_labelme_json

    return _write(lambda: prepare_labelme_json(source, config, aliases, images), output, overwrite, quiet)


@_format("hwang-grauman")
@sources_argument
@click.option("--words", type=FilePath, required=True, help="The words: voc.mat, or a text file, one word a line.")
@config_options(PrepareConfig)
def hwang_grauman(
    sources: tuple[Path, ...], words: Path, output: Path, overwrite: bool, quiet: bool, config: PrepareConfig
) -> int:
    """Hwang and Grauman's tag lists (MATLAB files).

    Ordered lists of words that people gave the photos of PASCAL VOC 2007. SOURCE
    is train.mat and test.mat, or the folder that holds them. Each holds the
    struct arrays D1 and D2 with the fields filename and taglist (an ordered row of
    1-based numbers of words).

    image_id is filename without folders: the path below VOC's JPEGImages. The split
    is the train, val or test in the MATLAB file's name. A repeated word keeps its
    first place; an empty list is kept as an image without tags.
    """
    from ranktag.tags.readers.hwang_grauman import prepare_hwang_grauman

    return _write(lambda: prepare_hwang_grauman(sources, words, config), output, overwrite, quiet)


@_format("captions")
@sources_argument
@click.option(
    "--vocabulary",
    type=FilePath,
    show_default="none",
    help="A text file of tags, one a line, of one or more words: only they are looked for.",
)
@click.option(
    "--train-images",
    type=FilePath,
    show_default="none",
    help="A text file: names of the train images, one a line; images in no such list are left out.",
)
@click.option("--val-images", type=FilePath, show_default="none", help="The same for val.")
@click.option("--test-images", type=FilePath, show_default="none", help="The same for test.")
@config_options(CaptionsConfig)
def captions(
    sources: tuple[Path, ...],
    vocabulary: Path | None,
    train_images: Path | None,
    val_images: Path | None,
    test_images: Path | None,
    output: Path,
    overwrite: bool,
    quiet: bool,
    config: CaptionsConfig,
) -> int:
    """Captions (CSV, Flickr8k, COCO).

    SOURCE is a CSV table, Flickr8k's token file or COCO's captions JSON.

    Each caption is one person's list: its nouns, in order of first mention, plural
    and singular merged. The nouns are those that TextBlob's tagger finds; about nine
    in ten are right, and verbs it takes for nouns are the usual mistake. With
    --vocabulary only the given tags are looked for, in singular or plural, the
    longest first. English only.

    image_id is the image's name as the file gives it (COCO: file_name). The split
    is the train, val or test in the name of SOURCE (captions_val2017.json), if every
    SOURCE has one, or comes from --train-images, --val-images, --test-images.
    """
    from ranktag.tags.readers.captions import prepare_captions

    lists = {"train": train_images, "val": val_images, "test": test_images}
    named = {part: path for part, path in lists.items() if path is not None}
    return _write(lambda: prepare_captions(sources, config, vocabulary, named), output, overwrite, quiet)


@_format("csv")
@source_argument
@config_options(TableConfig)
def csv(source: Path, output: Path, overwrite: bool, quiet: bool, config: TableConfig) -> int:
    """Any CSV table: one row an image, or one row a tag.

    SOURCE is a UTF-8 file with a header.

    \b
    One row an image:  ranktag prepare csv photos.csv -o tags.csv --separator ';' --image-column photo
                         --tags-column keywords --tag-separator ,
    One row a tag:     ranktag prepare csv votes.csv -o tags.csv --image-column photo
                         --tag-column keyword --score-column votes

    image_id is taken as it stands: it must be the image's path below the folder that
    extract-features gets. A | in a tag becomes /. Splits may be called training,
    validation, valid, dev, testing, too.
    """
    from ranktag.tags.readers.csv import prepare_csv

    return _write(lambda: prepare_csv(source, config), output, overwrite, quiet)
