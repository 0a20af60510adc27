"""What ranktag takes from the operating system, and the one line where it is not there."""

from __future__ import annotations

import importlib.util
import math
import os
from pathlib import Path

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
    """How many processors this process may use: what its task was given, and not what the machine has.

    That is the least of the processors it may run on, Slurm's ``--cpus-per-task``, and what a
    container's control group grants.
    """
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    task = os.environ.get("SLURM_CPUS_PER_TASK", "")
    granted = [int(task)] if task.isdecimal() else []
    return max(1, min([allowed, *granted, *_quotas()]))


def _quotas(groups: Path = Path("/proc/self/cgroup"), mounted: Path = Path("/sys/fs/cgroup")) -> list[int]:
    """The processors that control groups (version 1 or 2) grant this process, rounded up; none where nothing is set."""
    found = []
    for line in _text(groups).splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers and "cpu" not in controllers.split(","):
            continue
        root = mounted / controllers
        folder = root / path.lstrip("/")
        # Those above grant no more than they have; in a container, the path may be the host's and only the root there.
        for group in (folder, *folder.parents):
            if controllers:
                numbers = [_text(group / f"cpu.cfs_{name}_us") for name in ("quota", "period")]
            else:
                numbers = _text(group / "cpu.max").split()
            if len(numbers) == 2 and all(number.strip().isdecimal() for number in numbers):
                found.append(math.ceil(int(numbers[0]) / int(numbers[1])))
            if group == root:
                break
    return found


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""
