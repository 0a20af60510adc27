"""The order that lists are in, measured."""

from __future__ import annotations

import itertools
import random

import pytest

from ranktag.tags.annotations.order import Order, alphabetical


@pytest.mark.parametrize(
    ("tags", "expected"),
    [
        (("ant", "Bee", "cat"), True),
        (("Bee", "ant", "cat"), True),  # by the characters' numbers
        (("ark", "äsche", "ast"), True),
        (("cat", "bee"), False),
        (("a1", "a2", "a10"), False),
    ],
)
def test_alphabetical(tags: tuple[str, ...], expected: bool) -> None:
    assert alphabetical(tags) is expected


def test_counts_by_hand() -> None:
    order = Order([("a", "b"), ("b", "a"), ("a", "b", "c"), ("c",), ("a", "a")])
    assert (order.lists, order.several, order.sorted) == (5, 3, 2)
    assert order.chance == pytest.approx(1 / 2 + 1 / 2 + 1 / 6)
    # a and b are in three lists, in both orders; the other pairs in one.
    assert (order.pairs, order.fixed) == (1, 0)


def test_what_is_said() -> None:
    tags = "abcdefgh"
    draw = random.Random(0)
    mixed = [draw.sample(tags, 4) for _ in range(200)]
    said = Order(mixed).sentences("x")
    assert len(said) == 1 and said[0].startswith("x: 200 lists; ") and "(by chance 8 would be)" in said[0]
    # 55 of 100 sorted, the others drawn: most; 45: not.
    ordered = [sorted(draw.sample(tags, 4)) for _ in range(55)]
    assert "sorted by alphabet" in Order(ordered + mixed[:45]).sentences("x")[-1]
    assert len(Order(ordered[:45] + mixed[:55]).sentences("x")) == 1
    # Two tags are in alphabetical order every other time.
    assert len(Order([draw.sample(tags, 2) for _ in range(100)]).sentences("x")) == 1
    fixed = [sorted(draw.sample(tags, 3), key="hcgbfaed".index) for _ in range(100)]
    assert "always stand in the same order" in Order(fixed).sentences("x")[-1]
    assert Order([("a",), ()]).sentences("x") == ["x: 2 lists; none has two tags, so there is no order to learn"]


def test_few_lists_are_no_measure() -> None:
    assert len(Order(list(itertools.repeat(("a", "b", "c"), 9))).sentences("x")) == 1
