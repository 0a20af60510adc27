"""The numbers of a network: drawn from a seed, read from a file, or downloaded."""

from __future__ import annotations

import hashlib
import math
import re
import socket
import zipfile
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlparse

import numpy as np
import torch
from torch import Tensor

from ranktag.errors import Damaged, Mismatch, NotInstalled, Outage, RanktagError, one_line, unreadable
from ranktag.features.backbone import Backbone
from ranktag.features.weights import PublishedWeights, Weights
from ranktag.files.digest import sha256_file

# Even, for a draw of raw bits makes two numbers.
DRAWN_AT_ONCE = 2**20

# Parts of the names of what multiplies activations, or divides them.
SCALES = ("running_var", "gamma", "scale", "gain")

DOWNLOAD_TIMEOUT = 30.0  # seconds without an answer


def read_weights(weights: Weights, backbone: Backbone, expected: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], str]:
    """The numbers for ``expected`` (name -> a tensor of the shape), and the SHA-256 of the file or of what is drawn.

    Raises RanktagError: weights that cannot be had, read, or are another network's.
    """
    if weights.seed is not None:
        return random_weights(expected, weights.seed)
    file = _file_of(weights)
    return _read_file(file, backbone, expected), sha256_file(file)


def sha256_of_weights(weights: Weights, backbone: Backbone) -> str:
    """What ``read_weights`` says of the same, without the network.

    Raises RanktagError for weights that cannot be had.
    """
    if weights.seed is not None:
        with torch.device("meta"):
            shapes = backbone.build().state_dict()
        return random_weights(shapes, weights.seed)[1]
    return sha256_file(_file_of(weights))


def _file_of(weights: Weights) -> Path:
    file = weights.file or (published_file(weights.published) if weights.published else None)
    if file is None:
        raise ValueError(f"{weights.name}: neither a seed, nor a file, nor published weights")
    return file


def random_weights(shapes: Mapping[str, Tensor], seed: int) -> tuple[dict[str, Tensor], str]:
    """He-uniform weights, U(-b, b) with b = sqrt(6 / fan-in), and zero biases; with their SHA-256.

    The variance of the activations stays the same from layer to layer (He et al.,
    2015). They are made from PCG64's raw bits, which NumPy promises never to change,
    with operations that are exact or correctly rounded: the same on every machine.
    Scales and variances, of normalisations say, are ones; whole numbers (indices,
    counts) stay as the network was built.
    """
    bits = np.random.PCG64(seed)
    digest = hashlib.sha256()
    state = {}
    for name, shape in shapes.items():
        if not shape.is_floating_point():
            state[name] = _as_built(shape)
            continue
        values = np.full(shape.numel(), _constant(name, shape), "<f4")
        bound = np.float32(math.sqrt(6 * shape.shape[0] / len(values))) if _is_drawn(name, shape) else None
        for start in range(0, len(values) if bound is not None else 0, DRAWN_AT_ONCE):
            block = values[start : start + DRAWN_AT_ONCE]
            raw = bits.random_raw(-(-len(block) // 2)).astype("<u8", copy=False).view("<u4")[: len(block)]
            # 24 random bits are a float32 in [0, 2) exactly; so is the difference from 1.
            np.multiply(raw >> 8, np.float32(2**-23), out=block, casting="unsafe")
            block -= 1
            block *= bound
        digest.update(values.data)
        state[name] = torch.from_numpy(values.astype(np.float32, copy=False)).view(shape.shape)
    return state, digest.hexdigest()


def _is_drawn(name: str, shape: Tensor) -> bool:
    """Whether it is a matrix or the like; weights in a single row scale what they are given."""
    return name.endswith("weight") and shape.ndim > 1 and shape.numel() > 0


def _constant(name: str, shape: Tensor) -> float:
    """What a tensor that is not drawn is filled with."""
    last = name.rpartition(".")[2]
    return 1.0 if last == "weight" or any(part in last for part in SCALES) else 0.0


def _as_built(tensor: Tensor) -> Tensor:
    """Whole numbers as the network was built with them: indices of positions, a count of batches."""
    return torch.zeros(tensor.shape, dtype=tensor.dtype) if tensor.is_meta else tensor.clone()


def published_path(published: PublishedWeights) -> Path:
    """Where torch keeps the file, one with a URL, once it is downloaded."""
    return Path(torch.hub.get_dir()) / "checkpoints" / Path(urlparse(published.url).path).name


def published_file(published: PublishedWeights) -> Path:
    """The file in torch's hub folder, or Hugging Face's, downloaded if it is not there.

    Raises RanktagError if it cannot be downloaded or is not the file that was published.
    """
    if published.hub:
        return _from_hub(published)
    file = published_path(published)
    if file.is_file():
        return _checked(file)
    timeout = socket.getdefaulttimeout()
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        socket.setdefaulttimeout(DOWNLOAD_TIMEOUT)
        torch.hub.download_url_to_file(published.url, str(file), _digest_in_name(file), progress=False)
    except (OSError, RuntimeError) as error:
        raise Outage(
            f"the published weights cannot be downloaded ({one_line(str(error))[:120]}): put {published.url} "
            f"at {file}, or choose --weights FILE (a state dict) or --weights random"
        ) from None
    finally:
        socket.setdefaulttimeout(timeout)
    return file


def _from_hub(published: PublishedWeights) -> Path:
    """The file as Hugging Face's own client keeps it, which knows mirrors, tokens and the offline mode."""
    name = published.file or "model.safetensors"
    try:
        from huggingface_hub import hf_hub_download

        return Path(hf_hub_download(published.hub, name))
    except Exception as error:  # noqa: BLE001 (it, and the clients below it, raise anything where there is no network)
        raise Outage(
            f"the published weights cannot be downloaded ({one_line(str(error))[:120]}): "
            f"fetch {name} of https://huggingface.co/{published.hub} and name it with --weights FILE, "
            "or choose --weights random"
        ) from None


def _digest_in_name(file: Path) -> str:
    """The beginning of a file's SHA-256, which torchvision puts into its name."""
    match = re.search(r"-([0-9a-f]{8,})\.", file.name)
    return match.group(1) if match else ""


def _checked(file: Path) -> Path:
    if not sha256_file(file).startswith(_digest_in_name(file)):
        raise Damaged(
            f"{file}: is not the file torchvision published (its SHA-256 does not begin with {_digest_in_name(file)}); "
            "delete it and run again"
        )
    return file


def _read_file(file: Path, backbone: Backbone, expected: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The weights in a file, as far as the network has them. Raises RanktagError for any other file."""
    state = _tensors_of(file, backbone)
    if not isinstance(state, Mapping) or not any(name in state for name in expected):
        raise Mismatch(
            f"--weights {file}: holds no state dict of {backbone.name} (no '{next(iter(expected))}'); "
            "name one saved with torch.save(network.state_dict(), FILE), or in safetensors"
        )
    _refuse_other_names(file, backbone, expected, state)
    read = {}
    for name, tensor in expected.items():
        if not tensor.is_floating_point() and name not in state:
            read[name] = _as_built(tensor)
            continue
        _refuse_other_shape(file, backbone, name, tensor, state[name])
        read[name] = state[name].float() if tensor.is_floating_point() else state[name]
    return read


def _tensors_of(file: Path, backbone: Backbone) -> object:
    """What lies in a file, of safetensors or of torch; nothing in it is run."""
    try:
        return _safetensors_of(file) if _is_safetensors(file) else _torch_tensors_of(file)
    except OSError as error:
        raise unreadable(f"--weights {file}", error, "name a file that torch.load can read") from None
    except RanktagError:
        raise
    except Exception:  # noqa: BLE001 (what is not of torch, or holds objects, fails with anything)
        raise Damaged(
            f"--weights {file}: damaged, or not a file of plain tensors saved by torch or safetensors; "
            f"expected the state dict of {backbone.name}"
        ) from None


def _torch_tensors_of(file: Path) -> object:
    """Mapped from the file, where it is of torch's present form: what the network does not use is not read."""
    mapped = zipfile.is_zipfile(file)
    return torch.load(file, "cpu", weights_only=True, mmap=mapped)


def _is_safetensors(file: Path) -> bool:
    """Whether it begins as such files do, whatever its name: the length of a JSON object, then the object."""
    with open(file, "rb") as opened:
        head = opened.read(9)
    return head[8:] == b"{" and int.from_bytes(head[:8], "little") < file.stat().st_size


def _safetensors_of(file: Path) -> dict[str, Tensor]:
    try:
        from safetensors.torch import load_file
    except ModuleNotFoundError:
        raise NotInstalled(
            f"--weights {file}: a safetensors file, which the package safetensors reads; "
            "install it with pip install safetensors (it comes with 'ranktag[timm]')"
        ) from None
    tensors: dict[str, Tensor] = load_file(file)
    return tensors


def _refuse_other_names(
    file: Path, backbone: Backbone, expected: Mapping[str, Tensor], state: Mapping[str, object]
) -> None:
    foreign = [name for name in state if name not in expected and not str(name).startswith(backbone.unused)]
    # Counts and indices are no weights: files of old versions lack some, and the network has them anyway.
    missing = [name for name, tensor in expected.items() if name not in state and tensor.is_floating_point()]
    for names, fault in ((missing, "lacks"), (foreign, "has, besides,")):
        if names:
            raise Mismatch(
                f"--weights {file}: is not of {backbone.name}: it {fault} '{names[0]}'; "
                "choose the --backbone these weights belong to"
            )


def _refuse_other_shape(file: Path, backbone: Backbone, name: str, expected: Tensor, found: object) -> None:
    kind = "floats" if expected.is_floating_point() else "whole numbers"
    if (
        isinstance(found, Tensor)
        and found.shape == expected.shape
        and found.is_floating_point() == expected.is_floating_point()
    ):
        return
    given = tuple(found.shape) if isinstance(found, Tensor) else type(found).__name__
    raise Mismatch(
        f"--weights {file}: is not of {backbone.name}: '{name}' is {given}, expected {tuple(expected.shape)} {kind}; "
        "name a file of this network, or another --backbone"
    )
