"""Ranked tags among the keywords that are there: put in, and taken out again exactly.

Ranked tags are written three times, as programs read them: ``dc:subject`` has the tags,
``digiKam:TagsList`` and ``lr:hierarchicalSubject`` have them below a prefix. People's entries
keep their places; ours follow in rank order, and an entry that is there already is not written again. What was
added is recorded in properties of ranktag's own namespace. So it can be taken out, or replaced by the
next run's, and a person's tag that is called the same stays:

=======================  ===================================================================
``ranktag:Subject``      the entries of dc:subject that ranktag added (Bag)
``ranktag:TagsList``     those of digiKam:TagsList (Bag)
``ranktag:Hierarchical`` those of lr:hierarchicalSubject (Bag)
``ranktag:Prefix``       the prefix
``ranktag:Made``         ``True`` if there was no XMP before: with ours, all of it goes
=======================  ===================================================================
"""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from ranktag.metadata.fields import FIELDS, XMP, Lists, levels
from ranktag.metadata.packets import Packet

PREFIX = "ranktag"
_RECORDED = {"subject": "Subject", "tagslist": "TagsList", "hierarchical": "Hierarchical"}
_PREFIX, _MADE = "Xmp.ranktag.Prefix", "Xmp.ranktag.Made"


@dataclass(frozen=True)
class Record:
    """What ranktag wrote into a file.

    lists: field -> entries. prefix: with '/' between its levels. made: whether there was no XMP before.
    """

    lists: Lists = field(default_factory=dict)
    prefix: str = ""
    made: bool = False

    @classmethod
    def of(cls, packet: Packet, prefix: str = PREFIX) -> Record:
        """What is recorded. Where a program has dropped the record, what stands below ``prefix`` is ours."""
        lists = {name: packet.entries(f"Xmp.ranktag.{recorded}") for name, recorded in _RECORDED.items()}
        lists = {name: entries for name, entries in lists.items() if entries}
        made = packet.entries(_MADE) == ["True"]
        if lists or made:
            return cls(lists, "".join(packet.entries(_PREFIX)), made)
        top = prefix.split("/") if prefix else [""]
        below = {
            name: [e for e in entries if len(levels(name, e)) > len(top) and levels(name, e)[: len(top)] == top]
            for name, entries in packet.lists().items()
            if FIELDS[name].separator
        }
        below = {name: entries for name, entries in below.items() if entries}
        return cls(below, prefix if below else "")

    def put(self, packet: Packet) -> None:
        """Write the record into a packet, in place of the one that is there."""
        for name, recorded in _RECORDED.items():
            packet.put(f"Xmp.ranktag.{recorded}", self.lists.get(name, []), ordered=False)
        packet.put_text(_PREFIX, self.prefix if self.lists else "")
        packet.put_text(_MADE, "True" if self.lists and self.made else "")


def without(lists: Mapping[str, Sequence[str]], record: Record) -> Lists:
    """The lists without what ranktag wrote: each entry of the record is taken out once."""
    rest = {}
    for name, entries in lists.items():
        ours = list(record.lists.get(name, ()))
        kept = []
        for entry in entries:
            if entry in ours:
                ours.remove(entry)
            else:
                kept.append(entry)
        if kept:
            rest[name] = kept
    return rest


def added(people: Mapping[str, Sequence[str]], tags: Sequence[str], prefix: str) -> Lists:
    """Field -> the entries that have to be added to people's, in rank order, so that all of the tags are there.

    prefix: with '/' between its levels; may be empty. A '/' or '|' in a tag stands between levels, too: the
    last one is what dc:subject has.
    """
    top = [part for part in prefix.split("/") if part]
    paths = [path for tag in tags if (path := [p for p in clean(tag).replace("|", "/").split("/") if p.strip()])]
    wanted = {
        "tagslist": ["/".join(top + path) for path in paths],
        "hierarchical": ["|".join(top + path) for path in paths],
        "subject": [path[-1] for path in paths],
    }
    new = {name: [entry for entry in dict.fromkeys(wanted[name]) if entry not in people.get(name, ())] for name in XMP}
    return {name: entries for name, entries in new.items() if entries}


def clean(tag: str) -> str:
    """A tag as XML can hold it: control characters are spaces, runs of spaces one."""
    return " ".join("".join(" " if unicodedata.category(c) in ("Cc", "Cs") else c for c in tag).split())


def put_tags(packet: Packet, tags: Sequence[str], prefix: str, *, fresh: bool) -> None:
    """Put ranked tags into a packet in place of those that ranktag wrote before; no tags take them out.

    fresh: whether there was no XMP in the file.
    """
    before = Record.of(packet, prefix)
    there = packet.lists()
    people = without(there, before)
    new = added(people, tags, prefix)
    for name in XMP:
        entries = people.get(name, []) + new.get(name, [])
        if entries != there.get(name, []):
            packet.put(FIELDS[name].key, entries, FIELDS[name].ordered)
    Record(new, prefix, before.made or fresh).put(packet)
