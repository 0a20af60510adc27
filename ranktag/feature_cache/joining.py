"""Joining shards while later ones are still made, so that little is left to do at the end."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import CancelledError, Future
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from ranktag.errors import Damaged, Mismatch, Outage
from ranktag.feature_cache.digest import ContentDigest, image_list_sha256
from ranktag.feature_cache.file_states import FileStates
from ranktag.feature_cache.gather import write_gathered
from ranktag.feature_cache.shards import (
    Shard,
    differences,
    folder_of,
    kind_of,
    order_of,
    pending_rows,
    read_kept,
    read_own,
)
from ranktag.feature_cache.store import FeatureStore, open_own
from ranktag.files.atomic import atomic_path, sync
from ranktag.progress import Progress


class Joining:
    """Joins the shards of ``output`` in a thread, each as soon as it is there; made by whoever holds their locks.

    The file is the one that ``ranktag.feature_cache.shards.join_locked`` makes, only sooner. Where anything goes wrong
    there is none, and nothing is lost: that function is still to be called, and says what is wrong. Meanwhile there is
    a temporary file beside ``output``. Left as a context, it gives up what is not done.
    """

    def __init__(self, output: Path, image_ids: Sequence[str], shards: Sequence[Shard], made: Sequence[Shard]) -> None:
        """shards: all, of N images with these ids. made: those that ``add`` will be told of; the rest is there."""
        self._output, self._image_ids, self._shards = output, image_ids, shards
        self._made: dict[int, Future[FeatureStore]] = {shard.number: Future() for shard in made}
        self._thread = threading.Thread(target=self._run, name="joining", daemon=True)
        self._abandoned = False
        self._rows = _Rows()
        self._joined: FeatureStore | None = None

    def __enter__(self) -> Joining:
        return self

    def __exit__(self, *_: object) -> None:
        self.abandon()

    def start(self) -> None:
        """Begin, with the shards that are there already. A second call does nothing."""
        if self._thread.ident is None:
            self._thread.start()

    def add(self, shard: Shard, store: FeatureStore) -> None:
        """Take a shard that has been written, opened as ``store``."""
        if not self._abandoned:
            self._made[shard.number].set_result(store)

    def abandon(self) -> bool:
        """Give up, and give back the room on the disk. False if nothing was going on."""
        if self._abandoned or not self._thread.is_alive():
            return False
        self._abandoned = True
        self._expect_no_more()
        self._thread.join()
        return True

    def finish(self, progress: Progress) -> FeatureStore | None:
        """The cache, after the last shard has been added; None if it is still to be joined."""
        self._expect_no_more()
        told = 0
        with progress.working("Joining", len(self._image_ids), "rows"):
            while self._thread.is_alive():
                self._thread.join(0.2)
                written = self._rows.written
                progress.advance(written - told)
                told = written
        return self._joined

    def _expect_no_more(self) -> None:
        """End the wait for shards that have not been added."""
        for store in self._made.values():
            store.cancel()

    def _run(self) -> None:
        # Whatever goes wrong, ``join_locked`` comes upon it.
        with suppress(Exception):
            self._joined = self._join()

    def _join(self) -> FeatureStore:
        kept = read_kept(self._output, own=True)
        if kept is not None and [kept.image_id[row] for row in pending_rows(kept)] != list(self._image_ids):
            raise Mismatch(f"{kept.path}: was kept for other images")
        image_ids = self._image_ids if kept is None else kept.image_id
        source, row = order_of(kept, [len(shard) for shard in self._shards])
        stores = _Arriving(self._shard, len(self._shards), kept)
        made = replace(stores[0].provenance, created="", image_list_sha256=image_list_sha256(image_ids))
        files, read_back = FileStates.unknown(len(image_ids)), ContentDigest()
        if not self._output.parent.is_dir():
            # Made again, it would be on whatever is now where the disk used to be.
            raise Outage(f"{self._output.parent}: has vanished")
        with atomic_path(self._output) as temporary:
            write_gathered(
                temporary,
                image_ids,
                stores,
                source,
                row,
                made,
                files=files,
                fill_files=True,
                read_back=read_back,
                progress=self._rows,
            )
            sync(temporary)
            joined = open_own(temporary)
            found = read_back.finish(joined.image_id, joined.valid, joined.error)
            if found != joined.attributes.get("content_sha256"):
                raise Damaged(f"{self._output}: reads back differently")
            if self._abandoned:
                raise CancelledError
        return replace(joined, path=self._output)

    def _shard(self, number: int) -> FeatureStore:
        """A shard, waited for where it is still being made. Raises CancelledError where that is given up."""
        if self._abandoned:
            raise CancelledError
        if number in self._made:
            # Not read again: whoever wrote it has compared it with what was to be written.
            return self._made[number].result()
        return read_own(folder_of(self._output) / self._shards[number].name)


class _Arriving:
    """The shards by number, and behind them what is kept of earlier runs.

    Each is waited for when it is asked for. The last one is held, as the next rows may be of it, too.
    """

    def __init__(self, shard: Callable[[int], FeatureStore], count: int, kept: FeatureStore | None) -> None:
        self._shard, self._count, self._kept = shard, count, kept
        self._number, self._held = 0, shard(0)
        self._kind = kind_of(self._held)
        self._refuse_unlike()

    def __getitem__(self, number: int) -> FeatureStore:
        if number == self._count and self._kept is not None:
            return self._kept
        if number != self._number:
            self._number, self._held = number, self._shard(number)
            self._refuse_unlike()
        return self._held

    def _refuse_unlike(self) -> None:
        if kind_of(self._held) != self._kind or (
            self._kept is not None and differences(self._kept.provenance, self._held.provenance)
        ):
            raise Mismatch(f"{self._held.path}: is of another run")


class _Rows(Progress):
    """Counts the rows that are written."""

    def __init__(self) -> None:
        self.written = 0

    def advance(self, count: int = 1) -> None:
        self.written += count
