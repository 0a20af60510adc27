"""Tag lists: what people said is in an image, most important first.

CSV, UTF-8, columns ``image_id,tags`` and optionally ``split`` and ``person`` (others are ignored).
``tags`` holds tags joined by ``|``, or a list as Python writes it (see
``ranktag.tags.cells``). Several rows with one ``image_id`` are several people's lists.
Tags are stripped and put in Unicode normal form C, so that tags that look alike are alike.

As a DataFrame, tag lists have the same columns (``TagLists.to_frame``, ``TagLists.from_frame``).
"""

from __future__ import annotations

import functools
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ranktag.errors import RanktagError, no_image_id
from ranktag.files.tables import read_header, read_table, write_table
from ranktag.tags.cells import BadCell, has_other_meaning, is_list_cell, tags_of_cell
from ranktag.tags.frames import FRAME, cell_text, frame_rows, is_missing
from ranktag.tags.splits import SPLITS

if TYPE_CHECKING:
    import pandas as pd

SEPARATOR = "|"
PERSON = "person"
# The column by which a wide file of predictions is known (see ``ranktag.tags.predictions``).
PROBABILITIES = "probabilities"

# One person's tags, most important first.
TagList = tuple[str, ...]


@dataclass(frozen=True)
class TagLists:
    """Every person's list for every image.

    lists: image id -> its people's lists, in file order; tags within a list are unique.
    split: image id -> 'train', 'val' or 'test'; None if the file has no such column.
    people: image id -> who wrote each of its lists, '' where nobody is named; None if the file has no such column.
    """

    lists: Mapping[str, Sequence[TagList]]
    split: Mapping[str, str] | None = None
    people: Mapping[str, Sequence[str]] | None = None

    def renamed(self, names: Mapping[str, str]) -> TagLists:
        """The same lists; images that have a name in ``names`` are called so."""
        if not names:
            return self
        split = None if self.split is None else {names.get(i, i): part for i, part in self.split.items()}
        people = None if self.people is None else {names.get(i, i): who for i, who in self.people.items()}
        return TagLists({names.get(i, i): people for i, people in self.lists.items()}, split, people)

    def to_frame(self) -> pd.DataFrame:
        """A pandas DataFrame, a row a person's list: image_id, split and person (if they are known), and tags.

        tags holds tuples of text, most important first. ``frame.explode("tags")`` makes a
        row a tag of it.
        """
        import pandas as pd

        lists = [(image_id, tags) for image_id, people in self.lists.items() for tags in people]
        columns: dict[str, Sequence[Any]] = {"image_id": [image_id for image_id, _ in lists]}
        if self.split is not None:
            columns["split"] = [self.split[image_id] for image_id, _ in lists]
        if self.people is not None:
            columns["person"] = [person for image_id in self.lists for person in self.people[image_id]]
        return pd.DataFrame(columns | {"tags": pd.Series([tags for _, tags in lists], dtype=object)})

    @classmethod
    def from_frame(cls, frame: pd.DataFrame) -> TagLists:
        """Tag lists from a pandas DataFrame, a row a list: the columns image_id, tags and, if known, split and person.

        tags: joined by ``|``, or lists of text, most important first; a missing cell is
        an empty list. Raises RanktagError for what ``read_tag_lists`` refuses, and for an
        image id or a tag that is no text.
        """
        rows = (
            (where, image_id, _tags_of_cell(where, tags), cell_text(split), cell_text(person))
            for where, (image_id, tags, split, person) in frame_rows(frame, ("image_id", "tags"), ("split", PERSON))
        )
        has_people = PERSON in frame.columns
        return _collect(FRAME, rows, "expected rows with the columns image_id and tags", has_people=has_people)


# The same few tags come again and again.
@functools.lru_cache(maxsize=2**16)
def clean_tag(tag: str) -> str:
    """``tag`` stripped and in normal form C."""
    return unicodedata.normalize("NFC", tag).strip()


def unique_tags(tags: Iterable[str]) -> TagList:
    """Tags cleaned, empty ones left out; repeated ones keep their first place."""
    return tuple(dict.fromkeys(filter(None, map(clean_tag, tags))))


def read_tag_lists(path: str | Path) -> TagLists:
    """Read a tag-list file.

    Raises RanktagError for an unreadable table (see ``ranktag.files.tables``), an empty
    image id, a split that is not train, val or test, or an image in two splits.
    """
    path = Path(path)
    # The split in a wide file of predictions is that of the model which made it, and may be empty in places.
    header = read_header(path)
    predicted = PROBABILITIES in header
    separators = Separators()

    def table() -> Iterator[tuple[int, list[str]]]:
        for line, cells in read_table(path, ("image_id", "tags"), ("split", PERSON)):
            separators.count(cells[1])
            yield line, cells

    table_rows = table()
    rows = (
        (
            line,
            image_id,
            tags.split(SEPARATOR) if predicted else _read_cell(path, line, tags),
            "" if predicted else split,
            person,
        )
        for line, (image_id, tags, split, person) in table_rows
    )
    expected, has_people = "expected rows of image_id,tags below the header", PERSON in header
    try:
        lists = _collect(str(path), rows, expected, has_people=has_people)
    except RanktagError:
        # Another separator explains whatever else is wrong.
        for _ in table_rows:
            pass
        if not predicted:
            separators.refuse_other(path)
        raise
    if not predicted:
        separators.refuse_other(path)
    return lists


def _read_cell(path: Path, line: int, cell: str) -> list[str]:
    try:
        return tags_of_cell(cell, SEPARATOR)
    except BadCell as error:
        raise RanktagError(f"{path}: line {line} {error}; mend it there, or empty the cell") from None


def refuse_other_separator(path: Path, cells: Iterable[str], separator: str = SEPARATOR) -> None:
    """Raise RanktagError if no cell holds the separator and most hold another one: each would be one long tag.

    A tag that holds a comma is known by the ``|`` behind it.
    """
    separators = Separators(separator)
    for cell in cells:
        separators.count(cell)
    separators.refuse_other(path)


class Separators:
    """How many cells of tags hold what could stand between tags. separator: what should."""

    def __init__(self, separator: str = SEPARATOR) -> None:
        self._separator, self._signs = separator, {separator, *",;|"}
        self._counts: Counter[str] = Counter()

    def count(self, cell: str) -> None:
        """Look at one more cell."""
        # A cell that holds the right one settles it. A list as Python writes it has its own commas.
        if not self._counts[self._separator] and not is_list_cell(cell):
            self._counts["all"] += bool(cell.strip())
            for sign in self._signs:
                if sign in cell:
                    self._counts[sign] += 1

    def refuse_other(self, path: Path) -> None:
        """Raise RanktagError if most cells hold another separator, and none the right one."""
        counts, separator = self._counts, self._separator
        sign = max({",", ";", SEPARATOR} - {separator}, key=lambda sign: (counts[sign], sign))
        if not counts[separator] and 2 * counts[sign] > counts["all"]:
            written = sign if sign == "," else f"'{sign}'"
            raise RanktagError(
                f"{path}: {counts[sign]} of {counts['all']} rows with tags hold '{sign}' and no '{separator}', so each "
                f"would be one long tag; convert it: ranktag prepare csv {path} --tag-separator {written} -o NEW.csv "
                f"(a tag that does hold '{sign}' is written with a '{separator}' behind it)"
            )


def _collect(
    source: str, rows: Iterable[tuple[int | str, str, Iterable[str], str, str]], expected: str, *, has_people: bool
) -> TagLists:
    """Tag lists from rows of (where, image id, tags, split, person).

    source, where (the number of a line, or 'row 3') and expected are for errors.
    """
    splits = {split: split for split in ("", *SPLITS)}
    lists: dict[str, list[TagList]] = {}
    people: dict[str, list[str]] = {}
    split: dict[str, str] = {}
    # Where each image stands first.
    places: list[int | str] = []
    for where, image_id, tags, cell, person in rows:
        if not image_id:
            raise no_image_id(source, _said(where))
        if image_id in lists:
            lists[image_id].append(unique_tags(tags))
        else:
            lists[image_id] = [unique_tags(tags)]
            places.append(where)
        if has_people:
            people.setdefault(image_id, []).append(clean_tag(person))
        part = splits.get(cell.strip())
        if part is None:
            raise RanktagError(
                f"{source}: {_said(where)}: split '{cell.strip()}' is not one of {', '.join(SPLITS)}; mend it there"
            )
        if (known := split.setdefault(image_id, part)) != part:
            first = _said(places[list(lists).index(image_id)])
            raise RanktagError(
                f"{source}: '{image_id}' is in split '{known}' on {first} and in '{part}' on {_said(where)}; "
                "an image belongs to one split"
            )
    if not lists:
        raise RanktagError(f"{source}: holds no tag list; {expected}")
    of_people = people if has_people else None
    without = next((place for place, part in zip(places, split.values()) if not part), None)
    if without is None:
        return TagLists(lists, split, of_people)
    if any(split.values()):
        raise RanktagError(f"{source}: {_said(without)} has no split; give every row one, or none")
    return TagLists(lists, None, of_people)


def _said(where: int | str) -> str:
    return f"line {where}" if isinstance(where, int) else where


def _tags_of_cell(where: str, cell: Any) -> list[str]:
    """The tags of a DataFrame's cell: text joined by ``|``, or a list of text."""
    if is_missing(cell):
        return []
    if isinstance(cell, str):
        try:
            return tags_of_cell(cell, SEPARATOR)
        except BadCell as error:
            raise RanktagError(f"{FRAME}: {where} {error}") from None
    tags = list(cell) if isinstance(cell, Iterable) else [cell]
    for tag in tags:
        if not isinstance(tag, str):
            raise RanktagError(f"{FRAME}: {where}: tag {tag!r} is not text; give tags joined by '|', or lists of text")
        if SEPARATOR in tag:
            raise RanktagError(f"{FRAME}: {where}: tag '{tag}' holds '{SEPARATOR}', which separates tags; rename it")
    return tags


def write_tag_lists(path: str | Path, tag_lists: TagLists) -> None:
    """Write a tag-list file, one row a person's list. Raises RanktagError for a tag that holds ``|``."""
    split, people = tag_lists.split, tag_lists.people

    def row(image_id: str, number: int, tags: TagList) -> list[str]:
        of_image = [] if split is None else [split[image_id]]
        of_list = [] if people is None else [people[image_id][number]]
        return [image_id, *of_image, *of_list, _cell(tags)]

    write_table(
        path,
        ("image_id", *(() if split is None else ("split",)), *(() if people is None else (PERSON,)), "tags"),
        (row(i, number, tags) for i, several in tag_lists.lists.items() for number, tags in enumerate(several)),
    )


def _cell(tags: TagList) -> str:
    """Tags joined by ``|``; what could be taken for several tags, or for none, has one behind it."""
    cell = join_tags(tags)
    alone = len(tags) == 1 and ("," in cell or ";" in cell)
    return cell + (SEPARATOR if alone or has_other_meaning(cell) else "")


def join_tags(tags: Iterable[str]) -> str:
    """Tags joined by ``|``. Raises RanktagError for a tag that holds ``|``."""
    tags = tuple(tags)
    for tag in tags:
        if SEPARATOR in tag:
            raise RanktagError(f"tag '{tag}' holds '{SEPARATOR}', which separates tags; rename it")
    return SEPARATOR.join(tags)
