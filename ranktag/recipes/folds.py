"""Cross-validation: images dealt into folds, each predicted by models that were trained on the others."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from ranktag.errors import Usage
from ranktag.files.atomic import atomic_path
from ranktag.tags.lists import TagLists
from ranktag.tags.splits import shuffled

HELD_OUT = 0.1


def dealt(lists: TagLists, folds: int) -> Iterator[TagLists]:
    """The same lists, once a fold: its images are 'test', a seeded tenth of all others is 'val', the rest 'train'.

    Raises RanktagError for fewer images than that needs.
    """
    if len(lists.lists) < max(4, folds):
        raise Usage(f"--folds {folds}: there are only {len(lists.lists)} images; give fewer folds")
    order = shuffled(lists.lists, 0)
    for number in range(folds):
        test = order[number::folds]
        others = shuffled(set(order) - set(test), number + 1)
        split = dict.fromkeys(others, "train") | dict.fromkeys(test, "test")
        split |= dict.fromkeys(others[: max(1, round(HELD_OUT * len(others)))], "val")
        yield replace(lists, split=split)


def joined(
    output: Path, folders: Sequence[Path], files: Sequence[Mapping[str, Sequence[Path]]]
) -> dict[str, list[Path]]:
    """The folds' files of each row as one, in ``output`` where they lie in their folders.

    files: label -> files, of each fold; the columns of all files of a row are the same.
    """
    whole: dict[Path, list[Path]] = {}
    rows: dict[str, list[Path]] = {}
    for of_fold in files:
        for label, several in of_fold.items():
            for file in several:
                folder = next(folder for folder in folders if file.is_relative_to(folder))
                to = output / file.relative_to(folder)
                if to not in whole:
                    rows.setdefault(label, []).append(to)
                whole.setdefault(to, []).append(file)
    for to, parts in whole.items():
        to.parent.mkdir(parents=True, exist_ok=True)
        with atomic_path(to) as temporary, temporary.open("wb") as out:
            for number, part in enumerate(parts):
                header, body = part.read_bytes().split(b"\n", 1)
                out.write(body if number else header + b"\n" + body)
    return rows
