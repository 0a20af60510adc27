"""Tag lists in the making, and the account of what was left out of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path

from ranktag.errors import RanktagError
from ranktag.progress import Progress
from ranktag.tags.annotations.account import Account
from ranktag.tags.annotations.claims import Claims
from ranktag.tags.annotations.files import BrokenFile
from ranktag.tags.lists import SEPARATOR, TagList, TagLists, unique_tags, write_tag_lists

REPEATS = "repeats of a tag in its list"
# Who is told of every list that is added: a reader need not know.
TOLD: ContextVar[Progress] = ContextVar("TOLD", default=Progress())  # noqa: B039 - it holds nothing


@dataclass
class TagListBuilder(Account):
    """Tag lists in the making: a reader adds people's lists one by one, and says what it leaves out.

    prefix: put before every image id; None puts nothing. lists: image id -> its people's lists. split: image id ->
    split, for the images that have one. people: image id -> who made each of its lists, '' where that is not known.
    claims: of the lists that one file alone may be the source of.
    """

    prefix: str | None = None
    lists: dict[str, list[TagList]] = field(default_factory=dict)
    split: dict[str, str] = field(default_factory=dict)
    people: dict[str, list[str]] = field(default_factory=dict)
    claims: Claims = field(default_factory=Claims)

    def add(
        self,
        image_id: str,
        tags: Iterable[str],
        split: str | None = None,
        *,
        file: str | None = None,
        scope: str = "",
        person: str = "",
    ) -> None:
        """Add one person's list, most important tag first; several lists of an image are several people's.

        split: 'train', 'val' or 'test'. ``|`` in a tag, which separates tags in the file, becomes ``/``.
        file: where the list is from, if one file alone may say what the image shows. Of several such files
        that which has the image's name is kept, and the others are skipped, by name; without such a one all
        are. They are never merged. scope: the folder, say, within which one file alone may. person: who made
        the list, for the column person.

        Raises BrokenFile for text that a CSV file cannot hold and RanktagError for an
        image in two splits.
        """
        TOLD.get().advance()
        tags = list(tags)
        for text in (image_id, *tags):
            if "\0" in text or any("\ud800" <= c <= "\udfff" for c in text):
                raise BrokenFile(f"holds a character that text files cannot hold, in {text[:60]!a}")
        if not image_id:
            raise BrokenFile("names no image")
        image_id = (self.prefix or "") + image_id
        for tag in tags:
            if SEPARATOR in tag:
                self.note(f"'{SEPARATOR}' in a tag became '/'", tag)
        named = [tag.replace(SEPARATOR, "/") for tag in tags if tag.strip()]
        kept = unique_tags(named)
        self.drop("empty tags", len(tags) - len(named))
        self.drop(REPEATS, len(named) - len(kept))
        people = self.lists.setdefault(image_id, [])
        people.append(kept)
        self.people.setdefault(image_id, []).append(person)
        if file is not None:
            self.claims.add(image_id, scope, file, len(people) - 1)
        if split is not None and self.split.setdefault(image_id, split) != split:
            raise RanktagError(
                f"'{image_id}' is in '{self.split[image_id]}' and in '{split}'; an image belongs to one split"
            )

    def _settle(self) -> None:
        """Keep one of the files that claim an image, or none (see ``add``)."""
        gone: dict[str, set[int]] = {}
        for image_id, number, file, reason in self.claims.settle():
            self.skip(file, reason)
            gone.setdefault(image_id, set()).add(number)
        for image_id, numbers in gone.items():
            left = [tags for number, tags in enumerate(self.lists[image_id]) if number not in numbers]
            self.lists[image_id] = left
            self.people[image_id] = [w for number, w in enumerate(self.people[image_id]) if number not in numbers]
            if not left:
                del self.lists[image_id], self.people[image_id]
                self.split.pop(image_id, None)

    def drop_rare(self, min_count: int) -> None:
        """Take tags that stand in fewer than ``min_count`` lists out of the lists."""
        self._settle()
        counts = self.counts()
        rare = {tag for tag, count in counts.items() if count < min_count}
        self.drop(
            f"tags that stand in fewer than {min_count} lists ({len(rare)} of {len(counts)} words)",
            sum(counts[tag] for tag in rare),
        )
        if rare:
            self.lists = {
                image: [tuple(t for t in tags if t not in rare) for tags in people]
                for image, people in self.lists.items()
            }

    def counts(self) -> Counter[str]:
        """Tag -> in how many lists it stands."""
        return Counter(tag for people in self.lists.values() for tags in people for tag in tags)

    def checked(self, source: object, wanted: str) -> TagListBuilder:
        """Itself, for a reader to return.

        Raises RanktagError if no list, or no tag, came of ``source``, where ``wanted``
        was looked for, or if some images have a split and others none.
        """
        self._settle()
        if not self.counts():
            raise RanktagError(
                f"{source}: holds no {wanted}{self.mostly}; look there, or name another source or format"
            )
        if self.split and len(self.split) < len(self.lists):
            missing = next(image for image in self.lists if image not in self.split)
            raise RanktagError(f"{source}: '{missing}' is in no split, others are; give every image one, or none")
        return self

    @property
    def tag_lists(self) -> TagLists:
        """The lists as ``ranktag.tags.lists`` knows them."""
        known = any(person for people in self.people.values() for person in people)
        return TagLists(self.lists, self.split or None, self.people if known else None)

    def write(self, path: str | Path) -> None:
        """Write the tag-list file (see ``ranktag.tags.lists``), with the column person if that is known of any list."""
        write_tag_lists(path, self.tag_lists)
