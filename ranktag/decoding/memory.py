"""What a file of predictions was made of, beside it, so that it can be brought up to date instead of made again.

``NAME.update.json`` lies beside the file NAME: the digests of the models and of NAME itself, the settings, and
of every image the digest of its feature and of the tags that are given. A row is kept while all of them are the same.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ranktag.config import DecodingConfig
from ranktag.errors import Mismatch, Usage
from ranktag.feature_cache.store import FeatureStore
from ranktag.files.atomic import atomic_text
from ranktag.files.digest import sha256_file
from ranktag.models.checkpoint import MODEL_FILE
from ranktag.tags.chosen import TagChoice
from ranktag.tags.outputs import Output
from ranktag.tags.predictions import Predictions, read_predictions

# Formats that are read again, and settings that change no tag.
READABLE = ("long", "wide")
WITHOUT_EFFECT = ("device", "max_memory")


class Memory:
    """Of one file of predictions: what made it, and what is to make it now."""

    def __init__(self, output: Output, runs: Sequence[Path], config: DecodingConfig, choice: TagChoice) -> None:
        """Raises RanktagError for a format that cannot be read again."""
        if output.format.name not in READABLE or output.path is None:
            raise Usage(
                f"--update reads the file again, which --format {output.format.name} does not allow; use long or wide"
            )
        self._output, self._path = output.path, output.path.with_name(output.path.name + ".update.json")
        settings = {name: value for name, value in config.to_dict().items() if name not in WITHOUT_EFFECT}
        models = [sha256_file(run / MODEL_FILE if run.is_dir() else run) for run in runs]
        self._made_by: dict[str, Any] = {
            "model": models,
            **settings,
            **choice.describe(),
            "format": output.format.name,
        }

    def kept(self, features: Mapping[str, str]) -> Predictions:
        """The predictions that stay. features: image id -> digest of the feature that it has now.

        Raises RanktagError for a file that was not written with --update or was changed since, and one that
        another model or other settings made.
        """
        if not self._output.exists():
            return {}
        remembered = self._remembered()
        if remembered.get("sha256") != sha256_file(self._output):
            raise Mismatch(
                f"{self._output}: is not as export-tags --update wrote it; "
                "choose another file, or pass --overwrite to write all of it again"
            )
        made_by = remembered["made_by"]
        # A setting that there was not yet was as it is by default.
        before = {**DecodingConfig().to_dict(), **made_by}
        unlike = [
            f"{name}: {_short(now)} / {_short(before.get(name))}"
            for name, now in self._made_by.items()
            if before.get(name) != now
        ]
        if unlike:
            raise Mismatch(
                f"{self._output}: was made otherwise (asked for / there: {'; '.join(unlike)}); "
                "choose another file, or pass --overwrite to write all of it again"
            )
        same = {image_id for image_id, digest in remembered["features"].items() if features.get(image_id) == digest}
        return {image_id: tags for image_id, tags in read_predictions(self._output).items() if image_id in same}

    def _remembered(self) -> dict[str, Any]:
        try:
            found = json.loads(self._path.read_text(encoding="utf-8"))
            return found if isinstance(found, dict) and isinstance(found.get("features"), dict) else {}
        except (OSError, ValueError):
            return {}

    def write(self, features: Mapping[str, str]) -> None:
        """Remember what the file, which has just been written, was made of."""
        found = {"sha256": sha256_file(self._output), "made_by": self._made_by, "features": features}
        with atomic_text(self._path) as file:
            json.dump(found, file)


def _short(value: object) -> str:
    """A setting as an error shows it: the files of tags may be long."""
    text = str(value)
    return text if len(text) <= 80 else f"{text[:80]}..."


def feature_digests(
    store: FeatureStore, rows: Sequence[int], given: Mapping[str, Sequence[str]] = {}
) -> dict[str, str]:
    """Image id -> digest of its feature, of the rows, and of the tags ``given`` where its list is begun."""
    found = {}
    for row in rows:
        digest = hashlib.blake2b(np.ascontiguousarray(store.features[row]).tobytes(), digest_size=16)
        if tags := given.get(store.image_id[row]):
            digest.update(json.dumps(list(tags)).encode())
        found[store.image_id[row]] = digest.hexdigest()
    return found
