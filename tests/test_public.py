"""The functions of ``import ranktag``: every path may be text or a Path."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from making import TAGS, features_of, tiny
from PIL import Image
from tiny_backbone import tiny_network

import ranktag
from ranktag.config import DecodingConfig, ExtractionConfig

FUNCTIONS = [name for name in ranktag.__all__ if name != "__version__"]


@pytest.mark.parametrize("name", FUNCTIONS)
def test_every_path_may_be_text(name: str) -> None:
    public = getattr(ranktag, name)
    of_class = [method for _, method in inspect.getmembers(public, inspect.isfunction)]
    for function in of_class if inspect.isclass(public) else [public]:
        if function.__name__.startswith("_") and function.__name__ != "__init__":
            continue
        for parameter in inspect.signature(function).parameters.values():
            annotation = str(parameter.annotation)
            if re.search(r"\bPath\b", annotation):
                assert re.search(r"\bstr\b", annotation), f"{name}: {parameter}"


@pytest.mark.parametrize("kind", [str, Path])
def test_the_whole_path_with_text_and_with_paths(kind: Callable[[object], str | Path], tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    for number in range(20):
        Image.new("RGB", (40, 40), (12 * number, 90, 40)).save(photos / f"{number:02}.png")
    lines = [f"{n:02}.png,{'|'.join(TAGS[: 1 + n % 3])},{('train', 'val', 'test')[n % 3]}\n" for n in range(20)]
    (tmp_path / "tags.csv").write_text("image_id,tags,split\n" + "".join(lines))
    cache, tags, run = kind(tmp_path / "f.h5"), kind(tmp_path / "tags.csv"), kind(tmp_path / "run")
    extraction = ExtractionConfig(device="cpu", precision="fp32", workers=0)
    report = ranktag.extract_features(kind(photos), cache, extraction, network=tiny_network())
    assert (report.images, len(report.failures)) == (20, 0)
    trained = ranktag.train(cache, tags, run, tiny())
    assert trained.images == 7
    written = ranktag.decode(cache, run, kind(tmp_path / "p.csv"), DecodingConfig(device="cpu"))
    assert written.images == 20
    scored = ranktag.evaluate(kind(tmp_path / "p.csv"), tags, kind(tmp_path / "report"), images=kind(photos))
    assert scored.rows[0].images == 6 and (tmp_path / "report/report.html").exists()
    own = ranktag.cache_features(features_of(2), ["a", "b"], kind(tmp_path / "own.h5"))
    assert own == tmp_path / "own.h5" and own.exists()
