"""The network of stage one: VGG up to fc6 or fc7, its weights, and what it computes in."""

from __future__ import annotations

import hashlib
import math
import re
import socket
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

import numpy as np
import numpy.typing as npt
import torch
import torchvision
from torch import Tensor, nn

from ranktag.compute.allocator import give_back_memory, kept_memory
from ranktag.compute.cpu_layers import for_processors, pool_first
from ranktag.compute.device import choose_device, choose_dtype
from ranktag.errors import RanktagError, one_line
from ranktag.features.weights import Weights, choose_weights
from ranktag.files.digest import sha256_file
from ranktag.images.batches import Batch
from ranktag.images.pixels import MEAN, STD

MODELS: dict[str, tuple[Callable[..., Any], Any]] = {
    "vgg16": (torchvision.models.vgg16, torchvision.models.VGG16_Weights.IMAGENET1K_V1),
    "vgg19": (torchvision.models.vgg19, torchvision.models.VGG19_Weights.IMAGENET1K_V1),
}


# How many modules of torchvision's ``classifier`` (Linear, ReLU, Dropout, Linear, ReLU, Dropout, Linear) a layer takes.
LAYERS = {"fc6": 2, "fc7": 5}


# Even, for a draw of raw bits makes two numbers.
DRAWN_AT_ONCE = 2**20


# Images that a processor convolves together, for each of its threads: one would be slower, more are not faster.
IMAGES_A_THREAD = 2


# Batches between which freed memory is kept: to ask for it again takes a fifth of a second, once a minute on two cores.
BATCHES_KEPT = 64


DOWNLOAD_TIMEOUT = 30.0  # seconds without an answer


class Backbone(nn.Module):
    """Pixels to activations after ReLU, with dropout off.

    device, dtype: where and in what it computes. weights_sha256: of the weights' file
    (for random weights of the numbers). channels_last, which is how the pixels lie in
    memory anyway and what both oneDNN and cuDNN are fastest in.
    """

    def __init__(
        self, features: nn.Module, classifier: nn.Module, weights_sha256: str, device: torch.device, dtype: torch.dtype
    ) -> None:
        super().__init__()
        self.features = features
        self.classifier = classifier
        self.weights_sha256 = weights_sha256
        self.device = device
        self.dtype = dtype
        self.register_buffer("mean", torch.tensor(MEAN).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(STD).view(3, 1, 1), persistent=False)
        self.mean: Tensor
        self.std: Tensor
        self.requires_grad_(False).eval()
        self.to(device)
        features.to(dtype=dtype).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        classifier.to(dtype=dtype)

    def normalise(self, pixels: Tensor) -> Tensor:
        """(B, 224, 224, 3) uint8 to the network's input (B, 3, 224, 224), channels last."""
        x = pixels.permute(0, 3, 1, 2).float().div_(255).sub_(self.mean).div_(self.std)
        return x.to(self.dtype)

    def forward(self, pixels: Tensor) -> Tensor:
        """(B, 224, 224, 3) uint8 on the network's device to (B, 4096) float32."""
        return self.activations(self.normalise(pixels)).float()

    def activations(self, x: Tensor) -> Tensor:
        """The network's input (B, 3, 224, 224) to (B, 4096), both of ``dtype``."""
        # Processors convolve a few images as fast as many, in far less memory; the matrices behind are read once a batch.
        together = IMAGES_A_THREAD * torch.get_num_threads() if self.device.type == "cpu" else len(x)
        return self.classifier(torch.cat([self.features(some).flatten(1) for some in x.split(together)]))

    def features_of(self, batches: Iterable[Batch]) -> Iterator[tuple[Batch, npt.NDArray[np.float32]]]:
        """Each batch with its (B, 4096) float32 features, in order. Rows without an image hold what zeros give.

        Both are overwritten when the next batch is asked for. On a GPU the copies run
        beside the computing: a batch's features are fetched once the next batch is on its way.
        """
        if self.device.type != "cuda":
            with kept_memory():
                features = np.empty((0, 0), np.float32)
                for number, batch in enumerate(batches, 1):
                    with torch.inference_mode():
                        computed = self(torch.from_numpy(batch.pixels).to(self.device))
                        # Always in the same place: what lived on while the next batch is computed would break up the memory that is kept.
                        if features.shape != computed.shape:
                            features = np.empty(computed.shape, np.float32)
                        torch.from_numpy(features).copy_(computed)
                        del computed
                    yield batch, features
                    if number % BATCHES_KEPT == 0:
                        give_back_memory()
            return
        before: tuple[Batch, Tensor, torch.cuda.Event] | None = None
        for batch in batches:
            with torch.inference_mode(), torch.cuda.device(self.device):
                pinned = torch.from_numpy(batch.pixels).pin_memory()
                features_there = self(pinned.to(self.device, non_blocking=True))
                here = torch.empty(features_there.shape, dtype=torch.float32, pin_memory=True)
                here.copy_(features_there, non_blocking=True)
                copied = torch.cuda.Event()
                copied.record()
            if before is not None:
                before[2].synchronize()
                yield before[0], before[1].numpy()
            before = batch, here, copied
        if before is not None:
            before[2].synchronize()
            yield before[0], before[1].numpy()


def load_backbone(
    backbone: str,
    layer: str,
    weights: str,
    *,
    device: str | torch.device | None = None,
    precision: str = "auto",
    expected_sha256: str | None = None,
) -> Backbone:
    """The network ``backbone`` ('vgg16', 'vgg19') up to ``layer`` ('fc6', 'fc7').

    weights: see ``ranktag.features.weights``. precision: 'auto', 'fp32', 'bf16' or 'fp16'.
    expected_sha256: refuse weights that have another digest.

    Raises RanktagError: weights that cannot be had, read, or are another network's.
    """
    device = device if isinstance(device, torch.device) else choose_device(device)
    builder, _ = MODELS[backbone]
    # On the meta device a module has shapes and no numbers: nothing is drawn or copied that the weights replace anyway.
    with torch.device("meta"):
        network = builder(weights=None, init_weights=False)
    network.classifier = network.classifier[:5]
    state, sha256 = _read_weights(choose_weights(weights, backbone), backbone, network)
    if expected_sha256 is not None and sha256 != expected_sha256:
        raise RanktagError(
            f"--weights {weights}: its SHA-256 is {sha256}, expected {expected_sha256}; give the weights the features were made with"
        )
    network.load_state_dict(state, assign=True)
    kept = [module for module in network.classifier[: LAYERS[layer]] if not isinstance(module, nn.Dropout)]
    features, classifier, dtype = pool_first(network.features), nn.Sequential(*kept), choose_dtype(precision, device)
    if device.type == "cpu" and dtype == torch.float32:
        features, classifier = for_processors(features), for_processors(classifier)
    return Backbone(features, classifier, sha256, device, dtype)


def _read_weights(weights: Weights, backbone: str, network: nn.Module) -> tuple[Mapping[str, Tensor], str]:
    if weights.seed is not None:
        return random_weights(network.state_dict(), weights.seed)
    file = weights.file or imagenet_file(backbone)
    return _read_file(file, backbone, network), sha256_file(file)


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


def imagenet_path(backbone: str) -> Path:
    """Where torch keeps the file of torchvision's ImageNet weights once it is downloaded."""
    url = MODELS[backbone][1].url
    return Path(torch.hub.get_dir()) / "checkpoints" / Path(urlparse(url).path).name


def imagenet_file(backbone: str) -> Path:
    """The file of torchvision's ImageNet weights in torch's hub folder, downloaded if it is not there.

    Raises RanktagError if it cannot be downloaded or is not the file torchvision published.
    """
    url, file = MODELS[backbone][1].url, imagenet_path(backbone)
    if file.is_file():
        return _checked(file)
    timeout = socket.getdefaulttimeout()
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        socket.setdefaulttimeout(DOWNLOAD_TIMEOUT)
        torch.hub.download_url_to_file(url, str(file), _published(file), progress=False)
    except (OSError, RuntimeError) as error:
        raise RanktagError(
            f"the ImageNet weights cannot be downloaded ({one_line(str(error))[:120]}): put {url} at {file}, "
            "or choose --weights FILE (a torchvision state dict) or --weights random"
        ) from None
    finally:
        socket.setdefaulttimeout(timeout)
    return file


def _published(file: Path) -> str:
    """The beginning of a file's SHA-256, which torchvision puts into its name."""
    match = re.search(r"-([0-9a-f]{8,})\.", file.name)
    return match.group(1) if match else ""


def _checked(file: Path) -> Path:
    if not sha256_file(file).startswith(_published(file)):
        raise RanktagError(
            f"{file}: is not the file torchvision published (its SHA-256 does not begin with {_published(file)}); delete it and run again"
        )
    return file


def _read_file(file: Path, backbone: str, network: nn.Module) -> dict[str, Tensor]:
    """The weights in a file, as far as ``network`` has them. Raises RanktagError for anything that is not this network's state dict."""
    try:
        state = torch.load(file, map_location="cpu", weights_only=True)
    except OSError as error:
        raise RanktagError(
            f"--weights {file}: cannot be read ({error.strerror or one_line(str(error))}); name a file that torch.load can read"
        ) from None
    # A file that is not torch's, or that holds objects instead of numbers, fails in as many ways as there are files.
    except Exception:
        raise RanktagError(
            f"--weights {file}: damaged, or not a file of plain tensors saved by torch; expected torchvision's state dict of {backbone}"
        ) from None
    expected = network.state_dict()
    if not isinstance(state, Mapping) or not any(name in state for name in expected):
        raise RanktagError(
            f"--weights {file}: holds no state dict of torchvision's {backbone} (no '{next(iter(expected))}'); name one saved with torch.save(vgg.state_dict(), FILE)"
        )
    foreign = [name for name in state if name not in expected and not str(name).startswith("classifier.6.")]
    missing = [name for name in expected if name not in state]
    for names, fault in ((missing, "lacks"), (foreign, "has, besides,")):
        if names:
            raise RanktagError(
                f"--weights {file}: is not of {backbone}: it {fault} '{names[0]}'; choose the --backbone these weights belong to"
            )
    for name, tensor in expected.items():
        if (
            not isinstance(state[name], Tensor)
            or state[name].shape != tensor.shape
            or not state[name].is_floating_point()
        ):
            found = tuple(state[name].shape) if isinstance(state[name], Tensor) else type(state[name]).__name__
            raise RanktagError(
                f"--weights {file}: is not of {backbone}: '{name}' is {found}, expected {tuple(tensor.shape)} floats; name a file of this network, or another --backbone"
            )
    return {name: state[name].float() for name in expected}
