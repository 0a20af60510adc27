"""A network that is loaded: pixels to features, on one device and in one type."""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator, Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from ranktag.compute.cpu_layers import FewAtATime, arrange
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

# Images whose batches go through the matrices behind VGG's convolutions together: to read them takes as long as to
# multiply 200 rows by them, 7% of a batch of 16 in bfloat16; in float32 it is 1%.
TOGETHER = 256


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
        # What takes a batch, and what several batches share; no modules of their own.
        self._parts: tuple[nn.Module, nn.Module] = layers, nn.Identity()
        self._rows = 1
        if isinstance(layers, nn.Sequential) and isinstance(layers[0], FewAtATime) and dtype != torch.float32:
            self._parts, self._rows = (layers[:1], layers[1:]), TOGETHER
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
        return self._multiplied(self._convolved(pixels))

    def activations(self, x: Tensor) -> Tensor:
        """The network's input (B, 3, crop, crop) to (B, D), both of ``dtype``."""
        activations: Tensor = self.layers(x)
        return activations

    def _convolved(self, pixels: Tensor) -> list[Tensor]:
        """``forward`` up to the matrices that several batches share, or all of it: of every view of the images."""
        crops = pixels.unbind(1) if pixels.ndim == 5 else (pixels,)
        views = [view for crop in crops for view in ((crop,) if self.crops == "center" else (crop, crop.flip(2)))]
        return [self._parts[0](self.normalise(view)) for view in views]

    def _multiplied(self, views: Sequence[Tensor]) -> Tensor:
        """The rest of ``forward``."""
        features: Tensor = self._parts[1](views[0]).float()
        for view in views[1:]:
            # Not in place: a network's output may be shared with its layers.
            features = features + self._parts[1](view).float()
        return features / len(views) if len(views) > 1 else features

    def features_of(
        self, batches: Iterable[Batch], ends: Container[int] = ()
    ) -> Iterator[tuple[Batch, npt.NDArray[np.float32]]]:
        """Each batch with its (B, D) float32 features, in order. Rows without an image hold what zeros give.

        The features are overwritten when the next batch is asked for; the batch's pixels may be already. ends: where
        ``stop`` of a batch is one of them, what comes behind is not computed together with what was before.
        """
        return self._on_gpu(batches) if self.device.type == "cuda" else self._in_turn(batches, ends)

    def _in_turn(
        self, batches: Iterable[Batch], ends: Container[int]
    ) -> Iterator[tuple[Batch, npt.NDArray[np.float32]]]:
        waiting: list[Batch] = []
        places: list[_Place] = []
        features = _Place(self._rows)
        for batch in batches:
            with torch.inference_mode():
                views = self._convolved(torch.from_numpy(batch.pixels).to(self.device))
                places = places or [_Place(self._rows) for _ in views]
                for place, view in zip(places, views):
                    place.add(view)
                del views, view
            waiting.append(batch)
            if places[0].filled + len(batch.pixels) > self._rows or batch.stop in ends:
                yield from self._together(waiting, places, features)
        if waiting:
            yield from self._together(waiting, places, features)

    def _together(
        self, waiting: list[Batch], places: Sequence[_Place], features: _Place
    ) -> Iterator[tuple[Batch, npt.NDArray[np.float32]]]:
        """The batches that wait, which are no more, with their features."""
        with torch.inference_mode():
            features.add(self._multiplied([place.take() for place in places]))
        computed, start = features.take().numpy(), 0
        for batch in waiting:
            yield batch, computed[start : start + len(batch.pixels)]
            start += len(batch.pixels)
        waiting.clear()

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


class _Place:
    """Memory for the rows of several tensors, one behind the other.

    It is always the same: what outlives its batch would break up the memory that is kept.
    """

    def __init__(self, rows: int) -> None:
        """rows: for how many there is memory before more are there."""
        self.filled = 0
        self._rows = rows
        self._memory = torch.empty(0)

    def add(self, rows: Tensor) -> None:
        """(B, C), with the same C each time."""
        start, self.filled = self.filled, self.filled + len(rows)
        if self.filled > len(self._memory):
            before, most = self._memory[:start], max(self._rows, self.filled)
            self._memory = torch.empty((most, *rows.shape[1:]), dtype=rows.dtype)
            if start:
                self._memory[:start] = before
        self._memory[start : self.filled].copy_(rows)

    def take(self) -> Tensor:
        """All rows; what is added next is written over them."""
        filled, self.filled = self.filled, 0
        return self._memory[:filled]


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
