"""The printed table."""

from __future__ import annotations

from comparing import TRUTH, lists, predicted

from ranktag.evaluation.compare import compare
from ranktag.evaluation.report.text import to_text
from ranktag.tags.lists import TagLists


def test_long_labels_lose_their_beginning_in_print() -> None:
    text = to_text(compare({"runs/" * 20 + "greedy": [predicted(a="x")]}, TagLists(lists(TRUTH))))
    assert "..." in text and "/greedy " in text and max(map(len, text.splitlines()[:5])) < 160
