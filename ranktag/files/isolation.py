"""Doing something in a forked process first, because a C library may crash or never return on damaged input.

HDF5 2.0 crashes, or runs for ever, on about one in 300 files with a few changed bytes
outside their data. Such a file has to end in an error, not take the process along.
"""

from __future__ import annotations

import os
import resource
import signal
import sys
import warnings
from collections.abc import Callable

CRASHES = (signal.SIGSEGV, signal.SIGBUS, signal.SIGABRT, signal.SIGFPE, signal.SIGILL)


def ends_badly(action: Callable[[], object], seconds: int = 60) -> str:
    """What ``action`` would do to this process, for a message: 'crashes' or 'never returns'; '' if it returns or raises.

    seconds: of processor time (a slow disk is no reason) after which it is taken to
    run for ever. ``action`` must only read, and touch no lock that another thread
    may hold. On macOS nothing is tried: a process that uses Apple's libraries
    cannot be forked safely.
    """
    if sys.platform == "darwin":
        return ""
    with warnings.catch_warnings():
        # Python 3.12 and later warn of forks in processes with threads; the child runs none of what they run.
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if child == 0:
        _act(action, seconds)
    try:
        _, status = os.waitpid(child, 0)
    except ChildProcessError:
        # Where SIGCHLD is ignored, nobody is told how children end.
        return ""
    ended = os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0
    return "never returns" if ended == signal.SIGXCPU else "crashes" if ended in CRASHES else ""


def _act(action: Callable[[], object], seconds: int) -> None:
    """The child's part; does not return. What is raised does not matter: the parent will meet it too."""
    try:
        # The parent has the one line to say; neither the C library nor a fault handler adds to it.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
        for number in CRASHES:
            signal.signal(number, signal.SIG_DFL)
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        _, hard = resource.getrlimit(resource.RLIMIT_CPU)
        resource.setrlimit(
            resource.RLIMIT_CPU, (seconds if hard == resource.RLIM_INFINITY else min(seconds, hard), hard)
        )
        action()
    finally:
        os._exit(0)
