"""A network is described by one module; one that is added is used by its name, whatever its width and its images."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from added import TINY, run_with
from making import make_tags
from PIL import Image
from torch import nn

from ranktag import registry
from ranktag.errors import RanktagError
from ranktag.feature_cache.store import open_features
from ranktag.features.backbone import FOLDER, find_backbone
from ranktag.features.read_weights import random_weights
from ranktag.images.pixels import Preprocessing, read_pixels
from ranktag.tags.predictions import read_predictions

PREPROCESSING = Preprocessing(40, 32, "bicubic", mean=(0.5, 0.4, 0.3), std=(0.25, 0.25, 0.5))
FP32 = ("--precision", "fp32", "--device", "cpu")
SMALL = ("--hidden", 8, "--projection", 8, "--embedding", 8, "--members", 1, "--epochs", 2)


def draw(folder: Path) -> tuple[Path, Path]:
    """Twenty photos of noise, and a list of tags for each."""
    random = np.random.default_rng(0)
    (folder / "photos").mkdir()
    lists, split = {}, {}
    for number in range(20):
        name = f"{number:02}.png"
        Image.fromarray(random.integers(0, 256, (48, 60, 3), np.uint8)).save(folder / "photos" / name)
        lists[name] = [("dog", "cat", "sky")[number % 3 :]]
        split[name] = "val" if number % 5 == 0 else "train"
    return folder / "photos", make_tags(folder / "tags.csv", lists, split)


def by_hand(photo: Path, weights: dict[str, torch.Tensor]) -> torch.Tensor:
    """What TINY says in words."""
    x = torch.tensor(read_pixels(photo, PREPROCESSING)).permute(2, 0, 1)[None] / 255
    x = (x - torch.tensor(PREPROCESSING.mean).view(3, 1, 1)) / torch.tensor(PREPROCESSING.std).view(3, 1, 1)
    return nn.functional.conv2d(x, weights["0.weight"], weights["0.bias"], stride=8).relu().mean((2, 3))[0]


def test_a_module_adds_a_network(tmp_path: Path) -> None:
    (tmp_path / "networks").mkdir()
    (tmp_path / "networks/tiny.py").write_text(TINY)
    photos, tags = draw(tmp_path)
    cache, run, predictions = tmp_path / "c.h5", tmp_path / "run", tmp_path / "p.csv"
    extract = ("extract-features", photos, "--backbone", "tiny", "-o")
    random = ("--weights", "random:3", "--dtype", "float32", *FP32)
    made, again, trained, exported, tagged, no_layer, no_weights = run_with(
        {FOLDER: tmp_path / "networks"},
        [
            (*extract, cache, *random),
            (*extract, cache, *random, "--layer", "pool"),
            ("train-from-cache", cache, tags, "-o", run, *SMALL, *FP32),
            ("export-tags", cache, "--model", run, "-o", predictions, "--num-tags", 2, *FP32),
            ("tag", photos, "--model", run, "--num-tags", 2, "--format", "json", *FP32),
            (*extract, tmp_path / "d.h5", *random, "--layer", "fc7"),
            (*extract, tmp_path / "d.h5", *FP32),
        ],
    )
    for outcome in (made, again, trained, exported, tagged):
        assert outcome.code == 0, outcome
    assert "All 20 images were done already." in again.out
    store = open_features(cache)
    assert store.width == 24 and store.valid.all()
    found = store.provenance
    assert (found.backbone, found.layer, found.weights) == ("tiny", "pool", "random:3")
    assert found.preprocessing == PREPROCESSING.to_json()
    weights, sha256 = random_weights({"0.weight": torch.empty(24, 3, 8, 8), "0.bias": torch.empty(24)}, 3)
    assert found.weights_sha256 == sha256
    for row in (0, 7, 19):
        expected = by_hand(photos / store.image_id[row], weights)
        torch.testing.assert_close(torch.from_numpy(store.features[row].copy()), expected, rtol=1e-4, atol=1e-4)
    expected_tags = read_predictions(predictions)
    for image in json.loads(tagged.out):
        ranked = expected_tags[Path(image["image"]).name]
        assert [tag["tag"] for tag in image["tags"]] == [tag for tag, _ in ranked]
        assert [tag["probability"] for tag in image["tags"]] == pytest.approx([p for _, p in ranked], abs=1e-4)
    no_layer.assert_refused("--layer fc7: tiny has no such layer; choose one of pool")
    no_weights.assert_refused("--weights default", "no published weights")
    assert not (tmp_path / "d.h5").exists()


def test_the_networks_are_described_without_torch_and_as_they_are() -> None:
    assert registry.names(FOLDER) == ("timm", "torchvision", "vgg16", "vgg19")
    for name in ("vgg16", "vgg19"):
        backbone = find_backbone(name)
        assert backbone.name == name and backbone.choose_layer(None) == "fc7"
        crop = backbone.preprocessing.crop
        for layer, width in backbone.layers.items():
            with torch.device("meta"):
                network = backbone.cut(backbone.build(), layer)
                assert network(torch.empty(2, 3, crop, crop)).shape == (2, width)


def test_an_unknown_layer_is_refused_with_those_there_are(ranktag: Callable, tmp_path: Path) -> None:
    outcome = ranktag("extract-features", tmp_path, "-o", tmp_path / "c.h5", "--layer", "fc8")
    outcome.assert_refused("--layer fc8: vgg16 has no such layer; choose one of fc7, fc6")
    assert not list(tmp_path.iterdir())


def test_an_unknown_network_is_refused_with_those_there_are(ranktag: Callable, tmp_path: Path) -> None:
    outcome = ranktag("extract-features", tmp_path, "-o", tmp_path / "c.h5", "--backbone", "vgg17")
    outcome.assert_refused("vgg17", "vgg16", "vgg19")
    with pytest.raises(RanktagError, match="'vgg17' is not one of timm, torchvision, vgg16, vgg19; choose one of them"):
        find_backbone("vgg17")
