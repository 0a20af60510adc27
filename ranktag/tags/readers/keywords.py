"""Keywords in photos and their sidecars: XMP and IPTC.

SOURCE is a folder of photos, searched as extract-features does; image_id is the
photo's path below it. It needs the extra xmp: pip install 'ranktag[xmp]'.

\b
--field         what
tagslist        digiKam:TagsList, a hierarchy, the only one whose order is kept by its standard
hierarchical    lr:hierarchicalSubject, a hierarchy, of Lightroom and darktable
subject         dc:subject, of every program
iptc            IPTC 2:25, of old programs and of agencies

A photo's keywords are those of photo.jpg.xmp, else of photo.xmp, else of the
photo itself: a program that writes sidecars leaves the photo as it is, so the
sidecar is the newer, and one that names the whole file belongs to it alone (an
Adobe program's photo.xmp may serve photo.jpg and photo.cr2). From the first of
them that has keywords the first field that it has is taken, in the order above.
Where a photo and its sidecar differ it is said.

Whether the lists are in an order is measured: Lightroom and darktable sort
keywords by alphabet. What ranktag wrote into sidecars is no person's list and
is left out unless --whose says otherwise. A photo whose sidecar is damaged is
listed and left out, and so are photos without keywords.
"""

from __future__ import annotations

import os
import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ranktag.config import setting
from ranktag.errors import Outage, RanktagError
from ranktag.files.isolation import Apart, EndedBadly
from ranktag.files.photos import photos_below
from ranktag.metadata.exiv2 import need_exiv2
from ranktag.metadata.fields import FIELDS, Lists, levels
from ranktag.metadata.keywords import Found, read_photo
from ranktag.metadata.ranked import Record, without
from ranktag.metadata.sidecars import Sidecars, serves
from ranktag.tags.annotations.builder import TOLD, TagListBuilder
from ranktag.tags.annotations.files import BrokenFile
from ranktag.tags.annotations.order import Order
from ranktag.tags.annotations.settings import ReaderConfig

# The tops of what programs write for themselves.
PROGRAMS = ("darktable", "_Digikam_Internal_Tags_")


@dataclass(frozen=True)
class KeywordsConfig(ReaderConfig):
    """Settings of tag lists from keywords."""

    field: str | None = setting(
        None, "the field to read", choices=tuple(FIELDS), when_none="of each photo the first that is there"
    )
    levels: str = setting(
        "leaf",
        "what of a hierarchy Animals/Dog is a tag: Dog (leaf), Animals/Dog (path), or Dog and Animals (all)",
        choices=("leaf", "path", "all"),
    )
    whose: str = setting(
        "people",
        "whose keywords: those that ranktag did not write (people), only those that it wrote (ranktag), or all",
        choices=("people", "ranktag", "all"),
    )


@dataclass
class _Reading:
    """Lists on their way into a builder, and what has to be said of them. entries: field -> lists as they stand."""

    config: KeywordsConfig
    builder: TagListBuilder
    entries: dict[str, list[Sequence[str]]] = field(default_factory=lambda: defaultdict(list))


def read(source: Path, config: KeywordsConfig) -> TagListBuilder:
    """Tag lists of the photos below a folder, from the keywords in them and in their sidecars.

    Raises RanktagError: no photo there, no keyword in any, exiv2 not installed; Outage if the
    disk fails.
    """
    need_exiv2()
    source = Path(source)
    if not source.is_dir():
        raise RanktagError(f"{source}: is no folder; name the folder of the photos")
    photos, _ = photos_below(source)
    reading = _Reading(config, TagListBuilder(config.prefix))
    sidecars = Sidecars()
    # All are read before the first is added: that is what takes time, and what is counted.
    found = list(_read_all(source, photos, sidecars))
    for image_id, files in found:
        if isinstance(files, str):
            reading.builder.skip(image_id, files)
        else:
            _add(image_id, files, reading)
    for path in sidecars.unused:
        reading.builder.note("sidecars that belong to no photo", os.path.relpath(path, source))
    builder = reading.builder.checked(source, "keyword" if config.field is None else FIELDS[config.field].title)
    for name in FIELDS:
        if lists := reading.entries[name]:
            builder.facts += Order(lists).sentences(FIELDS[name].title)
    return builder


def _read_all(
    source: Path, photos: Sequence[tuple[str, bytes]], sidecars: Sidecars
) -> Iterator[tuple[str, list[Found] | str]]:
    """(id, what each of its files holds, the first counts most) of every photo; or (id, why it cannot be read)."""
    by_stem: dict[str, list[str]] = defaultdict(list)
    paths = [os.path.join(source, os.fsdecode(path)) for _, path in photos]
    for path in paths:
        by_stem[os.path.splitext(path)[0]].append(path)
    with Apart(read_photo) as apart:
        for (image_id, _), path in TOLD.get().over(list(zip(photos, paths)), "Reading", len(photos), "photos"):
            try:
                files: list[Found] = apart(path, sidecars.of(path))
            except EndedBadly as error:
                if error.killed:
                    raise Outage(f"{path}: reading it was stopped from outside; is there enough memory?") from None
                yield image_id, f"cannot be read: exiv2 {error.how} on it, or on one of its sidecars"
            except OSError as error:
                raise Outage(
                    f"{error.filename or path}: cannot be read ({error.strerror}); is the disk there?"
                ) from None
            else:
                siblings = by_stem[os.path.splitext(path)[0]]
                yield image_id, [found for found in files if serves(found["extension"], path, siblings)]


def _add(image_id: str, files: Sequence[Found], reading: _Reading) -> None:
    """Add a photo's list, if it has one, to the builder."""
    builder, config = reading.builder, reading.config
    for place, found in enumerate(files):
        if found["error"]:
            what = "" if found is files[-1] else f"has a sidecar, {os.path.basename(found['path'])}, that "
            builder.skip(image_id, what + found["error"])
            return
        lists = _of(found, config.whose)
        for name in FIELDS:
            if name not in lists or config.field not in (None, name):
                continue
            entries = _people(name, lists) if config.whose != "ranktag" else lists[name]
            if entries:
                builder.drop(
                    "keywords that a program wrote for itself (darktable|...)", len(lists[name]) - len(entries)
                )
                if any(_differ(name, lists, _of(other, config.whose)) for other in files[place + 1 :]):
                    builder.note("photos that hold other keywords than their sidecars, which were taken", image_id)
                _add_entries(image_id, name, entries, found, reading)
                return
    if config.whose == "people" and any(found["written"] for found in files):
        builder.drop("photos whose only keywords ranktag wrote (--whose ranktag takes them)")
        return
    builder.drop("photos without keywords" if config.field is None else f"photos without {FIELDS[config.field].title}")


def _add_entries(image_id: str, name: str, entries: list[str], found: Found, reading: _Reading) -> None:
    """Add the entries of a field as a list of tags."""
    builder, config = reading.builder, reading.config
    if name == "iptc" and found["guessed"]:
        builder.note(f"IPTC keywords that do not say their character set, read as {found['guessed']}", image_id)
    entries = _split(entries, name, image_id, builder)
    reading.entries[name].append(entries)
    prefix = found["prefix"] if config.whose == "ranktag" else ""
    try:
        builder.add(image_id, [tag for entry in entries for tag in _tags(name, entry, config.levels, prefix)])
    except BrokenFile as error:
        builder.skip(image_id, error)


def _of(found: Found, whose: str) -> Lists:
    """The lists of people, of ranktag, or of all."""
    lists, written = found["lists"], found["written"]
    if whose == "all":
        return lists
    people = without(lists, Record(written))
    if whose == "people":
        return people
    return {name: [e for e in lists[name] if e in written[name]] for name in lists if name in written}


def _people(name: str, lists: Lists) -> list[str]:
    """The entries of a field without what a program wrote for itself."""
    programs: set[str] = set()
    others: set[str] = set()
    for entry in lists.get("hierarchical", ()):
        path = levels("hierarchical", entry)
        (programs if path[:1] and path[0] in PROGRAMS else others).update(path)
    if not FIELDS[name].separator:
        # darktable writes every level of its own hierarchy here, too.
        return [entry for entry in lists[name] if entry not in programs - others]
    return [entry for entry in lists[name] if not set(levels(name, entry)[:1]) & set(PROGRAMS)]


def _split(entries: list[str], name: str, image_id: str, builder: TagListBuilder) -> list[str]:
    """A single keyword that holds commas or semicolons is a list that a program took for one keyword."""
    if FIELDS[name].separator or len(entries) != 1 or not re.search("[,;]", entries[0]):
        return entries
    builder.note("lists that stood in one keyword, separated by commas or semicolons", image_id)
    return [part for part in re.split(r"\s*[,;]\s*", entries[0]) if part]


def _tags(name: str, entry: str, wanted: str, prefix: str) -> list[str]:
    """The tags that an entry is. prefix: that ranktag wrote it below."""
    path = levels(name, entry)
    top = prefix.split("/") if prefix else []
    if FIELDS[name].separator and len(path) > len(top) and path[: len(top)] == top:
        path = path[len(top) :]
    if wanted == "path":
        return ["/".join(path)]
    # The leaf is what the photo shows; what is above it says the same more broadly.
    return path[::-1] if wanted == "all" else path[-1:]


def _differ(name: str, lists: Lists, others: Lists) -> bool:
    """Whether another file has other keywords: in the same field or, without it, leaves of another."""
    other = next((n for n in (name, *FIELDS) if n in others), None)
    if other is None:
        return False
    mine = {levels(name, entry)[-1] for entry in lists[name] if levels(name, entry)}
    return mine != {levels(other, entry)[-1] for entry in others[other] if levels(other, entry)}
