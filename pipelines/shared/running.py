"""Running a command: how it ends, and what is said when it cannot do its work.

A command returns its exit code (None is 0): 0 all done, 1 finished, but something is
wrong with the data, 2 the call was wrong.
"""

from __future__ import annotations

import codecs
import errno
import io
import os
import sys
from collections.abc import Sequence

import click

from ranktag.errors import RanktagError, one_line

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


def run(command: click.Command, name: str, arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code; a user's mistake is one line on stderr."""
    _write_any_text()
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


def _write_any_text() -> None:
    """Let no text fail for a locale that lacks its letters: they are written as escapes, and in ASCII as UTF-8."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            ascii_only = codecs.lookup(stream.encoding).name == "ascii"
            stream.reconfigure(encoding="utf-8" if ascii_only else None, errors="backslashreplace")


def _fail(message: str, code: int) -> int:
    click.echo(f"Error: {one_line(message)}", err=True)
    return code
