"""Features of a few photos in memory, made as those of a cache were."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ranktag.config import ExtractionConfig
from ranktag.errors import Mismatch, RanktagError, Usage
from ranktag.feature_cache.provenance import Provenance
from ranktag.features.backbone import Backbone, find_backbone
from ranktag.features.machine import choose_batch_size, choose_workers
from ranktag.images.batches import Batch, read_batches
from ranktag.images.listing import ImageList
from ranktag.images.pixels import Preprocessing


class FeatureMaker:
    """A network that is loaded once and makes features as those of a cache were made.

    preprocessing: what becomes of an image before the network sees it. The features of a photo do not depend
    on the batch it is in, to the precision of the type that is computed in: in float32, differences stay below
    1e-5 of the largest feature (tested).
    """

    def __init__(
        self, provenance: Provenance, *, weights: str | None = None, config: ExtractionConfig = ExtractionConfig()
    ) -> None:
        """weights: where they are, if ``provenance`` names a file. config: device, precision, batch size and workers.

        Raises RanktagError if the features were made by something else than ranktag's networks, in another way,
        or with weights of another SHA-256.
        """
        backbone = _backbone_of(provenance)
        weights = _weights_of(provenance, backbone) if weights is None else weights

        from ranktag.features.network import load_network

        self.preprocessing = backbone.preprocessing
        self._config = config
        self._network = load_network(
            backbone,
            provenance.layer,
            weights,
            device=config.device,
            precision=config.precision,
            expected_sha256=provenance.weights_sha256,
        )

    def of_pixels(self, pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """(B, crop, crop, 3) or, of ten crops, (B, 5, crop, crop, 3) uint8 to (B, D) float32."""
        batch = Batch(0, len(pixels), pixels, {})
        (features,) = (computed for _, computed in self._network.features_of([batch]))
        return features

    def of_paths(self, paths: Sequence[str | Path]) -> Iterator[tuple[npt.NDArray[np.float32], list[str]]]:
        """Features of the images at ``paths`` (see ``ranktag.files.locations``): ((B, D), B reasons) a batch, in order.

        A row with a reason, why the image could not be read, is NaN. They are decoded by processes of their
        own, ahead of the network, where there is more than a batch of them; a decoder that crashes is an
        error of its image. A handful costs no more than its number.
        """
        config, device = self._config, self._network.device
        images = ImageList.of(Path(), [str(number) for number in range(len(paths))], list(map(os.fsencode, paths)))
        full, count = choose_batch_size(config, device), len(paths)
        size = max(1, min(full, count))
        rows = [(start, min(start + size, count)) for start in range(0, count, size)]
        # A handful of photos is decoded sooner than processes are started.
        workers = 0 if count <= full else choose_workers(config, device)
        rules, on_cpu = self.preprocessing, device.type == "cpu"
        with read_batches(images, rows, size, workers, rules, in_turn=on_cpu) as batches:
            # The last batch has places without an image, which need not be computed.
            filled = (replace(batch, pixels=batch.pixels[: batch.stop - batch.start]) for batch in batches)
            for batch, computed in self._network.features_of(filled):
                features = computed.copy()
                reasons = [batch.errors.get(number, "") for number in range(batch.start, batch.stop)]
                features[[bool(reason) for reason in reasons]] = np.nan
                yield features, reasons


def _backbone_of(provenance: Provenance) -> Backbone:
    """The network that made the features, with images prepared as they were then, whatever it wants by itself."""
    try:
        backbone, reason = find_backbone(provenance.backbone), ""
    except RanktagError as error:
        backbone, reason = None, f" ({error})"
    if backbone is None or provenance.layer not in backbone.layers:
        raise Mismatch(
            f"the features are of {provenance.backbone}, which ranktag cannot compute{reason}; "
            "write them with ranktag.cache_features and use export-tags"
        )
    try:
        return replace(backbone, preprocessing=Preprocessing.from_json(provenance.preprocessing))
    except ValueError:
        raise Mismatch(
            f"the features were made of images prepared otherwise ({provenance.preprocessing}); "
            "extract them again with this ranktag and train on them"
        ) from None


def _weights_of(provenance: Provenance, backbone: Backbone) -> str:
    """What ``--weights`` would be. Raises RanktagError if only the user knows."""
    weights = provenance.weights
    published = backbone.published.name if backbone.published else ""
    if weights != published and not weights.startswith("random:"):
        raise Usage(f"the features were made with the weights '{weights}'; say where they are with --weights FILE")
    return weights
