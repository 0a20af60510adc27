"""Stage one beside its own bare forward pass and beside the loop everybody writes first."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torchvision import transforms

from ranktag.benchmarks.timing import alternate, rate, ratio
from ranktag.compute.allocator import kept_memory
from ranktag.compute.forks import share
from ranktag.config import ExtractionConfig
from ranktag.features.backbone import find_backbone
from ranktag.features.extract import extract_features
from ranktag.features.machine import choose_batch_size, choose_workers
from ranktag.features.network import Network, load_network
from ranktag.files.tables import write_table
from ranktag.images.batches import read_batches
from ranktag.images.listing import ImageList, list_images
from ranktag.images.pixels import Preprocessing

TEXTBOOK_BATCH = 32
# Images the textbook loop is timed on at most: it takes several times as long as all others together.
TEXTBOOK_IMAGES = 128
# A PASCAL VOC photo's size.
DRAWN_SIZE = (500, 375)


@dataclass(frozen=True)
class ExtractionBenchmark:
    """Images a second, by the medians of the rounds, and the seconds of every round.

    bare: the forward pass alone, on random tensors in memory, at the same precision and
    batch size, one batch after the other (an extraction on processors multiplies by the
    matrices behind convolutions for several batches together). channels_last: the same of
    the network as its library builds it. end_to_end: ``extract_features`` with the network
    loaded: list, decode, resize, forward, write, join. textbook: fp32, NCHW, batches of 32,
    images transformed in the main process, features in a list, saved at the end. decoding:
    images read by the same processes while nothing else runs. textbook_images: of the
    textbook loop alone.
    """

    images: int
    textbook_images: int
    device: str
    compute_dtype: str
    batch_size: int
    workers: int
    seconds: dict[str, list[float]]

    def rate(self, name: str) -> float:
        """Images a second of 'bare', 'channels_last', 'end_to_end', 'textbook' or 'decoding'."""
        return rate(self._count(name), self.seconds[name])

    def times(self, name: str, other: str) -> float:
        """How many times as fast as ``other`` one is, by the median of the rounds' own ratios."""
        return ratio(self.seconds[other], self.seconds[name]) * self._count(name) / self._count(other)

    def _count(self, name: str) -> int:
        return self.textbook_images if name == "textbook" else self.images

    def to_dict(self) -> dict[str, Any]:
        """Everything, ready for JSON."""
        return {
            "images": self.images,
            "textbook_images": self.textbook_images,
            "device": self.device,
            "compute_dtype": self.compute_dtype,
            "batch_size": self.batch_size,
            "workers": self.workers,
            "images_per_second": {name: self.rate(name) for name in self.seconds},
            "end_to_end_to_bare": self.times("end_to_end", "bare"),
            "end_to_end_to_decoding": self.times("end_to_end", "decoding"),
            "end_to_end_to_textbook": self.times("end_to_end", "textbook"),
            "bare_to_channels_last": self.times("bare", "channels_last"),
            "seconds": self.seconds,
        }


def benchmark_extraction(
    images: Path | None, config: ExtractionConfig, *, count: int = 512, rounds: int = 3
) -> ExtractionBenchmark:
    """Measure on the first ``count`` of ``images``, or on as many drawn ones, in so many alternating rounds."""
    backbone = find_backbone(config.backbone)
    layer = backbone.choose_layer(config.layer)
    network = load_network(backbone, layer, config.weights, device=config.device, precision=config.precision)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        photos = _first(list_images(images if images is not None else _draw(folder / "images", count)), count)
        _write_list(folder / "list.csv", photos)
        batch_size, workers = choose_batch_size(config, network.device), choose_workers(config, network.device)
        rows = [(a, min(a + batch_size, len(photos))) for a in range(0, len(photos), batch_size)]
        # Their weights make them neither faster nor slower.
        textbook = backbone.cut(backbone.build(), layer).eval().to(network.device)
        plain = backbone.cut(backbone.build(), layer).eval().to(network.device, network.dtype)
        plain.to(memory_format=torch.channels_last)
        if network.device.type == "cpu":
            # An extraction forks what decodes before its network is there. Here a fork would copy the page tables of
            # all networks, and its end remove them, which took 0.1 s a round; those of shared memory it does not.
            share([*network.parameters(), *textbook.parameters(), *plain.parameters()])
        few = _first(photos, TEXTBOOK_IMAGES)

        def end_to_end() -> None:
            extract_features(folder / "list.csv", folder / "cache.h5", config.replace(overwrite=True), network=network)

        def decoding() -> None:
            with read_batches(photos, rows, batch_size, workers, backbone.preprocessing) as batches:
                for _ in batches:
                    pass

        def loop() -> None:
            _textbook(few, textbook, backbone.preprocessing, network.device, folder / "features.npy")

        shape = batch_size, 3, backbone.preprocessing.crop, backbone.preprocessing.crop
        bare = _forward(network, network.activations, shape, len(rows))
        channels_last = _forward(network, plain, shape, len(rows))
        contestants = {
            "bare": bare,
            "end_to_end": end_to_end,
            "channels_last": channels_last,
            "textbook": loop,
            "decoding": decoding,
        }
        bare()
        channels_last()
        seconds = alternate(contestants, rounds)
    return ExtractionBenchmark(
        len(photos),
        len(few),
        str(network.device),
        str(network.dtype).removeprefix("torch."),
        batch_size,
        workers,
        seconds,
    )


def _forward(
    network: Network, layers: Callable[[Tensor], Tensor], shape: tuple[int, ...], batches: int
) -> Callable[[], None]:
    """A forward pass alone, on so many batches; memory is kept as it is in an extraction."""
    random = torch.randn(shape)
    there = random.to(network.device, network.dtype, memory_format=torch.channels_last)

    @kept_memory()
    def forward() -> None:
        with torch.inference_mode():
            for _ in range(batches):
                layers(there)
        if network.device.type == "cuda":
            torch.cuda.synchronize(network.device)

    return forward


def _first(images: ImageList, count: int) -> ImageList:
    count = min(count, len(images))
    return ImageList.of(images.folder, list(images.ids[:count]), [images.path(number) for number in range(count)])


def _write_list(table: Path, images: ImageList) -> None:
    paths = (os.path.abspath(os.fsdecode(images.path(number))) for number in range(len(images)))
    write_table(table, ("image_id", "path"), zip(images.ids, paths))


def _draw(folder: Path, count: int) -> Path:
    """Blurred noise: photos as far as a JPEG decoder can tell."""
    folder.mkdir()
    random = np.random.default_rng(0)
    for number in range(count):
        coarse = Image.fromarray(random.integers(0, 256, (48, 64, 3), np.uint8))
        coarse.resize(DRAWN_SIZE, Image.Resampling.BICUBIC).save(folder / f"{number:05}.jpg", quality=90)
    return folder


def _textbook(
    images: ImageList, network: nn.Module, preprocessing: Preprocessing, device: torch.device, output: Path
) -> None:
    transform = transforms.Compose(
        [
            transforms.Resize(preprocessing.resize, transforms.InterpolationMode(preprocessing.interpolation)),
            transforms.CenterCrop(preprocessing.crop),
            transforms.ToTensor(),
            transforms.Normalize(preprocessing.mean, preprocessing.std),
        ]
    )
    features = []
    with torch.no_grad():
        for start in range(0, len(images), TEXTBOOK_BATCH):
            numbers = range(start, min(start + TEXTBOOK_BATCH, len(images)))
            batch = torch.stack([transform(Image.open(images.path(number)).convert("RGB")) for number in numbers])
            features.append(network(batch.to(device)).cpu())
    np.save(output, torch.cat(features).numpy())
