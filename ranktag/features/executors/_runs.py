"""Which shards are to be handed out, together and again: what an engine with many nodes keeps account of."""

from __future__ import annotations

import math
from collections import Counter, defaultdict, deque
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field

from ranktag.feature_cache.shards import Shard

# Seconds that a run should take, and the least when little is left: long beside the start of a process, short beside
# the life of a machine that may be taken away. Until the speed is known, a run is of so many images.
SECONDS, LEAST, IMAGES = 300.0, 60.0, 1024


@dataclass
class Run:
    """Shards that are handed out together. avoid: nodes at which they failed. there: numbers of those that existed."""

    number: int
    shards: Sequence[Shard]
    avoid: set[str] = field(default_factory=set)
    there: Collection[int] = field(default_factory=set)

    @property
    def text(self) -> str:
        """As ``ranktag.features.from_manifest.parse_shards`` reads it: '0-7,12'."""
        return numbers_as_text([shard.number for shard in self.shards])


class Runs:
    """The shards of an extraction on their way through a cluster.

    in_flight: number -> run. seen: numbers of shards that are done, as far as is known.
    given_up: shards that failed too often. reason: of the last failure. retries: how
    often a shard is tried again.
    """

    def __init__(self, pending: Sequence[Shard], retries: int) -> None:
        self.in_flight: dict[int, Run] = {}
        self.seen: set[int] = set()
        self.given_up: list[Shard] = []
        self.reason = ""
        self.images_done = 0
        self.count, self.count_of_list = len(pending), pending[0].count if pending else 0
        self._pending, self._retries = deque(pending), retries
        self._failed: Counter[int] = Counter()
        self._failed_at: defaultdict[int, set[str]] = defaultdict(set)
        self._started = 0
        self._images, self._seconds = 0, 0.0

    @property
    def ended(self) -> bool:
        """Whether nothing is left to be handed out or waited for."""
        return not self._pending and not self.in_flight

    @property
    def given_up_text(self) -> str:
        """The numbers of the shards that were given up."""
        return numbers_as_text(sorted(shard.number for shard in self.given_up))

    def next(self, slots: int) -> Run | None:
        """The next run for a cluster that does ``slots`` at once; None while enough of them wait."""
        if not self._pending or len(self.in_flight) >= max(1, 2 * slots):
            return None
        size = self._size(max(1, slots))
        shards = [self._pending.popleft()]
        # One that failed is tried alone: it must not take others with it again.
        while self._pending and len(shards) < size and not self._failed[shards[0].number]:
            if self._failed[self._pending[0].number]:
                break
            shards.append(self._pending.popleft())
        self._started += 1
        run = self.in_flight[self._started] = Run(self._started, shards, self._failed_at[shards[0].number])
        return run

    def _size(self, slots: int) -> int:
        """Shards a run: some minutes of work, towards the end less, so that nobody waits long for the last."""
        shard, pending = len(self._pending[0]), len(self._pending)
        free = slots - len(self.in_flight)
        share = math.ceil(pending / (free if free > 0 else slots))
        if not self._seconds:
            return max(1, min(share, IMAGES // shard))
        shards_a_second = self._images / self._seconds / shard
        least = max(LEAST * shards_a_second, pending / (2 * slots))
        return max(1, min(share, round(min(SECONDS * shards_a_second, least))))

    def see(self, shards: Iterable[Shard]) -> int:
        """These shards are done; returned is how many images that is more than was known."""
        new = {shard.number: len(shard) for shard in shards if shard.number not in self.seen}
        self.seen.update(new)
        self.images_done += sum(new.values())
        return sum(new.values())

    def done(self, run: Run, images: int, seconds: float) -> int:
        """A run has ended well, having computed so many images in so many seconds; returned as by ``see``."""
        del self.in_flight[run.number]
        self._images, self._seconds = self._images + images, self._seconds + seconds
        return self.see(run.shards)

    def failed(self, run: Run, there: Collection[Shard], reason: str, node: str | None = None) -> None:
        """A run has failed. there: its shards that exist; the first other one is what it failed at, on ``node``.

        All are handed out again: a node that looks at one that is whole does not compute it again.
        """
        del self.in_flight[run.number]
        self.reason = reason
        at = next((shard for shard in run.shards if shard not in there), run.shards[0])
        self._failed[at.number] += 1
        self._failed_at[at.number].update([node] if node else [])
        again = [shard for shard in run.shards if shard != at]
        if self._failed[at.number] > self._retries:
            self.given_up.append(at)
        else:
            again.append(at)
        self._pending.extendleft(reversed(again))

    def give_up(self) -> None:
        """Nobody is left who could do it."""
        if not self.in_flight:
            self.given_up.extend(self._pending)
            self._pending.clear()


def numbers_as_text(numbers: Sequence[int]) -> str:
    """Ascending numbers as '0-7,12'."""
    parts: list[list[int]] = []
    for number in numbers:
        if parts and parts[-1][1] == number - 1:
            parts[-1][1] = number
        else:
            parts.append([number, number])
    return ",".join(f"{first}" if first == last else f"{first}-{last}" for first, last in parts)
