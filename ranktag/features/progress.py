"""What a run says while it works, and what it has done at the end."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ranktag.errors import RanktagError
from ranktag.features.changes import Changes
from ranktag.progress import Progress

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Plan:
    """What a run is about to do. Counts are of this worker's images; ``total`` is the whole list.

    nodes: how many machines do it, if an engine has others work.
    """

    output: Path
    total: int
    images: int
    done: int
    failed: int
    shards: int
    device: str
    compute_dtype: str
    batch_size: int
    workers: int
    worker: tuple[int, int]
    nodes: int = 0


class ExtractionProgress(Progress):
    """Told what a run is doing; does nothing with it."""

    def start(self, plan: Plan) -> None:
        """Computing begins."""

    def batch(self, images: int, failures: int) -> None:
        """So many more images are computed, so many of which failed."""

    def at_work(self, nodes: int) -> None:
        """So many machines are at work."""

    def finish(self) -> None:
        """Computing has ended, one way or the other."""


@dataclass(frozen=True)
class ExtractionReport:
    """What a run did.

    images: this worker's. computed: of them, now. failures: (image id, reason) of
    this worker's images, whenever they were computed. seconds: of computing.
    output: a path or a URL. cache: the joined file; None while other workers' shards are to be joined. changes: what
    was found beside a cache, or the shards of other images, that was there; else None.
    left_out: a sentence each for the files of the folder that are not in the list. manifest: what
    workers are to be given, where nothing was computed here.
    """

    output: Path | str
    total: int
    images: int
    computed: int
    failures: Sequence[tuple[str, str]]
    seconds: float
    cache: Path | str | None
    worker: tuple[int, int] = (0, 1)
    changes: Changes | None = None
    left_out: Sequence[str] = ()
    manifest: Path | None = None

    def failures_frame(self) -> pd.DataFrame:
        """The failures as a DataFrame, a row an image that failed: image_id, error."""
        import pandas as pd

        return pd.DataFrame(list(self.failures), columns=["image_id", "error"])


class Stopped(RanktagError):
    """SIGINT or SIGTERM came; the exit code is the shell's for it."""

    code = "interrupted"

    def __init__(self, number: int, message: str) -> None:
        super().__init__(message)
        self.exit_code = 128 + number
