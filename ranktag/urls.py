"""URLs as text: what is one, and what of it may be said."""

from __future__ import annotations

import os
import re
from pathlib import Path


def is_url(place: str | bytes | Path) -> bool:
    """Whether it is a URL, and no path."""
    text = os.fsdecode(place)
    return "://" in text and re.match(r"[A-Za-z][A-Za-z0-9+.-]+://", text) is not None


def without_secrets(text: str) -> str:
    """``text``, a URL or a sentence, without what stands before an @ or behind a ? in the URLs in it."""
    if "://" not in text:
        return text
    text = re.sub(r"(://)[^/\s'\"]*@", r"\1", text)
    return re.sub(r"(://[^\s'\"?]*)\?[^\s'\")]*", r"\1", text)
