"""Click options made from the settings in ``ranktag.config``."""

from __future__ import annotations

import functools
import types
import typing
from collections.abc import Callable, Iterable
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from ranktag import registry
from ranktag.config import Config, DecodingConfig

FilePath = click.Path(path_type=Path)


def config_options(
    config: type[Config], without: tuple[str, ...] = ()
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Decorator: adds one option a setting and passes the settings together as the argument ``config``.

    A setting with a single choice is none.
    """
    shown = [f for f in fields(config) if f.name not in without and len(f.metadata["choices"]) != 1]

    def decorate(command: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(command)
        def with_config(*args: Any, **kwargs: Any) -> Any:
            values = {f.name: kwargs.pop(f.name) for f in shown}
            return command(*args, config=config(**values), **kwargs)

        hints = typing.get_type_hints(config)
        wrapped: Callable[..., Any] = with_config
        for f in reversed(shown):
            wrapped = _option(f.name, hints[f.name], f.default, f.metadata)(wrapped)
        return wrapped

    return decorate


def _option(
    name: str, hint: Any, default: Any, meta: typing.Mapping[str, Any]
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    flag = "--" + name.replace("_", "-")
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
        else {int: click.INT, float: click.FLOAT, str: click.STRING, Path: FilePath}[hint]
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
        show_default=meta["when_none"] if default is None else f"{default:g} {unit}" if unit else True,
        metavar=None if meta["choices"] else (unit.upper() if unit else None),
        help=_sentence(meta["help"]),
    )


def module_option(flag: str, folder: str, default: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Decorator: an option whose choices are the modules of a folder; the first line of each docstring is its help."""
    lines = {
        name: (registry.load(folder, name).__doc__ or "").strip().split("\n")[0] for name in registry.names(folder)
    }
    text = "; ".join(f"{name}: {line[:1].lower()}{line[1:].rstrip('.')}" for name, line in lines.items())
    return click.option(flag, type=click.Choice(tuple(lines)), default=default, show_default=True, help=f"{text}.")


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


def refuse_other_decoders_settings(config: DecodingConfig) -> None:
    """Raise click.UsageError for an option that the chosen decoder does not look at."""
    every = dict.fromkeys(name for names in DECODER_SETTINGS.values() for name in names)
    unused = [name for name in every if name not in DECODER_SETTINGS[config.decode]]
    refuse_unused(unused, f"--decode {config.decode} makes no use of this")


overwrite_option = click.option("--overwrite", is_flag=True, show_default="off", help="Replace an existing output.")
quiet_option = click.option("--quiet", is_flag=True, show_default="off", help="Print nothing but errors.")
