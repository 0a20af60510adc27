"""How queries are read."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ranktag.search.query import Query, parse
from ranktag.tags.spelling import folded

CASES = {
    "dog": Query(("dog",)),
    "  Dog\tBEACH ": Query(("dog", "beach")),
    'a "fire  Truck" b': Query(("a", "fire truck", "b")),
    'dog -cat -"fire truck"': Query(("dog",), ("cat", "fire truck")),
    '"say ""hi"""': Query(('say "hi"',)),
    '"not closed': Query(("not closed",)),
    "-": Query(("-",)),
    "--dog": Query((), ("-dog",)),
    '"-dog"': Query(("-dog",)),
    '5"x': Query(('5"x',)),
    '"a"b': Query(("a", "b")),
    "dog dog -dog": Query(("dog",), ("dog",)),
    "犬\u3000Straße": Query(("犬", "strasse")),
    "": Query(()),
    '"" -""': Query(()),
    "ΟΔΟΣ Ⅷ ﬁre": Query(("οδοσ", "viii", "fire")),
}


@pytest.mark.parametrize("text", CASES)
def test_queries(text: str) -> None:
    assert parse(text) == CASES[text]


@given(st.text(st.characters(exclude_categories=["Cs"])), st.booleans())
def test_any_tag_in_quotes_is_that_tag(tag: str, minus: bool) -> None:
    quoted = '"' + tag.replace('"', '""') + '"'
    expected = (folded(tag),) if folded(tag) else ()
    assert parse(("-" if minus else "") + quoted) == (Query((), expected) if minus else Query(expected))
