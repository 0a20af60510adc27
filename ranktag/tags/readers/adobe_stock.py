"""Adobe Stock's table of files (CSV): keywords in order of importance.

SOURCE is a table as the contributor portal takes it, with the columns Filename and
Keywords (Title, Category and others are not read).

Agencies weigh the first ten keywords, so people put them in order: the tags of an
image are its keywords as they stand, separated by commas.

image_id is Filename. The portal knows files by name only: rows of one name whose
keywords differ are skipped, for they may be different photos. --images PHOTOS
--match name finds the photos in folders.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ranktag.errors import RanktagError
from ranktag.files.tables import read_header, read_table
from ranktag.tags.annotations.builder import TagListBuilder
from ranktag.tags.annotations.files import BrokenFile
from ranktag.tags.annotations.image_names import image_path
from ranktag.tags.annotations.rows import Rows
from ranktag.tags.annotations.settings import ReaderConfig
from ranktag.tags.cells import BadCell, checked_image_id, tags_of_cell
from ranktag.tags.lists import refuse_other_separator

SEPARATOR = ","


@dataclass(frozen=True)
class AdobeStockConfig(ReaderConfig):
    """Settings of tag lists from Adobe Stock's tables."""


def read(source: Path, config: AdobeStockConfig) -> TagListBuilder:
    """Tag lists of Adobe Stock's table, one a file. A file without keywords is an image without tags.

    Raises RanktagError: an unreadable table, another form, mostly bad rows, no keyword.
    """
    source = Path(source)
    builder = TagListBuilder(config.prefix)
    rows = Rows(source, builder)
    columns = _columns(source)
    table = list(rows.over(read_table(source, columns, bad=rows.skip)))
    refuse_other_separator(source, (keywords for _, (_, keywords) in table), SEPARATOR)
    # Image -> the lines that are of it, with their keywords.
    found: dict[str, list[tuple[int, list[str]]]] = {}
    for line, (name, keywords) in table:
        try:
            image_id = image_path(checked_image_id(name))
            found.setdefault(image_id, []).append((line, tags_of_cell(keywords, SEPARATOR)))
        except (BadCell, BrokenFile) as error:
            rows.skip(line, error)
    for image_id, given in found.items():
        first, tags = given[0]
        if any(other != tags for _, other in given):
            for line, _ in given:
                rows.skip(line, f"is of '{image_id}', as another whose keywords differ; keep one, or rename the photo")
            continue
        builder.drop("rows that are there twice", len(given) - 1)
        try:
            builder.add(image_id, tags)
        except BrokenFile as error:
            rows.skip(first, error)
    rows.refuse_mostly_bad()
    return builder.checked(source, "keyword")


def _columns(source: Path) -> list[str]:
    """The columns of names and keywords, as this file writes them. Raises RanktagError if one is missing."""
    header = read_header(source)
    columns = []
    for wanted in ("filename", "keywords"):
        alike = [name for name in header if name.lower().replace(" ", "") == wanted]
        if not alike:
            raise RanktagError(
                f"{source}: has no column {wanted.capitalize()}, as Adobe Stock's tables have; those there are "
                f"{', '.join(map(repr, header[:20])) or 'none'}; read it with ranktag prepare csv, and name them there"
            )
        columns.append(alike[0])
    return columns
