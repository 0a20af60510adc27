"""Nouns of a caption in order of first mention, plural and singular merged.

Two ways, both in English and without a model to download:

- ``nouns_of``: the nouns that TextBlob's tagger (a Brill tagger whose lexicon and rules
  come with the package) finds in the caption, plurals made singular by inflect. One
  rule is added: a word between a noun and an article or a possessive is a verb
  ("boys *kick* a ball"), which the tagger, trained on newspapers, takes for a noun.
- ``Mentions``: the entries of a given vocabulary, of one or more words, wherever they
  stand, longest first, in singular or plural.
"""

from __future__ import annotations

import functools
import re
import unicodedata
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ranktag.errors import RanktagError
from ranktag.tags.annotations.files import need, read_lines

_WORD = re.compile(r"[^\W_]+(?:['’-][^\W_]+)*")

# Marks stay between the words that are tagged: "a player, a ball" holds no verb.
_WORD_OR_MARK = re.compile(_WORD.pattern + "|[.,;:!?]")

_DETERMINERS = frozenset(("a", "an", "the", "his", "her", "its", "their", "my", "your", "our"))

# Words that the tagger calls nouns, of the closed class of pronouns.
_PRONOUNS = frozenset(
    [some + one for some in ("some", "any", "every", "no") for one in ("one", "body", "thing")]
    + ["none", "other", "others", "one", "ones"]
)

# Places, not things: "in front of", "on top of".
_PLACES = {("in", "front", "of"), ("on", "top", "of")}

# No singular is in use, or it is another thing.
_PLURAL_ONLY = frozenset(
    (
        "binoculars",
        "clothes",
        "glasses",
        "goggles",
        "jeans",
        "pajamas",
        "pants",
        "scissors",
        "shorts",
        "sunglasses",
        "tights",
        "trousers",
    )
)


def words_of(text: str, pattern: re.Pattern[str] = _WORD) -> list[str]:
    """The words of a text in lower case and Unicode normal form C, without punctuation and a possessive 's."""
    return [re.sub("['’]s$", "", word) for word in pattern.findall(unicodedata.normalize("NFC", text).lower())]


@functools.lru_cache(maxsize=1)
def _inflection() -> Any:
    return need("inflect", "merging plural and singular").engine()


@functools.lru_cache(maxsize=1 << 16)
def singular(plural: str) -> str:
    """Singular of a plural noun; the word itself if it has none."""
    if plural in _PLURAL_ONLY:
        return plural
    return _inflection().singular_noun(plural) or plural


@functools.lru_cache(maxsize=1)
def _tagger() -> Any:
    return need("textblob.taggers", "finding nouns").PatternTagger()


def nouns_of(caption: str) -> list[str]:
    """The caption's nouns, each at its first mention, in the singular."""
    words = words_of(caption, _WORD_OR_MARK)
    if not words:
        return []
    tagged = _tagger().tag(" ".join(words), tokenize=False)
    kinds = [kind for _, kind in tagged]
    found = []
    for i, (word, kind) in enumerate(tagged):
        before, after = words[i - 1] if i else "", words[i + 1] if i + 1 < len(words) else ""
        if kind not in ("NN", "NNS") or word in _PRONOUNS or len(word) < 2 or not word[0].isalpha():
            continue
        if (before, word, after) in _PLACES or (i and kinds[i - 1] in ("NN", "NNS") and after in _DETERMINERS):
            continue
        found.append(singular(word) if kind == "NNS" else word)
    return list(dict.fromkeys(found))


class Mentions:
    """Finds the entries of a vocabulary in captions."""

    def __init__(self, entries: Sequence[str]) -> None:
        self._entry: dict[tuple[str, ...], str] = {}
        for entry in entries:
            self._entry.setdefault(tuple(words_of(entry)), entry)
        # What the vocabulary has itself goes before what another entry's plural happens to be.
        for entry in entries:
            *start, last = words_of(entry)
            for form in (_inflection().plural_noun(last), _inflection().singular_noun(last)):
                if form:
                    self._entry.setdefault((*start, str(form)), entry)
        self._longest = max(map(len, self._entry))

    def __call__(self, caption: str) -> list[str]:
        """The entries that the caption mentions, each at its first mention.

        A word counts for one entry, the longest.
        """
        words = words_of(caption)
        found: list[str] = []
        i = 0
        while i < len(words):
            for length in range(min(self._longest, len(words) - i), 0, -1):
                entry = self._entry.get(tuple(words[i : i + length]))
                if entry is not None:
                    found.append(entry)
                    i += length
                    break
            else:
                i += 1
        return list(dict.fromkeys(found))


def read_vocabulary(path: Path) -> Mentions:
    """The entries of a UTF-8 text file, one a line (of one or more words). Raises RanktagError."""
    lines = [line.strip() for _, line in read_lines(path, "write one tag a line")]
    for number, line in enumerate(lines, 1):
        if line and not words_of(line):
            raise RanktagError(f"{path}: line {number} holds no word; mend it or remove the line")
    entries = [unicodedata.normalize("NFC", line) for line in lines if line]
    if not entries:
        raise RanktagError(f"{path}: holds no tag; write one a line")
    return Mentions(entries)
