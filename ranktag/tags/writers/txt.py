"""A text file beside each photo, photo.jpg.txt."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from ranktag.config import Config, setting
from ranktag.errors import RanktagError
from ranktag.files.atomic import write_once
from ranktag.tags.outputs import Output
from ranktag.tags.predictions import PredictedImage


@dataclass(frozen=True)
class TextConfig(Config):
    """Settings of the text files."""

    one_a_line: bool = setting(False, "write a tag a line, instead of all on one line with commas between them")


def write_beside(images: Iterable[PredictedImage], output: Output, config: TextConfig) -> None:
    """The tags in order of rank. An image with a tag that would be read as two is a failure."""
    separator = "\n" if config.one_a_line else ", "
    for image in images:
        with output.image(image):
            for tag, _ in image.tags:
                if separator.strip(" ") in tag or "\n" in tag or "\r" in tag:
                    raise RanktagError(f"its tag '{tag}' would be read as two; give it another name with --replace")
            text = separator.join(tag for tag, _ in image.tags)
            write_once(output.beside(image, ".txt"), text + "\n" if text else "", output.overwrite)
