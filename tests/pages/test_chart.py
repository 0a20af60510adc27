"""Lines as drawings: where points come to stand, and that labels stay text."""

from __future__ import annotations

from xml.etree import ElementTree

import pytest

from ranktag.pages.chart import _ticks, line_chart

HOSTILE = "<b>&\"'"


def test_points_stand_where_they_belong() -> None:
    drawing = ElementTree.fromstring(line_chart({HOSTILE: [(1, 0.0), (2, 1.0), (3, 0.5)], "one": [(1, 1.0)]}, "x", "y"))
    first, one = drawing.iter("polyline")
    # From 48 to 632 across; 0 at 266, where the axis is, 1 at 8.
    assert first.get("points") == "48.0,266.0 340.0,8.0 632.0,137.0" and one.get("points") == "48.0,8.0"
    assert [title.text for title in drawing.iter("title")] == [HOSTILE, "one"]
    assert [text.text for text in drawing.iter("text")] == ["0", "0.2", "0.4", "0.6", "0.8", "1", "1", "3", "x"]


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [(0.43, 0.93, (0.4, 1.0)), (0.5, 0.5, (0.5, 0.5)), (-3, 17, (-5, 20)), (9.2, 10, (9.2, 10))],
)
def test_ticks_hold_all_values(low: float, high: float, expected: tuple[float, float]) -> None:
    ticks = _ticks(low, high)
    assert ticks[0] <= low + 1e-9 and ticks[-1] >= high - 1e-9 and 2 <= len(ticks) <= 8
    assert (ticks[0], ticks[-1]) == pytest.approx(expected, abs=1e-3)
