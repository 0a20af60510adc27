"""Signals that are to end an extraction, which ends when what it has computed is kept."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from ranktag.feature_cache.shards import folder_of
from ranktag.features.job import Job
from ranktag.features.progress import Stopped


@contextmanager
def signals_received() -> Iterator[list[int]]:
    """SIGINT and SIGTERM are put into the list instead of ending the process; a second one acts at once."""
    received: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield received
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    def receive(number: int, frame: object) -> None:
        received.append(number)
        restore()

    for number in before:
        signal.signal(number, receive)
    try:
        yield received
    finally:
        restore()


def stopped(number: int, job: Job, images: int) -> Stopped:
    """The error for a signal that came when so many images had been computed."""
    return Stopped(
        number,
        f"stopped by {signal.Signals(number).name}: {job.kept.images + images:,} of {job.images:,} images are done and "
        f"kept in {folder_of(job.output)}; the same command goes on from there",
    )
