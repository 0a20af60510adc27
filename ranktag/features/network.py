"""A network that is loaded: pixels to features, on one device and in one type."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from ranktag.compute.cpu_layers import arrange
from ranktag.compute.device import choose_device, choose_dtype
from ranktag.compute.pixel_table import PixelTable
from ranktag.errors import Mismatch
from ranktag.features.backbone import Backbone
from ranktag.features.read_weights import read_weights
from ranktag.features.weights import choose_weights
from ranktag.images.batches import Batch
from ranktag.images.pixels import Preprocessing

# Images for which it is worth making a table: it takes as long as normalising some ten.
MANY = 8


class Network(nn.Module):
    """Pixels to the features of one layer, with dropout off.

    layers: the normalised pixels (B, 3, crop, crop) to (B, D). crops: see
    ``ranktag.images.pixels.Preprocessing``. weights_sha256: of the
    weights' file (for random weights of the numbers). device, dtype: where and in what it
    computes; channels_last, which is how the pixels lie in memory anyway and what both
    oneDNN and cuDNN are fastest in.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        layers: nn.Module,
        preprocessing: Preprocessing,
        weights_sha256: str,
        device: torch.device,
        dtype: torch.dtype,
    ) -> None:
        super().__init__()
        self.layers = layers
        self.weights_sha256 = weights_sha256
        self.device = device
        self.dtype = dtype
        self.crops = preprocessing.crops
        # For a row of pixels: three numbers at a time take twice as long.
        self.register_buffer("mean", torch.tensor(preprocessing.mean).repeat(preprocessing.crop), persistent=False)
        self.register_buffer("std", torch.tensor(preprocessing.std).repeat(preprocessing.crop), persistent=False)
        self._preprocessing = preprocessing
        self._table: PixelTable | None = None
        self.requires_grad_(False).eval()
        self.to(device)
        layers.to(dtype=dtype).to(memory_format=torch.channels_last)

    def normalise(self, pixels: Tensor) -> Tensor:
        """(B, crop, crop, 3) uint8 to the network's input (B, 3, crop, crop), channels last."""
        rules = self._preprocessing
        if pixels.device.type == "cpu" and len(pixels) >= MANY and PixelTable.suits(rules.crop):
            self._table = self._table or PixelTable(rules.mean, rules.std, self.dtype)
            return self._table(pixels).permute(0, 3, 1, 2)
        rows = pixels.reshape(*pixels.shape[:2], -1).float().div_(255).sub_(self.mean).div_(self.std)
        return rows.to(self.dtype).view(pixels.shape).permute(0, 3, 1, 2)

    def forward(self, pixels: Tensor) -> Tensor:
        """(B, crop, crop, 3) uint8 on the network's device (for ten crops (B, 5, crop, crop, 3)) to (B, D) float32.

        What an image is looked at in more than once, its mirror image or several crops, is averaged.
        """
        crops = pixels.unbind(1) if pixels.ndim == 5 else (pixels,)
        views = [view for crop in crops for view in ((crop,) if self.crops == "center" else (crop, crop.flip(2)))]
        features = self.activations(self.normalise(views[0])).float()
        for view in views[1:]:
            # Not in place: a network's output may be shared with its layers.
            features = features + self.activations(self.normalise(view)).float()
        return features / len(views) if len(views) > 1 else features

    def activations(self, x: Tensor) -> Tensor:
        """The network's input (B, 3, crop, crop) to (B, D), both of ``dtype``."""
        activations: Tensor = self.layers(x)
        return activations

    def features_of(self, batches: Iterable[Batch]) -> Iterator[tuple[Batch, npt.NDArray[np.float32]]]:
        """Each batch with its (B, D) float32 features, in order. Rows without an image hold what zeros give.

        Both are overwritten when the next batch is asked for.
        """
        return self._on_gpu(batches) if self.device.type == "cuda" else self._in_turn(batches)

    def _in_turn(self, batches: Iterable[Batch]) -> Iterator[tuple[Batch, npt.NDArray[np.float32]]]:
        features = np.empty((0, 0), np.float32)
        for batch in batches:
            with torch.inference_mode():
                computed = self(torch.from_numpy(batch.pixels).to(self.device))
                # Always in the same place: what outlives its batch would break up the memory that is kept.
                if features.shape != computed.shape:
                    features = np.empty(computed.shape, np.float32)
                torch.from_numpy(features).copy_(computed)
                del computed
            yield batch, features

    def _on_gpu(self, batches: Iterable[Batch]) -> Iterator[tuple[Batch, npt.NDArray[np.float32]]]:
        """Copies run beside the computing: a batch's features are fetched once the next batch is on its way."""
        before: tuple[Batch, Tensor, torch.cuda.Event] | None = None
        for batch in batches:
            started = batch, *self._start(batch)
            if before is not None:
                yield _fetched(before)
            before = started
        if before is not None:
            yield _fetched(before)

    def _start(self, batch: Batch) -> tuple[Tensor, torch.cuda.Event]:
        """Where a batch's features will be, and what tells when they are there."""
        with torch.inference_mode(), torch.cuda.device(self.device):
            pinned = torch.empty(batch.pixels.shape, dtype=torch.uint8, pin_memory=True)
            # By this thread alone: torch's would spin for 6 ms afterwards, each on a processor that decodes.
            np.copyto(pinned.numpy(), batch.pixels)
            there = self(pinned.to(self.device, non_blocking=True))
            here = torch.empty(there.shape, dtype=torch.float32, pin_memory=True)
            here.copy_(there, non_blocking=True)
            copied = torch.cuda.Event()
            copied.record()
        return here, copied


def _fetched(started: tuple[Batch, Tensor, torch.cuda.Event]) -> tuple[Batch, npt.NDArray[np.float32]]:
    batch, features, copied = started
    copied.synchronize()
    array: npt.NDArray[np.float32] = features.numpy()
    return batch, array


def load_network(
    backbone: Backbone,
    layer: str,
    weights: str,
    *,
    device: str | torch.device | None = None,
    precision: str = "auto",
    expected_sha256: str | None = None,
) -> Network:
    """The network ``backbone`` describes, up to ``layer``.

    weights: see ``ranktag.features.weights``. precision: 'auto', 'fp32', 'bf16' or 'fp16'.
    expected_sha256: refuse weights that have another digest.

    Raises RanktagError: weights that cannot be had, read, or are another network's.
    """
    device = device if isinstance(device, torch.device) else choose_device(device)
    # On the meta device a module has shapes and no numbers: nothing is drawn or copied that the weights replace anyway.
    with torch.device("meta"):
        whole = backbone.build()
    state, sha256 = read_weights(choose_weights(weights, backbone.published), backbone, whole.state_dict())
    if expected_sha256 is not None and sha256 != expected_sha256:
        raise Mismatch(
            f"--weights {weights}: its SHA-256 is {sha256}, expected {expected_sha256}; "
            "give the weights the features were made with"
        )
    whole.load_state_dict(state, assign=True)
    dtype = choose_dtype(precision, device)
    if device.type == "cuda" and dtype == torch.float32:
        # What is called float32 is: cuDNN's convolutions would round to ten bits.
        torch.backends.cudnn.allow_tf32 = False
    layers = arrange(backbone.cut(whole, layer), device, dtype)
    return Network(layers, backbone.preprocessing, sha256, device, dtype)
