"""The settings that every reader of annotations has."""

from __future__ import annotations

from dataclasses import dataclass

from ranktag.config import Config, setting


@dataclass(frozen=True)
class ReaderConfig(Config):
    """Base of a reader's settings, and all that a simple reader needs."""

    prefix: str | None = setting(
        None,
        "put before every image_id, as VOC2007/JPEGImages/, where features are extracted from a folder further up",
        when_none="nothing",
    )
