"""What is done before torch is imported, and while it is."""

from __future__ import annotations

import gc
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager

# Linux's load averages and how many threads run just now.
LOADS = "/proc/loadavg"


@contextmanager
def imports() -> Iterator[None]:
    """Within, modules are imported without a look for garbage, and what they made is never looked at again.

    Torch makes a quarter of a million objects that live as long as the process: looking through
    them again and again takes a fifth of its import, and up to 80 ms later on.
    """
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


def share_processors() -> None:
    """On a busy machine, let torch's threads sleep while they wait for each other. Call it before torch is imported.

    Threads that spin are half as fast again alone, but stand in each other's way when
    other programs run: measured on two busy cores, training was two to five times slower.
    """
    if busy():
        os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


def busy() -> bool:
    """Whether other programs keep half of the processors busy: in the last minute, and still."""
    half = 0.5 * (os.cpu_count() or 1)
    if not hasattr(os, "getloadavg") or os.getloadavg()[0] <= half:
        return False
    try:
        # The last minute may be that of a command that has ended. Others come and go, so it is read twice.
        running = []
        for _ in range(2):
            time.sleep(0.01)
            with open(LOADS) as file:
                running.append(int(file.read().split()[3].split("/")[0]) - 1)
        return min(running) >= half
    except OSError:
        return True
