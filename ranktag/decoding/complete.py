"""A feature cache, trained models and people's lists in; out, how the models go on with every list that is begun.

What ``ranktag evaluate --given K`` scores: every person's list that is longer than K is begun with its first K tags.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ranktag.compute.allocator import kept_memory
from ranktag.config import DecodingConfig
from ranktag.decoding.decode import ranked_rows
from ranktag.decoding.given import Encoder, join_ids
from ranktag.decoding.inputs import open_models, rows_to_decode, seen
from ranktag.decoding.person import notes_on_person
from ranktag.errors import Usage
from ranktag.feature_cache.together import Caches
from ranktag.files.atomic import refuse_existing
from ranktag.progress import Progress
from ranktag.tags.completions import Completed, Completions, begun_with, write_completions
from ranktag.tags.lists import TagList, TagLists, read_tag_lists


@dataclass(frozen=True)
class CompletionReport:
    """What ``complete`` wrote.

    output: the file. images, lists: of how many images, and how many different beginnings. completions: image id ->
    the tags given -> (tag, probability) in order of rank. missing: id -> why, of begun lists whose image has no
    feature. notes: one sentence for everything that a person should know of.
    """

    output: Path
    images: int
    lists: int
    completions: Completions
    missing: Mapping[str, str]
    notes: Sequence[str]


def complete(
    cache: Caches,
    run: str | Path | Sequence[str | Path],
    tags: str | Path | TagLists,
    first: int,
    output: str | Path,
    config: DecodingConfig = DecodingConfig(),
    *,
    split: str | None = None,
    overwrite: bool = False,
    force: bool = False,
    progress: Progress | None = None,
) -> CompletionReport:
    """Write how models go on after the ``first`` tags of every person's list that is longer.

    cache, run, split, force, progress: as in ``ranktag.decode``. tags: a tag-list file, or the lists.

    Raises RanktagError as ``ranktag.decode`` does, and if no list is longer.
    """
    output = Path(output)
    refuse_existing(output, overwrite)
    runs, checkpoints, store = open_models(cache, run, force)
    about_person = notes_on_person(config.person, checkpoints, runs)
    lists = tags if isinstance(tags, TagLists) else read_tag_lists(tags)
    name = "the tag lists" if isinstance(tags, TagLists) else str(tags)
    begun = {image_id: beginnings(people, first) for image_id, people in lists.lists.items()}
    begun = {image_id: several for image_id, several in begun.items() if several}
    if not begun:
        raise Usage(f"{name}: no list has more than {first} tags; give fewer of them")
    here, missing, notes = join_ids(begun, store, name)
    rows = [
        row for row in rows_to_decode(store, checkpoints[0], split, runs[0]).tolist() if store.image_id[row] in here
    ]
    items = [(row, store.image_id[row], given) for row in rows for given in here[store.image_id[row]]]
    if not items:
        raise Usage(
            f"{name}: no list of more than {first} tags is of an image that is to be decoded; give fewer of them"
        )
    rows, begins = [row for row, _, _ in items], [given for *_, given in items]
    with kept_memory():
        ranked = list(ranked_rows(store, np.array(rows), checkpoints, config, progress, begins))
    completed: Completed = {}
    for (_, image_id, given), following in zip(items, ranked):
        completed.setdefault(image_id, {})[given] = following
    completions = Completions(completed, seen(checkpoints, list(completed)))
    write_completions(output, completions)
    notes += about_person
    notes += Encoder.of(checkpoints[0]).notes(given for *_, given in items)
    return CompletionReport(output, len(completed), len(items), completions, missing, notes)


def beginnings(people: Sequence[TagList], first: int) -> list[TagList]:
    """The different beginnings, ``first`` tags long, of the lists that are longer."""
    found = (begun_with(tags, first) for tags in people)
    return list(dict.fromkeys(given for given in found if given is not None))
