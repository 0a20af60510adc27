"""Tables that Adobe Stock's contributor portal takes, adobe-stock-001.csv, ..."""

from __future__ import annotations

import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from ranktag.config import Config, setting
from ranktag.errors import RanktagError
from ranktag.files.tables import guard_formula, read_table, write_rows
from ranktag.tags.outputs import Output, name_of
from ranktag.tags.predictions import PredictedImage
from ranktag.wording import count

FILES = ("adobe-stock-*.csv",)
HEADER = ("Filename", "Title", "Keywords", "Category")
# What the portal takes (helpx.adobe.com, "CSV requirements for Adobe Stock", June 2026): characters of a file's
# name and of a title, keywords of a file, the numbers of the categories, rows and bytes of a table.
NAME, TITLE, KEYWORDS, CATEGORIES, ROWS, BYTES = 30, 70, 50, 21, 5_000, 1_000_000


@dataclass(frozen=True)
class StockConfig(Config):
    """Settings of the tables."""

    titles: Path | None = setting(
        None,
        "titles of photos: a CSV with the columns image_id, title and, if you like, category",
        when_none="as many of the first tags as fit",
    )
    category: int | None = setting(
        None,
        "Adobe Stock's number of the category of all photos for which --titles names none",
        unit="number",
        low=1,
        high=CATEGORIES,
        when_none="left empty",
    )


class Title(NamedTuple):
    """What a person says of a photo. category: the number's text, '' if none is given."""

    title: str
    category: str


def check(config: StockConfig) -> None:
    """Raise RanktagError for a file of titles that cannot be read."""
    if config.titles is not None:
        _read_titles(config.titles)


def write_folder(images: Iterable[PredictedImage], folder: Path, output: Output, config: StockConfig) -> None:
    """The first 50 tags of each photo, in order of rank, in as many tables as the portal's limits ask for.

    An image that the portal would refuse is a failure: the name, a title or a keyword does not fit.
    """
    titles = {} if config.titles is None else _read_titles(config.titles)
    unused, longer = dict.fromkeys(titles), 0
    named: dict[str, str] = {}
    tables = _Tables(folder)
    for image in images:
        unused.pop(image.image_id, None)
        with output.image(image):
            row = _row(image, titles.get(image.image_id), "" if config.category is None else str(config.category))
            if named.setdefault(row[0], image.image_id) != image.image_id:
                raise RanktagError(
                    f"'{named[row[0]]}' is called {row[0]} too, and Adobe Stock knows files by name only"
                )
            tables.add(row)
            longer += len(image.tags) > KEYWORDS
    tables.finish()
    if unused:
        output.notes.append(
            f"{config.titles}: {len(unused)} of its {len(titles)} images are not among those tagged "
            f"('{next(iter(unused))}' first)"
        )
    if longer:
        output.notes.append(
            f"of {count(longer, 'image')} only the first {KEYWORDS} tags are written, as Adobe Stock takes them"
        )


class _Tables:
    """Rows, in files that are each as long as may be."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._files = folder, 0
        self._begin()

    def _begin(self) -> None:
        self._lines, self._bytes = [_line(HEADER)], len(_line(HEADER))

    def add(self, row: Sequence[str]) -> None:
        """Write a row, to the next file if this one is full."""
        line = _line(row)
        if len(self._lines) > ROWS or self._bytes + len(line) > BYTES:
            self.finish()
            self._begin()
        self._lines.append(line)
        self._bytes += len(line)

    def finish(self) -> None:
        """Write the file that was begun."""
        self._files += 1
        (self._folder / f"adobe-stock-{self._files:03}.csv").write_bytes(b"".join(self._lines))


def _line(cells: Sequence[str]) -> bytes:
    file = io.StringIO(newline="")
    write_rows(file, [cells])
    return file.getvalue().encode()


def _row(image: PredictedImage, given: Title | None, category: str) -> tuple[str, str, str, str]:
    """A row of the table. Raises RanktagError for what the portal does not take."""
    name = name_of(image).replace("\\", "/").rsplit("/", 1)[-1]
    tags = [tag for tag, _ in image.tags][:KEYWORDS]
    if len(name) > NAME:
        raise RanktagError(f"its name '{name}' has {len(name)} characters, Adobe Stock takes {NAME}; rename the photo")
    if guard_formula(name) != name:
        raise RanktagError(f"its name '{name}' begins as a spreadsheet's formula does; rename the photo")
    if not tags:
        raise RanktagError("has no tags, and Adobe Stock takes no photo without keywords")
    strange = next((tag for tag in tags if "," in tag or not tag.isprintable()), None)
    if strange is not None:
        raise RanktagError(f"its tag '{strange}' would be read as two; give it another name with --replace")
    title, own = given or Title(_title(tags), "")
    if "," in title or not title.isprintable():
        raise RanktagError(f"its title '{title}' holds a comma or a line end, Adobe Stock takes none; mend it")
    if len(title) > TITLE:
        raise RanktagError(f"its title '{title}' has {len(title)} characters, Adobe Stock takes {TITLE}; shorten it")
    return name, title, ",".join(tags), own or category


def _title(tags: Sequence[str]) -> str:
    """As many of the first tags as fit, with spaces between them; of a first one that does not, its beginning."""
    title = tags[0][:TITLE]
    for tag in tags[1:]:
        if len(title) + 1 + len(tag) > TITLE:
            break
        title += " " + tag
    return title


def _read_titles(path: Path) -> dict[str, Title]:
    """Image id -> what a person says of it. Raises RanktagError for a second title and a category that is none."""
    found: dict[str, Title] = {}
    for line, (image_id, title, category) in read_table(path, ("image_id", "title"), ("category",)):
        known = not category or (category.isascii() and category.isdigit() and 1 <= int(category) <= CATEGORIES)
        if not known:
            raise RanktagError(
                f"{path}: line {line}: category '{category[:20]}' is no number from 1 to {CATEGORIES}; "
                "take Adobe Stock's, or leave it empty"
            )
        if not title:
            raise RanktagError(f"{path}: line {line} has no title; fill it in or remove the line")
        if image_id in found:
            raise RanktagError(f"{path}: line {line} is a second one of '{image_id}'; keep one")
        found[image_id] = Title(title, category)
    return found
