"""Tags that differ only in letter case, spaces or Unicode form are one tag: the most frequent spelling stands for all.

'Person', 'person ' and 'PERSON' are one; so are full-width and ordinary letters (Unicode's
compatibility form, NFKC). 'fire truck' and 'firetruck' are two.
"""

from __future__ import annotations

import functools
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence

from ranktag.tags.lists import TagList


@functools.lru_cache(maxsize=2**16)
def folded(tag: str) -> str:
    """What all spellings of a tag have in common."""
    return " ".join(unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", tag).casefold()).split())


class Spelling:
    """How tags are spelt: of the spellings of a tag, the most frequent; of equally frequent ones, the first by letters.

    merged: spelling -> the one that stands for it, of those that differ.
    """

    def __init__(self, counts: Mapping[str, int]) -> None:
        spellings: dict[str, list[str]] = defaultdict(list)
        for tag in sorted(counts, key=lambda tag: (-counts[tag], tag)):
            spellings[folded(tag)].append(tag)
        self._best = {key: several[0] for key, several in spellings.items()}
        self.merged = {tag: several[0] for several in spellings.values() for tag in several[1:]}

    @classmethod
    def of(cls, lists: Iterable[Iterable[str]]) -> Spelling:
        """The spellings that are most frequent in some lists."""
        return cls(Counter(tag for tags in lists for tag in tags))

    def spell(self, tag: str) -> str:
        """The spelling that stands for a tag; itself where none is known."""
        return self._best.get(folded(tag), tag)

    def spell_list(self, tags: Sequence[str]) -> TagList:
        """A list in these spellings; repeated tags keep their first place."""
        return tuple(dict.fromkeys(map(self.spell, tags)))

    def note(self) -> str:
        """What was merged, in a sentence; '' if nothing was."""
        if not self.merged:
            return ""
        shown = ", ".join(f"'{tag}' is '{best}'" for tag, best in list(self.merged.items())[:3])
        more = ", ..." if len(self.merged) > 3 else ""
        return (
            f"tags that differ only in case, spaces or Unicode form are taken for one ({len(self.merged)} spellings): "
            f"{shown}{more} (--keep-case keeps them apart)"
        )
