"""Where real photos, lists and weights lie beside a checkout, for the tests that read them (skipped elsewhere)."""

from __future__ import annotations

from pathlib import Path

DATA = Path(__file__).parents[2] / "shared" / "data"
