"""Whether lists are in an order that means something: measured, not believed."""

from __future__ import annotations

import math
import unicodedata
from collections import Counter
from collections.abc import Collection, Sequence

# Lists, or pairs of tags, that there have to be before anything is said of all of them.
FEW = 10
# Tags of a list that are looked at in pairs: one of hundreds says no more than its beginning.
HEAD = 20


def alphabetical(tags: Sequence[str]) -> bool:
    """Whether tags stand in alphabetical order: by their letters, or by their characters' numbers."""
    return any(list(tags) == sorted(tags, key=key) for key in (_letters, str))


def _letters(tag: str) -> tuple[str, str]:
    plain = "".join(c for c in unicodedata.normalize("NFKD", tag.casefold()) if not unicodedata.combining(c))
    return plain, tag.casefold()


class Order:
    """What order some lists are in.

    lists: how many there are. several: how many of them have two tags or more. sorted: how many of those are in
    alphabetical order. chance: how many would be, were their order left to chance (1 of n! for n tags). pairs: pairs
    of tags that stand together in several lists. fixed: how many of those always stand in the same order.
    """

    def __init__(self, lists: Collection[Sequence[str]]) -> None:
        self.lists = len(lists)
        several = [unique for tags in lists if len(unique := list(dict.fromkeys(tags))) > 1]
        self.several = len(several)
        self.sorted = sum(map(alphabetical, several))
        self.chance = sum(1 / math.factorial(len(tags)) for tags in several)
        before = Counter(
            (first, second)
            for tags in several
            for place, first in enumerate(tags[:HEAD])
            for second in tags[place + 1 : HEAD]
        )
        counts = [(n, before.get((b, a), 0)) for (a, b), n in before.items() if a < b or (b, a) not in before]
        often = [pair for pair in counts if sum(pair) > 1]
        self.pairs, self.fixed = len(often), sum(min(pair) == 0 for pair in often)

    @property
    def mostly_sorted(self) -> bool:
        """Whether most of the lists were sorted; of those that were not, some look it by chance."""
        return self.several >= FEW and self.sorted - self.chance > (self.several - self.chance) / 2

    def sentences(self, field: str) -> list[str]:
        """What is to be said of lists of a field."""
        if not self.several:
            return [f"{field}: {self.lists:,} lists; none has two tags, so there is no order to learn"]
        said = [
            f"{field}: {self.lists:,} lists; {self.sorted:,} of the {self.several:,} of two tags or more are in "
            f"alphabetical order (by chance {self.chance:,.0f} would be)"
        ]
        if self.mostly_sorted:
            said.append(
                f"WARNING: most lists of {field} were sorted by alphabet, as Lightroom and darktable do it: "
                "which tags belong to a photo can be learned from them, but no order of importance"
            )
        elif self.pairs >= FEW and self.fixed > 0.98 * self.pairs:
            said.append(
                f"WARNING: {self.fixed:,} of {self.pairs:,} pairs of tags that stand together in several lists of "
                f"{field} always stand in the same order: it may be a program's (of when tags were made, say), and not "
                "of importance"
            )
        return said
