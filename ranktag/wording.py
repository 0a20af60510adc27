"""Numbers of things, as a sentence says them."""

from __future__ import annotations


def count(number: int, thing: str, things: str = "") -> str:
    """'1 image', '1,234 images'. things: the plural, where it is not made with an s."""
    return f"{number:,} {thing if number == 1 else things or thing + 's'}"
