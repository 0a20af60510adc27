"""Click options made from the settings in ``ranktag.config``."""

from __future__ import annotations

import functools
import types
import typing
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from ranktag import registry
from ranktag.config import BASELINES, ChoiceConfig, Config, DecodingConfig, parse_seeds
from ranktag.errors import one_line
from ranktag.tags.formats import Format
from ranktag.tags.outputs import Output
from ranktag.tags.predictions import WRITERS
from ranktag.urls import is_url
from ranktag.wording import count

# What adds options to a command.
Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]

FilePath = click.Path(path_type=Path)


class _PlaceType(click.Path):
    """A path, or a URL, which stays text, also behind a PREFIX=."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """A path of ``pathlib`` would take one of the slashes of a URL for too many."""
        if isinstance(value, str) and (is_url(value) or is_url(value.partition("=")[2])):
            return value
        return super().convert(value, param, ctx)


PlacePath = _PlaceType(path_type=Path)


class SeedsType(click.ParamType):  # type: ignore[type-arg]  # generic in click's newest version only
    """Seeds, as ``parse_seeds`` reads them."""

    name = "seeds"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, ...]:
        """A default is a tuple already."""
        return value if isinstance(value, tuple) else parse_seeds(value)


Seeds = SeedsType()


def config_options(config: type[Config], without: tuple[str, ...] = (), argument: str = "config") -> Decorator:
    """Decorator: adds one option a setting and passes the settings together as an argument.

    A setting with a single choice is none.
    """
    shown = [f for f in fields(config) if f.name not in without and len(f.metadata["choices"]) != 1]

    def decorate(command: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(command)
        def with_config(*args: Any, **kwargs: Any) -> Any:
            values = {f.name: kwargs.pop(f.name) for f in shown}
            return command(*args, **{argument: config(**values)}, **kwargs)

        hints = typing.get_type_hints(config)
        wrapped: Callable[..., Any] = with_config
        for f in reversed(shown):
            wrapped = _option(f.name, hints[f.name], f.default, f.metadata)(wrapped)
        return wrapped

    return decorate


def _option(name: str, hint: Any, default: Any, meta: typing.Mapping[str, Any]) -> Decorator:
    flag = "--" + (meta["option"] or name.replace("_", "-"))
    if hint is bool:
        # One that is on by default needs a way to turn it off; one that is off is turned on by being named.
        declaration = f"{flag}/--no-{flag[2:]}" if default else flag
        return click.option(
            declaration,
            name,
            is_flag=True,
            default=default,
            show_default="on" if default else "off",
            help=_sentence(meta["help"]),
        )
    if isinstance(hint, types.UnionType):
        (hint,) = (t for t in typing.get_args(hint) if t is not type(None))
    kind: Any = (
        click.Choice(meta["choices"])
        if meta["choices"]
        else {int: click.INT, float: click.FLOAT, str: click.STRING, Path: FilePath, tuple[int, ...]: Seeds}[hint]
    )
    if kind in (click.INT, click.FLOAT) and (meta["low"] is not None or meta["high"] is not None):
        ranged = click.IntRange if kind is click.INT else click.FloatRange
        kind = ranged(meta["low"], meta["high"])
    if default is MISSING:
        return click.option(flag, name, type=kind, required=True, help=_sentence(meta["help"]))
    unit = meta["unit"]
    return click.option(
        flag,
        name,
        type=kind,
        default=default,
        show_default=_shown_default(default, meta),
        metavar=None if meta["choices"] else (unit.upper() if unit else None),
        help=_sentence(meta["help"]),
    )


def _shown_default(default: Any, meta: typing.Mapping[str, Any]) -> Any:
    if default is None:
        return meta["when_none"]
    if isinstance(default, tuple):
        return ",".join(map(str, default))
    return f"{default:g} {meta['unit']}" if meta["unit"] else True


def _module_option(flag: str, folder: str, default: str) -> Decorator:
    """Decorator: an option whose choices are the modules of a folder; the first line of each docstring is its help."""
    lines = {
        name: (registry.load(folder, name).__doc__ or "").strip().split("\n")[0] for name in registry.names(folder)
    }
    text = "; ".join(f"{name}: {line[:1].lower()}{line[1:].rstrip('.')}" for name, line in lines.items())
    return click.option(flag, type=click.Choice(tuple(lines)), default=default, show_default=True, help=f"{text}.")


def output_options(default: str, output_default: str, *, with_photos: bool) -> Decorator:
    """Decorator: which tags are written, in which format, and where; passed as ``choice`` and ``make_output``.

    make_output: makes the ``Output``, of several the one ``below`` the folder that -o names. All formats' settings
    are options, and one of a format that is not written is refused. output_default: what is written where -o is not
    given. with_photos: whether --photos is an option.
    """
    formats = {name: Format.of(name) for name in registry.names(WRITERS)}
    owners: dict[str, list[str]] = {}
    for name, known in formats.items():
        for f in fields(known.settings) if known.settings else ():
            owners.setdefault(f.name, []).append(name)
    options: list[Decorator] = [
        config_options(ChoiceConfig, argument="choice"),
        click.option(
            "-o",
            "--output",
            type=FilePath,
            metavar="PATH",
            show_default=output_default,
            help="The file to write, or the folder, of a format that writes several files.",
        ),
        _module_option("--format", WRITERS, default),
        *([photos_option] if with_photos else []),
        overwrite_option,
        *(_setting_of(formats[owning[0]], name, owning) for name, owning in owners.items()),
    ]

    def decorate(command: Callable[..., Any]) -> Callable[..., Any]:
        wrapped: Callable[..., Any] = _with_output(command, formats, owners)
        for option in reversed(options):
            wrapped = option(wrapped)
        return wrapped

    return decorate


photos_option = click.option(
    "--photos",
    type=FilePath,
    metavar="FOLDER",
    show_default="not needed",
    help="The folder that image ids are paths below, for formats that write files beside the photos, and for fiftyone.",
)


def _setting_of(format: Format, name: str, owning: Sequence[str]) -> Decorator:
    """The option for a format's setting. owning: the formats that have it."""
    assert format.settings is not None
    f = next(f for f in fields(format.settings) if f.name == name)
    meta = {**f.metadata, "help": f"{', '.join(owning)}: {f.metadata['help']}"}
    return _option(name, typing.get_type_hints(format.settings)[name], f.default, meta)


def _with_output(
    command: Callable[..., Any], formats: Mapping[str, Format], owners: Mapping[str, Sequence[str]]
) -> Callable[..., Any]:
    """``command`` with ``make_output`` instead of the options. owners: setting -> the formats that have it."""

    @functools.wraps(command)
    def with_output(
        *args: Any, format: str, output: Path | None, overwrite: bool, photos: Path | None = None, **kwargs: Any
    ) -> Any:
        given = {name: kwargs.pop(name) for name in owners}
        refuse_unused(
            [name for name, owning in owners.items() if format not in owning],
            f"--format {format} makes no use of this",
        )
        kind = formats[format].settings
        settings = kind(**{name: given[name] for name in owners if format in owners[name]}) if kind else None

        def make_output(*, update: bool = False, below: str = "") -> Output:
            place = output / below if output is not None and below else output
            return Output(format, place, photos=photos, settings=settings, overwrite=overwrite, update=update)

        return command(*args, make_output=make_output, **kwargs)

    return with_output


def say_failures(output: Output) -> int:
    """Say on stderr what an output has to say of images, and return the exit code: 1 if one could not be written."""
    for note in output.notes:
        click.echo(f"Note: {one_line(note)}", err=True)
    for image_id, reason in output.failures:
        click.echo(f"Error: {one_line(image_id)}: {one_line(reason)}", err=True)
    if output.failures:
        click.echo(
            f"{count(len(output.failures), 'image')} could not be written as --format {output.format.name}", err=True
        )
    return int(bool(output.failures))


def failures_as_dicts(output: Output) -> list[dict[str, str]]:
    """The images that could not be written, for --json."""
    return [{"image": image_id, "error": reason} for image_id, reason in output.failures]


def _sentence(text: str) -> str:
    return text[0].upper() + text[1:] + "."


def refuse_unused(settings: Iterable[str], why: str) -> None:
    """Raise click.UsageError if one of these settings was given on the command line. why: 'X does not use it', say."""
    context = click.get_current_context()
    given = [name for name in settings if context.get_parameter_source(name) is ParameterSource.COMMANDLINE]
    if given:
        options = ", ".join("--" + name.replace("_", "-") for name in given)
        raise click.UsageError(f"{options}: {why}; leave {'it' if len(given) == 1 else 'them'} out")


# What only some decoders look at.
DECODER_SETTINGS = {
    "greedy": ("allow_repeats",),
    "beam": ("beam_size", "allow_repeats"),
    "mbr": ("samples", "gain", "seed"),
}


# What is looked at only where tags are given.
GIVEN_SETTINGS = ("given_first", "given_order", "keep_given", "cooccurrence")


def refuse_useless_given(given: bool) -> None:
    """Raise click.UsageError for an option that makes a difference to given tags only, where none are."""
    if not given:
        refuse_unused(GIVEN_SETTINGS, "says how given tags are taken, and none are given (--given)")


def say_notes(notes: Iterable[str]) -> None:
    """Sentences that a person should know of, on stderr."""
    for note in notes:
        click.echo(f"Note: {one_line(note)}", err=True)


def refuse_other_decoders_settings(config: DecodingConfig) -> None:
    """Raise click.UsageError for an option that the chosen decoder does not look at."""
    every = dict.fromkeys(name for names in DECODER_SETTINGS.values() for name in names)
    unused = [name for name in every if name not in DECODER_SETTINGS[config.decode]]
    refuse_unused(unused, f"--decode {config.decode} makes no use of this")
    if config.samples is None:
        refuse_unused(["seed"], "nothing is drawn without --samples")


def refuse_decoders_of_baselines(runs: Sequence[Path]) -> None:
    """Raise click.UsageError for an option of a decoder where no run has lists to decode."""
    context = click.get_current_context()
    names = ("decode", *dict.fromkeys(name for several in DECODER_SETTINGS.values() for name in several))
    if not any(context.get_parameter_source(name) is ParameterSource.COMMANDLINE for name in names):
        return
    from ranktag.models.checkpoint import load_checkpoint

    kinds = [load_checkpoint(run).kind for run in runs]
    if all(kind in BASELINES for kind in kinds):
        refuse_unused(names, f"{runs[0]} is of --model {kinds[0]}, which makes no use of this")


runs_option = click.option(
    "--model",
    "runs",
    type=FilePath,
    required=True,
    multiple=True,
    metavar="FOLDER",
    help="The run folder of train-from-cache; several, say of several seeds, decide together (mbr).",
)
overwrite_option = click.option("--overwrite", is_flag=True, show_default="off", help="Replace an existing output.")
quiet_option = click.option("--quiet", is_flag=True, show_default="off", help="Print nothing but errors.")
