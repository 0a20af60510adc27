"""The class of every command: it has --json and --log-file, and shows the report that the command returns."""

from __future__ import annotations

from typing import Any

import click

from ranktag.pipelines.shared.console import Report, current
from ranktag.pipelines.shared.options import FilePath

HELP = {"help_option_names": ["-h", "--help"]}
JSON_HELP = "Print one JSON object instead of text: what was done, or why not."
LOG_HELP = "Append what goes to stderr to this file too, each line with its time."


def _output_options() -> list[click.Parameter]:
    # Console reads both before click does; here they are named, shown and checked.
    return [
        click.Option(["--json"], is_flag=True, expose_value=False, show_default="off", help=JSON_HELP),
        click.Option(
            ["--log-file"], type=FilePath, metavar="FILE", expose_value=False, show_default="none", help=LOG_HELP
        ),
    ]


def _shown(result: object) -> object:
    """The exit code of a command that returned a report, or what else it returned."""
    if result is None:
        result = Report()
    elif isinstance(result, int):
        result = Report(code=result)
    if isinstance(result, Report):
        return current().show(result)
    return result


class Command(click.Command):
    """A command that returns a ``Report``."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **{"context_settings": HELP, **named})
        self.params += _output_options()

    def invoke(self, ctx: click.Context) -> Any:
        """Run it and show what it returns."""
        current().command = ctx.command_path
        with current().working():
            result = super().invoke(ctx)
        return _shown(result)


class CommandGroup(click.Group):
    """A group that is a command too, where none of its commands is named."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **{"context_settings": HELP, **named})
        self.params += _output_options()

    def invoke(self, ctx: click.Context) -> Any:
        """Run it, or the command that is named, which shows its report itself."""
        current().command = ctx.command_path
        with current().working():
            result = super().invoke(ctx)
        return result if ctx.invoked_subcommand is not None else _shown(result)
