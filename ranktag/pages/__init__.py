"""What the pages of ranktag share: their look, tables to sort and to search, and how foreign text is shown."""

from __future__ import annotations

import base64
import hashlib
import unicodedata
from pathlib import Path

LOOK = Path(__file__).parent / "look.css"
TABLES = Path(__file__).parent / "tables.js"

# Unicode's embeddings, overrides and isolates: U+202E alone would show "evil" as "live".
TURNING = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


def script_source(script: str) -> str:
    """What a content policy calls a script that stands in the page: its digest, so that no other script runs."""
    return "sha256-" + base64.b64encode(hashlib.sha256(script.encode("utf-8")).digest()).decode("ascii")


def shown(text: str) -> str:
    """Control characters, and those that turn the direction of text, made visible; marks that join letters stay."""
    return "".join("\ufffd" if unicodedata.category(c) in ("Cc", "Cs") or c in TURNING else c for c in text)
