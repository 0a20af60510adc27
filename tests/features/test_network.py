"""VGG's features are torchvision's, on any number of threads."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision
from PIL import Image
from tiny_backbone import tiny_network
from torch import nn
from torchvision.models import VGG16_Weights
from torchvision.models.feature_extraction import create_feature_extractor

from ranktag.compute.cpu_layers import arrange
from ranktag.features.backbone import find_backbone
from ranktag.features.backbones import vgg16
from ranktag.features.network import Network, load_network
from ranktag.features.read_weights import random_weights
from ranktag.images.batches import Batch
from ranktag.images.pixels import read_pixels


@pytest.fixture(scope="module")
def network() -> Network:
    return load_network(vgg16.BACKBONE, "fc7", "random:3", device="cpu", precision="fp32")


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two ordinary photos, as far as a network can tell."""
    folder = tmp_path_factory.mktemp("photos")
    random = np.random.default_rng(0)
    paths = []
    for number, size in enumerate([(400, 300), (270, 350)]):
        image = Image.fromarray(random.integers(0, 256, (12, 16, 3), np.uint8)).resize(size, Image.Resampling.BICUBIC)
        paths.append(folder / f"{number}.png")
        image.save(paths[-1])
    return paths


def torchvisions(name: str, layer: str) -> nn.Module:
    """Torchvision's own network and feature extractor with ranktag's random weights."""
    with torch.device("meta"):
        network = getattr(torchvision.models, name)(weights=None, init_weights=False)
    network.classifier = network.classifier[:6]
    network.load_state_dict(random_weights(network.state_dict(), 3)[0], assign=True)
    # Node names: classifier.1 and classifier.4 are the ReLUs after fc6 and fc7.
    return create_feature_extractor(network.eval(), {{"fc6": "classifier.1", "fc7": "classifier.4"}[layer]: "out"})


@pytest.mark.parametrize(("name", "layer"), [("vgg16", "fc7"), ("vgg19", "fc6")])
def test_features_equal_torchvisions_on_the_same_weights(
    photos: list[Path], network: Network, name: str, layer: str
) -> None:
    transforms = VGG16_Weights.IMAGENET1K_V1.transforms()
    inputs = torch.stack([transforms(Image.open(path)) for path in photos])
    pixels = torch.from_numpy(np.stack([read_pixels(path, vgg16.BACKBONE.preprocessing) for path in photos]))
    ours = (
        network
        if name == "vgg16"
        else load_network(find_backbone(name), layer, "random:3", device="cpu", precision="fp32")
    )
    # Pixels may differ by one level of 255 where a rounding falls the other way.
    assert (ours.normalise(pixels) - inputs).abs().max() < 1.01 / 255 / 0.224
    with torch.inference_mode():
        expected, features = torchvisions(name, layer)(inputs)["out"], ours.activations(inputs)
        from_pixels = ours(pixels)
    torch.testing.assert_close(features, expected, rtol=1e-4, atol=1e-4)
    assert from_pixels.shape == (2, 4096) and from_pixels.dtype == torch.float32 and (from_pixels >= 0).all()
    assert torch.linalg.norm(from_pixels - expected) / torch.linalg.norm(expected) < 2e-3
    assert 0.2 < (features == 0).float().mean() < 0.8 and 0.1 < features.std() < 10


def test_pixels_are_normalised_as_torchvision_does(network: Network, photos: list[Path]) -> None:
    pixels = read_pixels(photos[0], vgg16.BACKBONE.preprocessing).copy()
    expected = torchvision.transforms.Compose(
        [
            torchvision.transforms.ToTensor(),
            torchvision.transforms.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
        ]
    )(Image.fromarray(pixels))
    torch.testing.assert_close(network.normalise(torch.from_numpy(pixels)[None])[0], expected, rtol=1e-6, atol=1e-6)


def test_bfloat16_features_are_close_to_float32(network: Network) -> None:
    pixels = (
        torch.from_numpy(np.random.default_rng(0).integers(0, 256, (4, 8, 8, 3), np.uint8))
        .repeat_interleave(28, 1)
        .repeat_interleave(28, 2)
    )
    with torch.inference_mode():
        exact = network(pixels)
        rounded = load_network(vgg16.BACKBONE, "fc7", "random:3", device="cpu", precision="bf16")(pixels)
    assert rounded.dtype == torch.float32
    exact, rounded = exact - exact.mean(0), rounded - rounded.mean(0)
    assert torch.cosine_similarity(exact, rounded).mean() >= 0.999


def test_features_do_not_depend_on_the_number_of_threads(network: Network) -> None:
    pixels = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (4, 224, 224, 3), np.uint8))
    threads = torch.get_num_threads()
    features = []
    try:
        for number in (1, 2):
            torch.set_num_threads(number)
            with torch.inference_mode():
                features.append(network(pixels))
    finally:
        torch.set_num_threads(threads)
    assert torch.equal(*features)


def test_dropout_is_off_and_nothing_is_trained(network: Network) -> None:
    assert not any(isinstance(m, nn.Dropout) for m in network.modules())
    assert not any(p.requires_grad for p in network.parameters())


class Counts(nn.Module):
    """Lets through what it is given, and notes how many rows that is."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[int] = []

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.seen.append(len(x))
        return x


@pytest.mark.parametrize("crops", ["center", "flip", "ten"])
@pytest.mark.parametrize(
    ("dtype", "ends", "sizes", "together"),
    [
        # 256 rows at most, each of a batch of 64, which may end in places without an image.
        (torch.bfloat16, (), [64] * 6, [256, 128]),
        (torch.bfloat16, (189,), [64] * 6, [192, 192]),
        (torch.bfloat16, (), [64, 64, 192, 300], [320, 300]),
        (torch.bfloat16, (), [300, 64], [300, 64]),
        (torch.float32, (), [16, 16, 48], [16, 16, 48]),
    ],
)
def test_on_a_processor_batches_go_through_the_matrices_together(
    crops: str, dtype: torch.dtype, ends: tuple[int, ...], sizes: list[int], together: list[int]
) -> None:
    torch.manual_seed(0)
    counts, rules = Counts(), replace(vgg16.BACKBONE.preprocessing, crops=crops, crop=6, resize=8)
    layers = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), counts, nn.Linear(64, 8, bias=False))
    network = Network(arrange(layers, torch.device("cpu"), dtype), rules, "", torch.device("cpu"), dtype)
    random = np.random.default_rng(0)
    pixels = [random.integers(0, 256, (size, *rules.shape), np.uint8) for size in sizes]
    expected = [network(torch.from_numpy(batch)).numpy() for batch in pixels]
    views = {"center": 1, "flip": 2, "ten": 10}[crops]
    assert counts.seen == [size for size in sizes for _ in range(views)]
    counts.seen.clear()

    def batches() -> Iterator[Batch]:
        # As what decodes does: the pixels are overwritten by the next batch's.
        shared = np.empty((max(sizes), *rules.shape), np.uint8)
        for start, batch in zip(np.cumsum([0, *sizes]).tolist(), pixels):
            shared[: len(batch)] = batch
            # Of 64 places of the third batch 61 hold an image.
            yield Batch(start, start + len(batch) - 3 * (start == 128), shared[: len(batch)], {start: "why"})

    found = [(batch, features.copy()) for batch, features in network.features_of(batches(), ends)]
    assert counts.seen == [rows for rows in together for _ in range(views)]
    assert [batch.errors for batch, _ in found] == [{start: "why"} for start in np.cumsum([0, *sizes[:-1]]).tolist()]
    for (_, features), alone in zip(found, expected, strict=True):
        np.testing.assert_allclose(features, alone, rtol=2**-7, atol=2**-9)


def test_on_a_gpu_a_batch_is_fetched_once_the_next_is_on_its_way(monkeypatch: pytest.MonkeyPatch) -> None:
    network = tiny_network()
    happened: list[str] = []

    class Copied:
        def __init__(self, name: str) -> None:
            self.name = name

        def synchronize(self) -> None:
            happened.append(f"{self.name} is waited for")

    def start(batch: Batch) -> tuple[torch.Tensor, Copied]:
        happened.append(f"{batch.start} starts")
        with torch.inference_mode():
            return network(torch.from_numpy(batch.pixels)), Copied(str(batch.start))

    monkeypatch.setattr(network, "device", torch.device("cuda"))
    monkeypatch.setattr(network, "_start", start)
    pixels = np.random.default_rng(0).integers(0, 256, (3, 2, 224, 224, 3), np.uint8)
    batches = [Batch(2 * number, 2 * number + 2, pixels[number], {}) for number in range(3)]
    found = list(network.features_of(batches))
    order = ["0 starts", "2 starts", "0 is waited for", "4 starts", "2 is waited for", "4 is waited for"]
    assert happened == order
    for batch, (returned, features) in zip(batches, found, strict=True):
        assert returned is batch
        np.testing.assert_array_equal(features, network(torch.from_numpy(batch.pixels)).numpy())
