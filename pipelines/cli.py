"""``ranktag`` and its commands: which there are, in which order, and how they end.

A command is imported when it is called. It returns its exit code (None is 0):
0 all done, 1 finished, but something is wrong with the data, 2 the call was wrong.
"""

from __future__ import annotations

import errno
import importlib
import os
import sys
import time
from collections.abc import Sequence

import click

from ranktag.errors import RanktagError, one_line
from ranktag.version import __version__

# In pipeline order: command -> (module, one line of help).
COMMANDS = {
    "prepare": ("prepare", "Make tag lists from PASCAL VOC, LabelMe, captions and other annotations."),
    "extract-features": ("extract_features", "Stage one: photos to a cache of VGG features."),
    "join-features": ("join_features", "Join the shards of an extraction by many workers."),
    "inspect": ("inspect", "Say what a feature cache holds and whether it is whole."),
    "train-from-cache": ("train_from_cache", "Stage two: train a model on a feature cache and tag lists."),
    "export-tags": ("export_tags", "Write a model's ranked tags of cached features as CSV."),
    "evaluate": ("evaluate", "Compare predicted tags with people's lists."),
    "tag": ("tag", "Photos to ranked tags in one go."),
    "demo": ("demo", "Run the whole path on drawn scenes."),
    "benchmark": ("benchmark", "Measure each stage against a reference in the same run."),
    "pascal2007": ("pascal2007", "Recipe: every model on PASCAL VOC 2007, to the finished table."),
    "labelme": ("labelme", "Recipe: every model on LabelMe, to the finished table."),
}

# Linux's load averages and how many threads run just now.
LOADS = "/proc/loadavg"
FREE_SPACE, PERMISSIONS = "free some space and run it again", "check the permissions or choose another place"
# What to do about an error of the operating system.
REMEDIES = {
    errno.ENOSPC: FREE_SPACE,
    errno.EDQUOT: FREE_SPACE,
    errno.EACCES: PERMISSIONS,
    errno.EPERM: PERMISSIONS,
    errno.EROFS: PERMISSIONS,
    errno.EFBIG: "raise the limit on file sizes or choose another disk",
}


def load(name: str) -> click.Command:
    """The click command of that name."""
    module, _ = COMMANDS[name]
    command: click.Command = importlib.import_module(f"ranktag.pipelines.{module}").command
    return command


class PipelineGroup(click.Group):
    """A group that imports a command only when it is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        return load(cmd_name) if cmd_name in COMMANDS else None

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
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


def run(command: click.Command, name: str, arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code; a user's mistake is one line on stderr."""
    if busy():
        # Threads that spin while they wait for each other are half as fast again when alone, but stand in each other's way
        # when other programs run: measured on two busy cores, training was two to five times slower. Torch reads this when imported.
        os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    try:
        code = command.main(arguments, prog_name=name, standalone_mode=False)
        sys.stdout.flush()
        return code if isinstance(code, int) else 0
    except click.UsageError as error:
        path = error.ctx.command_path if error.ctx else name
        return _fail(f"{error.format_message()} (see '{path} --help')", error.exit_code)
    except click.ClickException as error:
        return _fail(error.format_message(), error.exit_code)
    except RanktagError as error:
        return _fail(str(error), error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        return _fail("interrupted", 130)
    except OSError as error:
        if error.errno == errno.EPIPE:
            # The reader of our output has gone (``| head``): nothing is wrong, but Python would complain at exit.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return 0
        if error.errno is None:
            raise
        where = f"{os.fsdecode(error.filename)}: " if isinstance(error.filename, (str, bytes)) else ""
        return _fail(f"{where}{error.strerror}; {REMEDIES.get(error.errno, 'check the path')}", 2)


def busy() -> bool:
    """Whether other programs keep half of the processors busy: in the last minute, and still."""
    half = 0.5 * (os.cpu_count() or 1)
    if os.getloadavg()[0] <= half:
        return False
    try:
        # The last minute may be that of a command that has ended. Read twice, for others come and go; this one runs, too.
        running = []
        for _ in range(2):
            time.sleep(0.01)
            with open(LOADS) as file:
                running.append(int(file.read().split()[3].split("/")[0]) - 1)
        return min(running) >= half
    except OSError:
        return True


def _fail(message: str, code: int) -> int:
    click.echo(f"Error: {one_line(message)}", err=True)
    return code


def main() -> None:
    """The console script ``ranktag``."""
    sys.exit(run(group, "ranktag"))


def extract_features() -> None:
    """The console script ``extract-features``."""
    sys.exit(run(load("extract-features"), "extract-features"))


def train_from_cache() -> None:
    """The console script ``train-from-cache``."""
    sys.exit(run(load("train-from-cache"), "train-from-cache"))


def export_tags() -> None:
    """The console script ``export-tags``."""
    sys.exit(run(load("export-tags"), "export-tags"))
