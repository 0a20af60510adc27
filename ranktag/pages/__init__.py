"""What the pages of ranktag share: how they look (``look.css``), and how foreign text is shown."""

from __future__ import annotations

import unicodedata
from pathlib import Path

LOOK = Path(__file__).parent / "look.css"

# Unicode's embeddings, overrides and isolates: U+202E alone would show "evil" as "live".
TURNING = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


def shown(text: str) -> str:
    """Control characters, and those that turn the direction of text, made visible; marks that join letters stay."""
    return "".join("\ufffd" if unicodedata.category(c) in ("Cc", "Cs") or c in TURNING else c for c in text)
