"""Pages of made-up photos, for the tests of the page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from ranktag.browse.parts import Archive
from ranktag.browse.site import write_page
from ranktag.tags.lists import TagList
from ranktag.tags.predictions import Predictions

COLOURS = ("#a33", "#3a3", "#33a", "#aa3")


def made_up(count: int, seed: int = 0) -> Predictions:
    """Five of 60 tags for each photo, the first ones more often."""
    rng = np.random.default_rng(seed)
    names = ["person", "dog", "beach", "fire truck", "Straße", *(f"tag{n}" for n in range(5, 60))]
    order = np.argsort(rng.gumbel(size=(count, 60)) + np.linspace(4.0, 0.0, 60), axis=1)[:, :-6:-1]
    probabilities = -np.sort(-rng.random((count, 5)).round(3), axis=1)
    return {
        f"album {number // 100}/{number:05d}.jpg": [(names[t], float(p)) for t, p in zip(tags, ps)]
        for number, (tags, ps) in enumerate(zip(order.tolist(), probabilities.tolist()))
    }


def write_made_up(
    folder: Path,
    predictions: Predictions,
    people: Mapping[str, Sequence[TagList]] | None = None,
    others: Mapping[str, Predictions] | None = None,
) -> Path:
    """A page whose photos share a few pictures."""
    folder.mkdir()
    for number, colour in enumerate(COLOURS):
        Image.new("RGB", (64, 48), colour).save(folder / f"{number}.webp")
    images = [f"{number % len(COLOURS)}.webp" for number in range(len(predictions))]
    write_page(folder, Archive({"model": predictions, **(others or {})}, images, {}, people or {}))
    return folder / "index.html"
