"""What ranktag takes from the operating system, and the one line where it is not there."""

from __future__ import annotations

import importlib.util
import os

from ranktag.errors import RanktagError


def refuse_other_platforms() -> None:
    """Raise RanktagError where there is no POSIX: no locks that end with their process, or no forks."""
    missing = [name for name in ("fcntl", "resource") if importlib.util.find_spec(name) is None]
    missing += [] if hasattr(os, "fork") else ["os.fork"]
    if missing:
        raise RanktagError(
            f"ranktag needs Linux or macOS, and this Python has no {', no '.join(missing)}; "
            "on Windows install it within WSL (wsl --install)"
        )


def processors() -> int:
    """How many processors this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
