"""The numbers of a network: drawn from a seed, read from a file, or downloaded."""

from __future__ import annotations

import hashlib
import math
import re
import socket
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlparse

import numpy as np
import torch
from torch import Tensor

from ranktag.errors import RanktagError, one_line
from ranktag.features.backbone import Backbone
from ranktag.features.weights import PublishedWeights, Weights
from ranktag.files.digest import sha256_file

# Even, for a draw of raw bits makes two numbers.
DRAWN_AT_ONCE = 2**20

DOWNLOAD_TIMEOUT = 30.0  # seconds without an answer


def read_weights(weights: Weights, backbone: Backbone, expected: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], str]:
    """The numbers for ``expected`` (name -> a tensor of the shape), and the SHA-256 of the file or of what is drawn.

    Raises RanktagError: weights that cannot be had, read, or are another network's.
    """
    if weights.seed is not None:
        return random_weights(expected, weights.seed)
    file = weights.file or (published_file(weights.published) if weights.published else None)
    if file is None:
        raise ValueError(f"{weights.name}: neither a seed, nor a file, nor published weights")
    return _read_file(file, backbone, expected), sha256_file(file)


def random_weights(shapes: Mapping[str, Tensor], seed: int) -> tuple[dict[str, Tensor], str]:
    """He-uniform weights, U(-b, b) with b = sqrt(6 / fan-in), and zero biases; with their SHA-256.

    The variance of the activations stays the same from layer to layer (He et al.,
    2015). They are made from PCG64's raw bits, which NumPy promises never to change,
    with operations that are exact or correctly rounded: the same on every machine.
    """
    bits = np.random.PCG64(seed)
    digest = hashlib.sha256()
    state = {}
    for name, shape in shapes.items():
        values = np.zeros(shape.numel(), "<f4")
        bound = np.float32(math.sqrt(6 * shape.shape[0] / len(values)))
        for start in range(0, len(values) if name.endswith("weight") else 0, DRAWN_AT_ONCE):
            block = values[start : start + DRAWN_AT_ONCE]
            raw = bits.random_raw(-(-len(block) // 2)).astype("<u8", copy=False).view("<u4")[: len(block)]
            # 24 random bits are a float32 in [0, 2) exactly; so is the difference from 1.
            np.multiply(raw >> 8, np.float32(2**-23), out=block, casting="unsafe")
            block -= 1
            block *= bound
        digest.update(values.data)
        state[name] = torch.from_numpy(values.astype(np.float32, copy=False)).view(shape.shape)
    return state, digest.hexdigest()


def published_path(published: PublishedWeights) -> Path:
    """Where torch keeps the file once it is downloaded."""
    return Path(torch.hub.get_dir()) / "checkpoints" / Path(urlparse(published.url).path).name


def published_file(published: PublishedWeights) -> Path:
    """The file in torch's hub folder, downloaded if it is not there.

    Raises RanktagError if it cannot be downloaded or is not the file that was published.
    """
    file = published_path(published)
    if file.is_file():
        return _checked(file)
    timeout = socket.getdefaulttimeout()
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        socket.setdefaulttimeout(DOWNLOAD_TIMEOUT)
        torch.hub.download_url_to_file(published.url, str(file), _digest_in_name(file), progress=False)
    except (OSError, RuntimeError) as error:
        raise RanktagError(
            f"the ImageNet weights cannot be downloaded ({one_line(str(error))[:120]}): put {published.url} at {file}, "
            "or choose --weights FILE (a torchvision state dict) or --weights random"
        ) from None
    finally:
        socket.setdefaulttimeout(timeout)
    return file


def _digest_in_name(file: Path) -> str:
    """The beginning of a file's SHA-256, which torchvision puts into its name."""
    match = re.search(r"-([0-9a-f]{8,})\.", file.name)
    return match.group(1) if match else ""


def _checked(file: Path) -> Path:
    if not sha256_file(file).startswith(_digest_in_name(file)):
        raise RanktagError(
            f"{file}: is not the file torchvision published (its SHA-256 does not begin with {_digest_in_name(file)}); "
            "delete it and run again"
        )
    return file


def _read_file(file: Path, backbone: Backbone, expected: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The weights in a file, as far as the network has them. Raises RanktagError for any other file."""
    try:
        state = torch.load(file, map_location="cpu", weights_only=True)
    except OSError as error:
        raise RanktagError(
            f"--weights {file}: cannot be read ({error.strerror or one_line(str(error))}); "
            "name a file that torch.load can read"
        ) from None
    except Exception:  # noqa: BLE001 (what is not of torch, or holds objects, fails with anything)
        raise RanktagError(
            f"--weights {file}: damaged, or not a file of plain tensors saved by torch; "
            f"expected torchvision's state dict of {backbone.name}"
        ) from None
    if not isinstance(state, Mapping) or not any(name in state for name in expected):
        raise RanktagError(
            f"--weights {file}: holds no state dict of torchvision's {backbone.name} (no '{next(iter(expected))}'); "
            "name one saved with torch.save(vgg.state_dict(), FILE)"
        )
    _refuse_other_names(file, backbone, expected, state)
    for name, tensor in expected.items():
        _refuse_other_shape(file, backbone, name, tensor, state[name])
    return {name: state[name].float() for name in expected}


def _refuse_other_names(
    file: Path, backbone: Backbone, expected: Mapping[str, Tensor], state: Mapping[str, object]
) -> None:
    foreign = [name for name in state if name not in expected and not str(name).startswith(backbone.unused)]
    missing = [name for name in expected if name not in state]
    for names, fault in ((missing, "lacks"), (foreign, "has, besides,")):
        if names:
            raise RanktagError(
                f"--weights {file}: is not of {backbone.name}: it {fault} '{names[0]}'; "
                "choose the --backbone these weights belong to"
            )


def _refuse_other_shape(file: Path, backbone: Backbone, name: str, expected: Tensor, found: object) -> None:
    if isinstance(found, Tensor) and found.shape == expected.shape and found.is_floating_point():
        return
    kind = tuple(found.shape) if isinstance(found, Tensor) else type(found).__name__
    raise RanktagError(
        f"--weights {file}: is not of {backbone.name}: '{name}' is {kind}, expected {tuple(expected.shape)} floats; "
        "name a file of this network, or another --backbone"
    )
