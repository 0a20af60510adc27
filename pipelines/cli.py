"""``ranktag`` and its commands: which there are, and in which order.

A command is imported when it is called.
"""

from __future__ import annotations

import importlib
import sys

import click

from ranktag.errors import RanktagError
from ranktag.pipelines.shared.running import run
from ranktag.version import __version__

# In pipeline order: command -> (module, one line of help).
COMMANDS = {
    "prepare": ("prepare", "Make tag lists from PASCAL VOC, LabelMe, captions and other annotations."),
    "extract-features": ("extract_features", "Stage one: photos to a cache of VGG features."),
    "join-features": ("join_features", "Join the shards of an extraction by many workers."),
    "inspect": ("inspect", "Say what a feature cache holds and whether it is whole."),
    "train-from-cache": ("train_from_cache", "Stage two: train a model on a feature cache and tag lists."),
    "runs": ("runs", "List the trained runs in a folder, or compare some of them."),
    "export-tags": ("export_tags", "Write a model's ranked tags of cached features as CSV."),
    "evaluate": ("evaluate", "Compare predicted tags with people's lists."),
    "browse": ("browse", "Make a page of the photos to look at and to search."),
    "search": ("search", "Find the photos in which a tag matters most."),
    "tag": ("tag", "Photos to ranked tags in one go."),
    "demo": ("demo", "Run the whole path on drawn scenes."),
    "benchmark": ("benchmark", "Measure each stage against a reference in the same run."),
    "pascal2007": ("pascal2007", "Recipe: every model on PASCAL VOC 2007, to the finished table."),
    "labelme": ("labelme", "Recipe: every model on LabelMe, to the finished table."),
}


def load(name: str) -> click.Command:
    """The click command of that name."""
    module, _ = COMMANDS[name]
    command: click.Command = importlib.import_module(f"ranktag.pipelines.{module}").command
    return command


class PipelineGroup(click.Group):
    """A group that imports a command only when it is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """In pipeline order."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import it."""
        return load(cmd_name) if cmd_name in COMMANDS else None

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """With a line each, for which none is imported."""
        with formatter.section("Commands, in the order of the pipeline"):
            formatter.write_dl([(name, text) for name, (_, text) in COMMANDS.items()])


@click.command(cls=PipelineGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="ranktag")
def group() -> None:
    """Ranked tags for photos, the most important first.

    \b
    photos ─ extract-features ─► cache.h5 ─┐
    tags.csv ──────────────────────────────┴─ train-from-cache ─► run
    run ─ export-tags ─► predictions.csv ─ evaluate ─► report
    """


def run_alone(name: str) -> int:
    """Run a command under its own name and return its exit code."""
    try:
        command = load(name)
    except RanktagError as error:
        # Its modules are imported here, and refuse other systems.
        click.echo(f"Error: {error}", err=True)
        return error.exit_code
    return run(command, name)


def main() -> None:
    """The console script ``ranktag``."""
    sys.exit(run(group, "ranktag"))


def extract_features() -> None:
    """The console script ``extract-features``."""
    sys.exit(run_alone("extract-features"))


def train_from_cache() -> None:
    """The console script ``train-from-cache``."""
    sys.exit(run_alone("train-from-cache"))


def export_tags() -> None:
    """The console script ``export-tags``."""
    sys.exit(run_alone("export-tags"))
