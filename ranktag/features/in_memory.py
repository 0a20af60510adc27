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
from ranktag.images.batches import read_batches
from ranktag.images.listing import ImageList
from ranktag.images.pixels import Preprocessing


def features_like(
    provenance: Provenance, paths: Sequence[Path], *, weights: str | None = None, config: ExtractionConfig | None = None
) -> Iterator[tuple[npt.NDArray[np.float32], list[str]]]:
    """Features of the images at ``paths``, made as those of a cache were: ((B, D), B reasons) a batch, in order.

    A row with a reason (why the image could not be read) is NaN. weights: where they
    are, if ``provenance`` names a file. config: device, precision, batch size and
    workers.

    Raises RanktagError if the features were made by something else than ranktag's
    networks, in another way, or with weights of another SHA-256.
    """
    config = config or ExtractionConfig()
    backbone = _backbone_of(provenance)
    weights = _weights_of(provenance, backbone) if weights is None else weights

    from ranktag.features.network import load_network

    network = load_network(
        backbone,
        provenance.layer,
        weights,
        device=config.device,
        precision=config.precision,
        expected_sha256=provenance.weights_sha256,
    )
    images = ImageList.of(Path(), [str(number) for number in range(len(paths))], [os.fsencode(path) for path in paths])
    batch_size, on_cpu = choose_batch_size(config, network.device), network.device.type == "cpu"
    rows = [(start, min(start + batch_size, len(paths))) for start in range(0, len(paths), batch_size)]
    # A handful of photos is decoded sooner than processes are started.
    workers = 0 if len(paths) <= batch_size else choose_workers(config, network.device)
    with read_batches(images, rows, batch_size, workers, backbone.preprocessing, in_turn=on_cpu) as batches:
        for batch, computed in network.features_of(batches):
            features = computed[: batch.stop - batch.start].copy()
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
