"""Stage one on a GPU: features of the processor, fetched when they are there, and what happens when it is lost."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from extracting import make_photos
from fake_gpu import FakeGpu
from tiny_backbone import tiny_network

from ranktag.config import ExtractionConfig
from ranktag.feature_cache.store import open_features
from ranktag.features.backbone import find_backbone
from ranktag.features.backbones import vgg16
from ranktag.features.extract import extract_features
from ranktag.features.in_memory import FeatureMaker
from ranktag.features.network import Network, load_network
from ranktag.images.batches import Batch

TORCHVISION = "torchvision:mobilenet_v3_small"
SMALL = ExtractionConfig(
    backbone=TORCHVISION, weights="random:0", precision="fp32", dtype="float32", batch_size=3, workers=1, shard_size=8
)


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten, of which number 5 cannot be read."""
    folder = make_photos(tmp_path_factory.mktemp("photos"))
    for photo in sorted(folder.iterdir())[10:]:
        photo.unlink()
    return folder


@pytest.mark.parametrize("crops", ["center", "ten"])
def test_features_are_the_processor_s(photos: Path, tmp_path: Path, device: str, crops: str) -> None:
    for name, where in (("processor", "cpu"), ("gpu", device)):
        extract_features(photos, tmp_path / f"{name}.h5", SMALL.replace(device=where, crops=crops))
    here, there = (open_features(tmp_path / f"{name}.h5") for name in ("processor", "gpu"))
    assert list(here.image_id) == list(there.image_id) and list(here.error) == list(there.error)
    assert (here.valid == there.valid).all() and here.valid.sum() == 9
    # The processor convolves otherwise in float32.
    np.testing.assert_allclose(here.features[:], there.features[:], rtol=1e-3, atol=1e-4, equal_nan=True)


def test_timms_networks_run_there_too(photos: Path, tmp_path: Path, device: str) -> None:
    pytest.importorskip("timm", reason="timm is not installed")
    config = SMALL.replace(backbone="timm:test_resnet")
    for name, where in (("processor", "cpu"), ("gpu", device)):
        extract_features(photos, tmp_path / f"{name}.h5", config.replace(device=where))
    here, there = (open_features(tmp_path / f"{name}.h5").features[:] for name in ("processor", "gpu"))
    np.testing.assert_allclose(here, there, rtol=1e-3, atol=1e-4, equal_nan=True)


def vgg(device: torch.device, dtype: torch.dtype) -> Network:
    """VGG-16's kinds of layers, few and narrow, as they are arranged for a device."""
    from torch import nn

    from ranktag.compute.cpu_layers import arrange

    torch.manual_seed(0)
    layers = nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 8, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2, 2),
        nn.AdaptiveAvgPool2d(7), nn.Flatten(), nn.Linear(8 * 49, 4096), nn.ReLU(),
    )  # fmt: skip
    return Network(arrange(layers, device, dtype), vgg16.BACKBONE.preprocessing, "0" * 64, device, dtype)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_layers_like_vggs_lie_channels_last_and_give_the_processor_s(device: str, dtype: torch.dtype) -> None:
    here, there = (vgg(torch.device(where), dtype) for where in ("cpu", device))
    convolution = there.layers[0]
    assert convolution.weight.is_contiguous(memory_format=torch.channels_last)
    pixels = np.random.default_rng(0).integers(0, 256, (4, 2, 224, 224, 3), np.uint8)
    # One buffer for every batch, as the decoders have: it is overwritten when the next is asked for.
    buffer = np.empty((2, 224, 224, 3), np.uint8)

    def batches() -> Iterator[Batch]:
        for number, own in enumerate(pixels):
            buffer[:] = own
            yield Batch(2 * number, 2 * number + 2, buffer, {})

    found = [(batch.start, features.copy()) for batch, features in there.features_of(batches())]
    expected = [(batch.start, features.copy()) for batch, features in here.features_of(batches())]
    assert [start for start, _ in found] == [start for start, _ in expected] == [0, 2, 4, 6]
    tolerance = 1e-4 if dtype == torch.float32 else 0.02
    for (_, ours), (_, theirs) in zip(found, expected, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=tolerance, atol=tolerance)


def test_what_it_computes_in_follows_from_the_gpu(fake: FakeGpu) -> None:
    backbone = find_backbone(TORCHVISION)
    for capability, dtype in (((9, 0), torch.bfloat16), ((8, 0), torch.bfloat16), ((7, 5), torch.float32)):
        fake.capability = capability
        network = load_network(backbone, backbone.choose_layer(None), "random:0", device="cuda:1")
        assert network.dtype == dtype
        assert {p.device for p in network.parameters()} == {torch.device("cuda:1")}
    assert {p.dtype for p in network.parameters()} == {torch.float32}


def test_the_first_gpu_is_taken_unless_one_is_named(
    photos: Path, tmp_path: Path, fake: FakeGpu, monkeypatch: pytest.MonkeyPatch
) -> None:
    extract_features(photos, tmp_path / "f.h5", SMALL)
    assert fake.computed[1] == 0 < fake.computed[0]
    # Of torchrun's processes each has its own.
    monkeypatch.setenv("LOCAL_RANK", "1")
    before = fake.computed[0]
    extract_features(photos, tmp_path / "g.h5", SMALL)
    assert fake.computed[0] == before and fake.computed[1] > 0


def test_features_in_memory_are_those_of_a_cache(photos: Path, tmp_path: Path, device: str) -> None:
    config = SMALL.replace(device=device)
    extract_features(photos, tmp_path / "f.h5", config)
    store = open_features(tmp_path / "f.h5")
    maker = FeatureMaker(store.provenance, config=config)
    paths = [photos / image_id for image_id in store.image_id]
    found = np.concatenate([features for features, _ in maker.of_paths(paths)])
    np.testing.assert_allclose(found, store.features[:], rtol=1e-4, atol=1e-5, equal_nan=True)


def test_a_network_in_memory_is_moved_as_it_is(device: str) -> None:
    network = tiny_network()
    pixels = torch.randint(0, 256, (2, 224, 224, 3), dtype=torch.uint8)
    expected = network(pixels)
    network.to(device)
    torch.testing.assert_close(network(pixels.to(device)).cpu(), expected)
