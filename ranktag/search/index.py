"""An index of predictions: which images list a tag, at which rank, with which probability.

It is kept beside the predictions as ``.NAME.search.npz`` and used as long as the size, the time of
change and the time of the last change of any kind (ctime) of the predictions' file are what they
were when it was read; else it is made anew. It appears whole or not at all, and its members carry
check sums: a damaged one is made anew, too. Where it cannot be written, the search goes on without.
"""

from __future__ import annotations

import os
import stat
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ranktag.files.atomic import atomic_path
from ranktag.progress import Progress
from ranktag.tags.predictions import RankedTag, read_predictions
from ranktag.tags.spelling import Spelling, folded

FORMAT_VERSION = 1

# Bytes of predictions that take more than a second or two to read.
TAKES_A_WHILE = 20_000_000

Integers = npt.NDArray[np.int32]


@dataclass(frozen=True)
class Texts:
    """Many texts, one after the other in one array, of which few are looked at.

    data: their UTF-8 bytes. starts: (count + 1,) where each begins.
    """

    data: npt.NDArray[np.uint8]
    starts: npt.NDArray[np.int64]

    @classmethod
    def of(cls, texts: Sequence[str]) -> Texts:
        """These texts."""
        encoded = [text.encode("utf-8", "surrogatepass") for text in texts]
        starts = np.zeros(len(encoded) + 1, np.int64)
        np.cumsum([len(one) for one in encoded], out=starts[1:])
        return cls(np.frombuffer(b"".join(encoded), np.uint8), starts)

    def __len__(self) -> int:
        return len(self.starts) - 1

    def __getitem__(self, number: int) -> str:
        return self.data[self.starts[number] : self.starts[number + 1]].tobytes().decode("utf-8", "surrogatepass")


@dataclass(frozen=True)
class Listed:
    """The images that list a tag: their numbers, ascending, the tag's rank in each from 1, and its probability.

    images, ranks: (n,) int32. probabilities: (n,) float32, nan where unknown.
    """

    images: Integers
    ranks: Integers
    probabilities: npt.NDArray[np.float32]


@dataclass(frozen=True)
class TagIndex:
    """Images by tag. Numbers of images are places in the file, tags stand in order of how often they occur.

    ids: of the images. tags: as they are spelt most often; spellings that differ only in letter case,
    spaces or Unicode form are one tag. starts: (V + 1,) where each tag's images begin in ``listed``.
    """

    ids: Texts
    tags: Texts
    starts: npt.NDArray[np.int64]
    listed: Listed

    @classmethod
    def of(cls, predictions: Mapping[str, Sequence[RankedTag]]) -> TagIndex:
        """The index of some predictions. Of a repeated tag the first place counts."""
        counts: Counter[str] = Counter(tag for tags in predictions.values() for tag, _ in tags)
        spelling = Spelling(counts)
        number_of: dict[str, int] = {}
        spelt = {tag: number_of.setdefault(spelling.spell(tag), len(number_of)) for tag in counts}
        images, ranks, found, probabilities = [], [], [], []
        for image, tags in enumerate(predictions.values()):
            seen = set()
            for rank, (tag, probability) in enumerate(tags, 1):
                number = spelt[tag]
                if number not in seen:
                    seen.add(number)
                    images.append(image)
                    ranks.append(rank)
                    found.append(number)
                    probabilities.append(probability)
        return cls._sorted(
            Texts.of(list(predictions)),
            list(number_of),
            np.asarray(found, np.int64),
            Listed(np.asarray(images, np.int32), np.asarray(ranks, np.int32), np.asarray(probabilities, np.float32)),
        )

    @classmethod
    def _sorted(cls, ids: Texts, tags: Sequence[str], found: npt.NDArray[np.int64], listed: Listed) -> TagIndex:
        """found: (P,) the tag of each entry, by its number in ``tags``. Entries of one tag keep their order."""
        counts = np.bincount(found, minlength=len(tags))
        order = sorted(range(len(tags)), key=lambda number: (-counts[number], tags[number]))
        place = np.empty(len(tags), np.int64)
        place[order] = np.arange(len(tags))
        by_tag = np.argsort(place[found], kind="stable")
        starts = np.zeros(len(tags) + 1, np.int64)
        np.cumsum(counts[order], out=starts[1:])
        return cls(
            ids,
            Texts.of([tags[number] for number in order]),
            starts,
            Listed(listed.images[by_tag], listed.ranks[by_tag], listed.probabilities[by_tag]),
        )

    def __len__(self) -> int:
        """How many images there are."""
        return len(self.ids)

    @cached_property
    def numbers(self) -> dict[str, int]:
        """Folded tag -> its number."""
        return {folded(self.tags[number]): number for number in range(len(self.tags))}

    def of_tag(self, number: int) -> Listed:
        """The images that list a tag."""
        part = slice(self.starts[number], self.starts[number + 1])
        return Listed(self.listed.images[part], self.listed.ranks[part], self.listed.probabilities[part])


def open_index(path: Path, progress: Progress | None = None) -> TagIndex:
    """The index of a prediction file: the one kept beside it if that still holds, else made now, and kept.

    Raises RanktagError for a file that cannot be read (see ``ranktag.tags.predictions``).
    """
    progress = progress or Progress()
    kept = path.with_name(f".{path.name}.search.npz")
    state = _state(path)
    if state and (index := _load(kept, state)) is not None:
        return index
    if state and state[1] > TAKES_A_WHILE:
        progress.note(f"Reading all of {path}: it is the first search in it, or the first since it changed")
    index = TagIndex.of(read_predictions(path))
    # A file that was written to while it was read is read again the next time.
    if state and _state(path) == state:
        try:
            _save(kept, index, state)
        except OSError as error:
            progress.note(f"{kept}: cannot be written ({error.strerror}); the next search has to read {path} again")
    return index


def _state(path: Path) -> list[int]:
    """What changes if the file does: its size, its time of change and that of its entry; [] if it is no file."""
    try:
        found = os.stat(path)
    except OSError:
        return []
    if not stat.S_ISREG(found.st_mode):
        return []
    return [FORMAT_VERSION, found.st_size, found.st_mtime_ns, found.st_ctime_ns]


def _load(kept: Path, state: Sequence[int]) -> TagIndex | None:
    """The kept index; None if there is none of a file in that state, or a damaged one."""
    try:
        with np.load(kept, allow_pickle=False) as arrays:
            if arrays["state"].tolist() != list(state):
                return None
            return TagIndex(
                Texts(arrays["ids"], arrays["id_starts"]),
                Texts(arrays["tags"], arrays["tag_starts"]),
                arrays["starts"],
                Listed(arrays["images"], arrays["ranks"], arrays["probabilities"]),
            )
    except Exception:  # noqa: BLE001 (damaged zip files raise anything; the index is made anew)
        return None


def _save(kept: Path, index: TagIndex, state: Sequence[int]) -> None:
    with atomic_path(kept) as temporary, open(temporary, "wb") as file:
        np.savez(
            file,
            state=np.asarray(state, np.int64),
            ids=index.ids.data,
            id_starts=index.ids.starts,
            tags=index.tags.data,
            tag_starts=index.tags.starts,
            starts=index.starts,
            images=index.listed.images,
            ranks=index.listed.ranks,
            probabilities=index.listed.probabilities,
        )
