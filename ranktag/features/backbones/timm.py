"""Every network of timm (extra timm): timm:tf_efficientnet_lite0 and others."""

from __future__ import annotations

import functools
import math
from collections.abc import Collection
from typing import Any

from ranktag.errors import NotInstalled, RanktagError, one_line
from ranktag.features.backbone import Backbone
from ranktag.features.backbones._library import POOLED, built, refuse_unknown, width_of
from ranktag.features.weights import PublishedWeights
from ranktag.images.pixels import Preprocessing

try:
    import timm
    from timm.data.config import resolve_data_config
except ModuleNotFoundError as error:
    if error.name != "timm":
        raise
    raise NotInstalled("timm's networks need the package timm; install it with pip install 'ranktag[timm]'") from None
from torch import nn

# Untyped, and called as it is.
configured: Any = resolve_data_config


def names() -> list[str]:
    """The networks there are, with and without the tag of their weights."""
    return sorted({*timm.list_models(), *timm.list_models(pretrained=True)})


@functools.lru_cache
def find(name: str) -> Backbone:
    """The network ``name``, up to what its classifier is given. Raises RanktagError if there is none."""
    refuse_unknown("timm", name, names())

    kept: set[str] = set()

    def headless() -> nn.Module:
        network: nn.Module = timm.create_model(name, pretrained=False, num_classes=0)
        kept.update(network.state_dict())
        return network

    known: Any = timm.get_pretrained_cfg(name)
    configuration = known.to_dict() if known is not None else {"architecture": name}
    try:
        preprocessing = _preprocessing(configured({}, pretrained_cfg=configuration))
        width = width_of(headless, preprocessing.crop)
    except ValueError as error:
        raise RanktagError(f"--backbone timm:{name}: {one_line(str(error))}; choose another network") from None
    return Backbone(
        name=f"timm:{name}",
        layers={POOLED: width},
        layer=POOLED,
        preprocessing=preprocessing,
        build=lambda: built(headless),
        cut=lambda network, layer: nn.Sequential(network),
        published=_published(configuration),
        unused=_classifiers(configuration, kept),
    )


def _preprocessing(configuration: dict[str, Any]) -> Preprocessing:
    """What ``timm.data.create_transform`` makes of a configuration. Raises ValueError for what ranktag does not do."""
    channels, height, width = configuration["input_size"]
    if channels != 3 or height != width:
        raise ValueError(f"it wants images of {channels} x {height} x {width}, and ranktag gives squares of 3 colours")
    if configuration["crop_mode"] not in ("center", "squash"):
        raise ValueError(f"it crops by '{configuration['crop_mode']}', which ranktag does not")
    return Preprocessing(
        resize=max(math.floor(height / configuration["crop_pct"]), height),
        crop=height,
        interpolation=configuration["interpolation"],
        mean=tuple(configuration["mean"]),
        std=tuple(configuration["std"]),
        squash=configuration["crop_mode"] == "squash",
    )


def _published(configuration: dict[str, Any]) -> PublishedWeights | None:
    """Where timm's own weights are to be had."""
    hub, url = configuration.get("hf_hub_id") or "", configuration.get("url") or ""
    tag = configuration.get("tag") or ""
    name = f"{configuration['architecture']}.{tag}" if tag else configuration["architecture"]
    if hub:
        return PublishedWeights(f"timm/{name}", hub=hub, file=configuration.get("hf_hub_filename") or "")
    return PublishedWeights(f"timm/{name}", url) if url else None


def _classifiers(configuration: dict[str, Any], kept: Collection[str]) -> tuple[str, ...]:
    """What the names of a classifier's weights begin with; there may be several, or none.

    kept: the names in the network without it. Where a head has nothing left, all of it was the
    classifier, its normalisation too.
    """
    classifier = configuration.get("classifier") or ()
    found = (classifier,) if isinstance(classifier, str) else tuple(classifier)
    heads = [f"{name.partition('.')[0]}." for name in found]
    return tuple(f"{name}." if any(one.startswith(head) for one in kept) else head for name, head in zip(found, heads))
