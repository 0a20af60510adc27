"""Importing what a command works with."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def imports() -> Iterator[None]:
    """Within, modules are imported; the garbage collector neither looks for garbage there nor ever comes back to what it found.

    Torch makes a quarter of a million objects that live as long as the process: looking through
    them again and again takes a fifth of its import, and up to 80 ms later on.
    """
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()
