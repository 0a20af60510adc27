"""Nouns of captions, and the entries of a vocabulary that they mention."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ranktag.tags.annotations.nouns import Mentions, nouns_of

# Captions written for this test, with their nouns; the quality of the noun rule is measured on them.
CAPTIONS = {
    "A man on a motorcycle is parked outside a small restaurant.": "man motorcycle restaurant",
    "A girl with long hair blows out the candles on a cake.": "girl hair candle cake",
    "A baseball player, a catcher and an umpire wait for the pitch.": "baseball player catcher umpire pitch",
    "A laptop, two monitors and a lamp on a desk.": "laptop monitor lamp desk",
    "A black dog leaps into the water to fetch a stick.": "dog water stick",
    "An elderly couple walks hand in hand through the park.": "couple hand park",
    "Construction workers in orange vests repair the road.": "construction worker vest road",
    "A bathroom with a toilet, a shower curtain and a mirror.": "bathroom toilet shower curtain mirror",
    "A bowl of oranges and apples sits on the kitchen counter.": "bowl orange apple kitchen counter",
    "A yellow taxi waits at a traffic light in the rain.": "taxi traffic light rain",
    "Several elephants drink from a muddy river.": "elephant river",
    "Boys kick a ball in front of their school.": "boy ball school",
    "A boy in blue jeans reads a book under a tree.": "boy jeans book tree",
    "A waiter carries plates to customers at an outdoor cafe.": "waiter plate customer cafe",
    "Soldiers march in a parade with flags.": "soldier parade flag",
    "A man and his son fly a kite in an open field.": "man son kite field",
    "A rusty truck is abandoned in the desert.": "truck desert",
    "Women in colorful costumes dance on a stage.": "woman costume stage",
    "Three sheep and two mice stand near a fence.": "sheep mouse fence",
    "An airplane takes off from the runway as the sun sets.": "airplane runway sun",
    "A snowboarder slides down a rail.": "snowboarder rail",
    "A parrot perches on a woman's shoulder.": "parrot woman shoulder",
    "Someone is taking a photo of a painting in a museum.": "photo painting museum",
    "Two giraffes stand in a dry field with trees behind them.": "giraffe field tree",
}


def test_the_noun_rule_is_about_nine_in_ten_right() -> None:
    found = {caption: set(nouns_of(caption)) for caption in CAPTIONS}
    meant = {caption: set(words.split()) for caption, words in CAPTIONS.items()}
    right = sum(len(found[caption] & meant[caption]) for caption in CAPTIONS)
    assert right / sum(map(len, found.values())) > 0.85  # precision
    assert right / sum(map(len, meant.values())) > 0.92  # recall


@pytest.mark.parametrize(
    ("caption", "expected"),
    [
        ("Two DOGS and a dog chase the other dogs' ball", ["dog", "ball"]),
        ("Three men, one man and a child; children!", ["man", "child"]),
        ("A bus, two buses, a glass and a dress", ["bus", "glass", "dress"]),
        ("boys kick a ball in front of a house", ["boy", "ball", "house"]),
        ("A tennis player, a ball", ["tennis", "player", "ball"]),
        ("", []),
        ("... 2 !", []),
        ("It is his.", []),
    ],
)
def test_nouns_in_order_of_first_mention(caption: str, expected: list[str]) -> None:
    assert nouns_of(caption) == expected


def test_mentions_of_a_vocabulary_longest_first_singular_or_plural() -> None:
    find = Mentions(["light", "traffic light", "Person", "knife", "t-shirt", "playing", "people carrier"])
    assert find("Traffic lights, a light and people with knives") == ["traffic light", "light", "Person", "knife"]
    assert find("PLAYING in T-shirts by a people carrier.") == ["playing", "t-shirt", "people carrier"]
    assert find("nothing of it") == []


def test_an_entry_goes_before_another_entrys_plural() -> None:
    assert Mentions(["glass", "glasses"])("a glass and glasses") == ["glass", "glasses"]


@settings(max_examples=150, deadline=None)
@given(caption=st.text() | st.text(alphabet="ab dog's-,./&;|#\n\u2019"))
def test_any_text_has_nouns_or_none(caption: str) -> None:
    found = nouns_of(caption)
    assert len(found) == len(set(found))
    assert all(noun and noun == noun.strip() for noun in found)
