"""Who wrote the lists: the people whom a model tells apart, in the order of their numbers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from ranktag.errors import Usage
from ranktag.tags.lists import PERSON
from ranktag.training_data.join import Joined


def people_of(joined: Joined, least: int) -> tuple[str, ...]:
    """The people who wrote at least ``least`` training lists that are not empty, in alphabetical order.

    Raises Usage if nobody knows who wrote the lists, and if there are not two such people to tell apart.
    """
    if joined.people is None:
        raise Usage(
            f"{joined.tags_name}: has no column '{PERSON}', so nobody knows who wrote its lists; add one, or leave out "
            "--person-embedding"
        )
    counts = Counter(
        person
        for n in joined.parts["train"]
        for person, tags in zip(joined.people[n], joined.lists[n])
        if person and tags
    )
    enough = tuple(sorted(person for person, lists in counts.items() if lists >= least))
    if len(enough) < 2:
        most = ", ".join(f"'{person}' {lists}" for person, lists in counts.most_common(2))
        raise Usage(
            f"{joined.tags_name}: fewer than two people wrote {least} training lists or more"
            f"{f' ({most})' if most else ''}, so there is nobody to tell apart; lower --person-min-lists, or leave out "
            "--person-embedding"
        )
    return enough


def writers_of(joined: Joined, chosen: Sequence[int], people: Sequence[str]) -> list[list[int]] | None:
    """Of each chosen image, the numbers of those who wrote its lists, P for others; None where nobody is told apart."""
    if not people or joined.people is None:
        return None
    number = {person: n for n, person in enumerate(people)}
    return [[number.get(person, len(people)) for person in joined.people[n]] for n in chosen]
