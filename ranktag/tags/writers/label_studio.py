"""Label Studio: tasks.json, in which the tags are ranked already, and labeling-config.xml."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from ranktag.config import Config, setting
from ranktag.errors import RanktagError
from ranktag.tags.chosen import read_tags
from ranktag.tags.outputs import Output, name_of
from ranktag.tags.predictions import PredictedImage, RankedTag

FILES = ("tasks.json", "labeling-config.xml")
# One bucket and no default one: a ranker without buckets is submitted in its first order by who touches nothing.
CONFIGURATION = """<View>
  <Image name="image" value="$image"/>
  <List name="tags" value="$items" title="Tags"/>
  <Ranker name="rank" toName="tags">
    <Bucket name="ranked" title="In the photo, the most important first"/>
  </Ranker>
</View>
"""
MODEL = "ranktag"


@dataclass(frozen=True)
class LabelStudioConfig(Config):
    """Settings of the tasks."""

    image_url: str = setting(
        "/data/local-files/?d=",
        "put before each image id to make the address of its photo, as https://example.org/photos/; the default is "
        "a file below Label Studio's LABEL_STUDIO_LOCAL_FILES_DOCUMENT_ROOT, add the rest of its path",
    )
    offer: Path | None = setting(
        None,
        "tags that people may choose from beside those of the model: a file with a tag a line, or a CSV with the "
        "column tag",
        when_none="the model's only",
    )
    ranked: int | None = setting(
        None,
        "how many of a photo's tags stand in the ranked list already; people choose from the others",
        unit="tags",
        low=0,
        when_none="all",
    )


def check(config: LabelStudioConfig) -> None:
    """Raise RanktagError for a file of tags that cannot be read."""
    if config.offer is not None:
        read_tags(config.offer)


def write_folder(images: Iterable[PredictedImage], folder: Path, output: Output, config: LabelStudioConfig) -> None:
    """A task an image, with a prediction that people correct instead of writing a list; and the interface for it.

    An image is a failure with a tag that is a whole
    number: Label Studio, written in JavaScript, would bring it to the front.
    """
    offered = [] if config.offer is None else list(read_tags(config.offer).values())
    with open(folder / "tasks.json", "w", encoding="utf-8", newline="") as file:
        before = "[\n"
        for image in images:
            with output.image(image):
                file.write(before + json.dumps(_task(image, offered, config), ensure_ascii=False))
                before = ",\n"
        file.write("[]\n" if before == "[\n" else "\n]\n")
    (folder / "labeling-config.xml").write_text(CONFIGURATION, encoding="utf-8")


def _task(image: PredictedImage, offered: Sequence[str], config: LabelStudioConfig) -> dict[str, Any]:
    names = list(dict.fromkeys([tag for tag, _ in image.tags] + list(offered)))
    number = next((tag for tag in names if tag.isascii() and tag.isdigit()), None)
    if number is not None:
        raise RanktagError(
            f"tag '{number}' is a whole number, whose place Label Studio changes; give it another name with --replace"
        )
    ranked = list(dict.fromkeys(tag for tag, _ in image.tags))[: config.ranked]
    value = {"ranker": {"ranked": ranked}}
    result = [{"from_name": "rank", "to_name": "tags", "type": "ranker", "value": value}]
    prediction = {"model_version": MODEL, "score": _score(image.tags), "result": result}
    return {
        "data": {
            "image": _address(name_of(image), config.image_url),
            "items": [{"id": tag, "title": tag} for tag in names],
        },
        "predictions": [prediction] if ranked else [],
    }


def _address(name: str, prefix: str) -> str:
    """Where Label Studio finds a photo; an id that is an address already stays as it is."""
    return name if "://" in name else prefix + quote(name)


def _score(tags: Sequence[RankedTag]) -> float | None:
    """The mean probability of a photo's tags, by which Label Studio can sort tasks; None if none is known."""
    known = [p for _, p in tags if not math.isnan(p)]
    return round(math.fsum(known) / len(known), 6) if known else None
