"""What a search asks for.

``dog beach`` asks for photos with both tags, ``"fire truck"`` for a tag of two words, ``-cat`` and
``-"fire truck"`` leave photos with that tag out. A quote within quotes is written twice; quotes that
are not closed end with the text. Letter case, spaces and Unicode form make no difference
(``ranktag.tags.spelling.folded``). The page's script reads queries by the same rules.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from ranktag.tags.spelling import folded

# What stands between words: what keyboards have for it, so that both sides can agree.
SPACES = " \t\r\n\u00a0\u3000"
_TERM = re.compile(rf'(-?)(?:"((?:[^"]|"")*)(?:"|$)|([^{SPACES}]+))')


@dataclass(frozen=True)
class Query:
    """Tags that a photo must have, and tags that it must not have; folded, each once, in the order given."""

    wanted: Sequence[str]
    unwanted: Sequence[str] = ()


def parse(text: str) -> Query:
    """The query that a text stands for."""
    wanted: list[str] = []
    unwanted: list[str] = []
    for minus, quoted, word in _TERM.findall(text):
        tag = folded(word or quoted.replace('""', '"'))
        if tag:
            (unwanted if minus else wanted).append(tag)
    return Query(tuple(dict.fromkeys(wanted)), tuple(dict.fromkeys(unwanted)))
