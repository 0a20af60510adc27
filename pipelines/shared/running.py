"""Running a command: how it ends, and what is said when it cannot do its work.

The exit codes: 0 all done; 1 finished, but something is wrong with the data; 2 the call was
wrong; 3 another process is at work on the same; 4 the machine failed it; 70 a defect of
ranktag; 130 interrupted, 143 stopped by SIGTERM.
"""

from __future__ import annotations

import codecs
import errno
import io
import os
import sys
import traceback
from collections.abc import Sequence

import click

from ranktag.errors import NoMemory, Outage, RanktagError, Usage, kind_of
from ranktag.pipelines.shared.console import Console
from ranktag.pipelines.shared.notes import warnings_as_lines

INTERRUPTED, DEFECT = 130, 70

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
# What to do about an outage, and about all else.
BRING_BACK, LOOK = "bring the disk or the network back and run it again", "check the path"


def run(command: click.Command, name: str, arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code; a user's mistake is one line on stderr."""
    _write_any_text()
    with Console(name, sys.argv[1:] if arguments is None else arguments) as console:
        return console.end(_outcome(command, name, arguments, console))


def _outcome(command: click.Command, name: str, arguments: Sequence[str] | None, console: Console) -> int:
    try:
        console.open_log()
        with warnings_as_lines():
            code = command.main(arguments, prog_name=name, standalone_mode=False)
        sys.stdout.flush()
        return code if isinstance(code, int) else 0
    except click.UsageError as error:
        path = console.command = error.ctx.command_path if error.ctx else name
        return console.fail(f"{error.format_message()} (see '{path} --help')", Usage.code, Usage.exit_code)
    except click.ClickException as error:
        return console.fail(error.format_message(), Usage.code, Usage.exit_code)
    except RanktagError as error:
        return console.fail(str(error), error.code, error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        return console.fail("interrupted", "interrupted", INTERRUPTED)
    except Exception as error:  # noqa: BLE001 (whatever it is, the call ends here, with a code of its own)
        if isinstance(error, OSError) and error.errno == errno.EPIPE:
            # The reader of our output has gone (``| head``): nothing is wrong, but Python would complain at exit.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return 0
        refused = _refused(error)
        if refused is not None:
            return console.fail(str(refused), refused.code, refused.exit_code)
        traceback.print_exc()
        return console.fail(f"{type(error).__name__}: {error}; this is a defect of ranktag", "defect", DEFECT)


def _refused(error: Exception) -> RanktagError | None:
    """What the operating system or the device refused, as an error of ours; None for a defect."""
    if isinstance(error, OSError) and error.errno is not None:
        where = f"{os.fsdecode(error.filename)}: " if isinstance(error.filename, (str, bytes)) else ""
        kind = kind_of(error)
        remedy = REMEDIES.get(error.errno, BRING_BACK if kind is Outage else LOOK)
        return kind(f"{where}{error.strerror}; {remedy}")
    said = str(error).strip().split("\n")[0]
    # Torch has exceptions of its own, which are not imported here, and says more in words.
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError" or "can't allocate memory" in said:
        remedy = "take smaller batches (--batch-size, --max-memory), or free some memory and run it again"
        return NoMemory(f"not enough memory ({said[:160] or 'of the machine'}); {remedy}")
    if type(error).__name__ == "AcceleratorError" or "CUDA error" in said or "cuDNN error" in said:
        return Outage(f"the device failed ({said[:160]}); look after it, and run it again or with --device cpu")
    return None


def _write_any_text() -> None:
    """Let no text fail for a locale that lacks its letters: they are written as escapes, and in ASCII as UTF-8."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            ascii_only = codecs.lookup(stream.encoding).name == "ascii"
            stream.reconfigure(encoding="utf-8" if ascii_only else None, errors="backslashreplace")
