"""A photo that is read before any other: a machine that does not see the photos is told from photos that are bad."""

from __future__ import annotations

import socket
from collections.abc import Sequence

from ranktag.errors import Outage
from ranktag.feature_cache.file_states import UNKNOWN
from ranktag.feature_cache.shards import Shard
from ranktag.features.job import Job
from ranktag.files.contents import NoContent, content_of
from ranktag.files.locations import is_file, shown
from ranktag.files.remote import NotAnswered

# Photos that are tried: one may have been taken away since they were listed.
CANARIES = 5


class Blind(Outage):
    """This machine does not see the photos; others may."""


def refuse_blind_machine(job: Job, shards: Sequence[Shard]) -> None:
    """Raise Blind if this machine can read none of the photos that were there when they were listed."""
    reasons = []
    for row in _canaries(job, shards):
        location = job.listed.path(row)
        try:
            _read(location)
            return
        except (OSError, NoContent, NotAnswered) as error:
            reason = error.strerror if isinstance(error, OSError) else str(error)
            reasons.append(f"{shown(location)} ({reason})")
    if reasons:
        raise Blind(
            f"{socket.gethostname()}: this machine does not see the photos: {reasons[0]}, which was there when they "
            "were listed; see that their disk is mounted here, then run the same command again"
        )


def _read(location: bytes) -> None:
    if not is_file(location):
        content_of(location)
        return
    with open(location, "rb") as file:
        file.read(1)


def _canaries(job: Job, shards: Sequence[Shard]) -> list[int]:
    """Rows of photos that were files when they were listed, far from each other."""
    rows = [row for shard in shards for row in range(shard.start, shard.stop) if job.files.size[row] != UNKNOWN]
    return rows[:: max(1, len(rows) // CANARIES)][:CANARIES]
