"""How the stages grow: seconds and memory of the real commands, each a process of its own, on made-up features.

What is asked of them: time in proportion to the images, and memory that stays small beside the pages of files that
the system keeps and can drop at any time. So what is measured is a process's anonymous memory, Linux's ``RssAnon``,
looked at fifty times a second; and beside the seconds by the clock the seconds of processor time, which others who
use the machine disturb less. Nothing is random but the made-up numbers, which are those of a seed.
"""

from __future__ import annotations

import json
import math
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ranktag.errors import RanktagError
from ranktag.files.tables import write_table

SECONDS_BETWEEN_LOOKS = 0.02
BATCH = 1024
# Of every ten images the last two.
VALIDATED, TESTED = 8, 9
TAGS_A_LIST = 5

COMMANDS = ("cache_features", "inspect", "train-from-cache", "export-tags", "evaluate", "join-features")

_MAKE = "from ranktag.benchmarks.scale import make; make(*__import__('json').loads(__import__('sys').argv[1]))"
_RUN = "from ranktag.pipelines.cli import main; main()"


@dataclass(frozen=True)
class Measured:
    """What one command took. gibibytes: the most anonymous memory it held at once; nan where that is not known."""

    command: str
    images: int
    seconds: float
    processor_seconds: float
    gibibytes: float

    @property
    def rate(self) -> float:
        """Images a second."""
        return self.images / self.seconds


def benchmark_scale(
    sizes: Sequence[int],
    width: int,
    vocabulary: int,
    folder: Path | None = None,
    report: Callable[[Measured], None] = lambda measured: None,
) -> list[Measured]:
    """Run every command on a cache of each size and measure it.

    width: D, of float16; the largest cache lies there twice at once. folder: on whose disk that is; the system's
    temporary one if left out. report: is told of each command when it is done. Raises RanktagError for one that fails.
    """
    measured = []
    for images in sizes:
        with tempfile.TemporaryDirectory(prefix="ranktag-scale-", dir=folder and folder.resolve()) as place:
            for command, call in _calls(Path(place), images, width, vocabulary).items():
                measured.append(_measure(command, images, call, place))
                report(measured[-1])
    return measured


def _calls(folder: Path, images: int, width: int, vocabulary: int) -> Mapping[str, list[str]]:
    """Command -> what is run, in this order."""
    cache, tags, run, predictions = (str(folder / n) for n in ("features.h5", "tags.csv", "run", "predictions.csv"))
    of_ours = [sys.executable, "-c", _RUN]
    training = ["--epochs", "1", "--members", "1", "--head", "0", "--max-memory", "0", "--quiet"]
    calls = (
        [sys.executable, "-c", _MAKE, json.dumps([cache, tags, images, width, vocabulary])],
        [*of_ours, "inspect", cache],
        [*of_ours, "train-from-cache", cache, tags, "-o", run, *training],
        [*of_ours, "export-tags", cache, "--model", run, "-o", predictions, "--decode", "greedy"],
        [*of_ours, "evaluate", predictions, tags, "-o", str(folder / "report"), "--split", "all"],
        [*of_ours, "join-features", str(folder / "joined.h5"), cache],
    )
    return dict(zip(COMMANDS, calls, strict=True))


def _measure(command: str, images: int, call: Sequence[str], folder: str) -> Measured:
    """Run a process in a folder and look at its memory until it ends."""
    begin, most = time.monotonic(), math.nan
    with (
        tempfile.TemporaryFile() as said,
        # A folder called ranktag in this one would be taken for the package.
        subprocess.Popen(call, cwd=folder, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=said) as process,
    ):
        while True:
            pid, status, used = os.wait4(process.pid, os.WNOHANG)
            if pid:
                break
            # Of a process that is ending, it is not known.
            most = max((size for size in (most, _anonymous(process.pid)) if not math.isnan(size)), default=math.nan)
            time.sleep(SECONDS_BETWEEN_LOOKS)
        process.returncode = os.waitstatus_to_exitcode(status)
        seconds = time.monotonic() - begin
        if process.returncode:
            said.seek(0)
            last = said.read().decode(errors="replace").strip().rpartition("\n")[2]
            raise RanktagError(f"{command} on {images:,} images failed ({last}); mend that and run it again")
    return Measured(command, images, seconds, used.ru_utime + used.ru_stime, most)


def _anonymous(pid: int) -> float:
    """GiB of a process's memory that are no file's; nan where the system does not say."""
    try:
        found = re.search(r"RssAnon:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text(encoding="ascii"))
    except OSError:
        found = None
    return int(found[1]) / 2**20 if found else math.nan


def make(cache: str, tags: str, images: int, width: int, vocabulary: int) -> None:
    """A cache of made-up features and a tag file of one list an image: what the first of the processes runs."""
    from ranktag.feature_cache.write import cache_features

    ids = [f"{n // 1000:05}/{n:08}.jpg" for n in range(images)]
    write_table(tags, ("image_id", "split", "tags"), _lists(ids, vocabulary))
    cache_features(_batches(images, width), ids, cache, source="made up", overwrite=True)


def _batches(images: int, width: int) -> Iterator[npt.NDArray[np.float16]]:
    """Numbers from 0 to 1, (<= BATCH, width) at a time, as fast as they can be made: their bits are drawn."""
    random = np.random.default_rng(0)
    for start in range(0, images, BATCH):
        rows = min(BATCH, images - start)
        bits = np.frombuffer(random.bytes(2 * rows * width), np.uint16).reshape(rows, width)
        # 1.xxx in binary, less 1.
        yield (bits & 0x03FF | 0x3C00).view(np.float16) - np.float16(1)


def _lists(ids: Sequence[str], vocabulary: int) -> Iterator[tuple[str, str, str]]:
    """Rows of the tag file: lists of up to TAGS_A_LIST tags, frequent and rare ones."""
    random = np.random.default_rng(1)
    split = {VALIDATED: "val", TESTED: "test"}
    for number, image_id in enumerate(ids):
        drawn = (vocabulary * random.random(TAGS_A_LIST) ** 2).astype(int).tolist()
        tags = "|".join(f"tag {tag}" for tag in dict.fromkeys(drawn[: 1 + number % TAGS_A_LIST]))
        yield image_id, split.get(number % 10, "train"), tags
