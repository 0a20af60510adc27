"""Networks of torchvision and timm: their own preparation of images, their own features, their own weights."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import timm
import timm.data
import torch
import torchvision
from making import make_tags
from PIL import Image
from real_data import DATA
from torch import nn
from torchvision.models.feature_extraction import create_feature_extractor

from ranktag.errors import RanktagError
from ranktag.feature_cache.store import open_features
from ranktag.features.backbone import Backbone, find_backbone
from ranktag.features.backbones import timm as timm_networks
from ranktag.features.network import load_network
from ranktag.features.read_weights import published_file, random_weights
from ranktag.images.pixels import Preprocessing, read_pixels

ORIGINALS, REAL = DATA / "voc2007/original_samples", DATA / "weights/tf_efficientnet_lite0.safetensors"
FP32 = ("--precision", "fp32", "--device", "cpu")
# Small networks, with the node or module whose output the classifier is given.
TORCHVISION = {"mobilenet_v3_small": "classifier.2", "squeezenet1_1": "squeezed", "resnet18": "flatten"}
TIMM = ("test_efficientnet", "test_resnet", "test_vit")


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Photos of several forms: real ones where they are there, else blurred noise."""
    real = sorted(ORIGINALS.glob("*.jpg"))[::5]
    if real:
        return real
    folder, random = tmp_path_factory.mktemp("photos"), np.random.default_rng(0)
    for number, size in enumerate([(500, 375), (334, 500), (304, 404)]):
        noise = Image.fromarray(random.integers(0, 256, (24, 32, 3), np.uint8))
        noise.resize(size, Image.Resampling.BICUBIC).save(folder / f"{number}.png")
    return sorted(folder.iterdir())


def prepared(backbone: Backbone, photo: Path) -> torch.Tensor:
    return torch.from_numpy(read_pixels(photo, backbone.preprocessing).copy())


def levels(transform: Callable[[Image.Image], torch.Tensor], backbone: Backbone, photo: Path) -> torch.Tensor:
    """How many of 255 levels our pixels are off the library's."""
    rules = backbone.preprocessing
    theirs = transform(Image.open(photo).convert("RGB")) * torch.tensor(rules.std).view(3, 1, 1)
    theirs = (theirs + torch.tensor(rules.mean).view(3, 1, 1)) * 255
    return (theirs - prepared(backbone, photo).permute(2, 0, 1)).abs()


def torchvisions(name: str) -> nn.Module:
    """Torchvision's own extractor of what the classifier is given, with ranktag's random weights for all else."""
    whole = torchvision.models.get_model(name, weights=None).eval()
    load_random(whole, find_backbone(f"torchvision:{name}"))
    if name == "squeezenet1_1":
        return nn.Sequential(whole.features, nn.AdaptiveAvgPool2d(1), nn.Flatten())
    return create_feature_extractor(whole, {TORCHVISION[name]: "out"})


def load_random(whole: nn.Module, backbone: Backbone) -> None:
    state, _ = random_weights(backbone.build().state_dict(), 3)
    missing, foreign = whole.load_state_dict(state, strict=False)
    assert not foreign and all(key.startswith(backbone.unused) for key in missing)


@pytest.mark.parametrize("name", TORCHVISION)
def test_torchvisions_networks_see_and_give_what_torchvision_does(name: str, photos: list[Path]) -> None:
    backbone = find_backbone(f"torchvision:{name}")
    transform = torchvision.models.get_model_weights(name).DEFAULT.transforms()
    network = load_network(backbone, "pooled", "random:3", device="cpu", precision="fp32")
    reference = torchvisions(name)
    for photo in photos:
        assert levels(transform, backbone, photo).mean() < 1
        with torch.inference_mode():
            given: Any = reference(transform(Image.open(photo).convert("RGB"))[None])
            expected = given["out"] if isinstance(given, dict) else given
            features = network(prepared(backbone, photo)[None])
        assert features.shape == expected.shape == (1, backbone.layers["pooled"])
        assert torch.cosine_similarity(features, expected).item() > 0.9999 and features.std() > 0


@pytest.mark.parametrize("name", TIMM)
def test_timms_networks_see_and_give_what_timm_does(name: str, photos: list[Path]) -> None:
    backbone = find_backbone(f"timm:{name}")
    network = load_network(backbone, "pooled", "random:3", device="cpu", precision="fp32")
    whole = timm.create_model(name).eval()
    load_random(whole, backbone)
    transform = timm.data.create_transform(**timm.data.resolve_data_config({}, model=whole))
    for photo in photos:
        assert levels(transform, backbone, photo).mean() < 1
        with torch.inference_mode():
            maps = whole.forward_features(transform(Image.open(photo).convert("RGB"))[None])
            expected = whole.forward_head(maps, pre_logits=True)
            features = network(prepared(backbone, photo)[None])
        assert features.shape == expected.shape == (1, backbone.layers["pooled"])
        assert torch.cosine_similarity(features, expected).item() > 0.9999 and features.std() > 0


def test_random_weights_know_norms_counts_and_indices() -> None:
    shapes = {
        "conv.weight": torch.empty(4, 2, 3, 3),
        "bn.weight": torch.empty(4),
        "bn.bias": torch.empty(4),
        "bn.running_mean": torch.empty(4),
        "bn.running_var": torch.empty(4),
        "bn.num_batches_tracked": torch.tensor(7),
        "index": torch.arange(6).view(2, 3),
        "gamma": torch.empty(4),
    }
    state, sha256 = random_weights(shapes, 0)
    assert state["conv.weight"].abs().max() <= (6 / 18) ** 0.5 and state["conv.weight"].std() > 0.1
    for name in ("bn.weight", "bn.running_var", "gamma"):
        assert (state[name] == 1).all()
    for name in ("bn.bias", "bn.running_mean"):
        assert not state[name].any()
    assert state["bn.num_batches_tracked"] == 7 and torch.equal(state["index"], shapes["index"])
    # What is not drawn takes nothing from the stream: the matrix is the same alone.
    alone, _ = random_weights({"conv.weight": shapes["conv.weight"]}, 0)
    assert torch.equal(alone["conv.weight"], state["conv.weight"])
    assert random_weights(shapes, 0)[1] == sha256


@pytest.fixture(scope="module")
def whole() -> nn.Module:
    torch.manual_seed(0)
    return timm.create_model("test_efficientnet")


def save(state: dict[str, torch.Tensor], file: Path) -> None:
    if file.suffix == ".pth":
        torch.save(state, file)
    else:
        safetensors.torch.save_file(state, file)


@pytest.mark.parametrize("name", ["w.pth", "w.safetensors", "safetensors-by-another-name"])
@pytest.mark.parametrize("classes", [True, False])
def test_a_file_is_read_with_its_classifier_or_without(
    whole: nn.Module, tmp_path: Path, name: str, classes: bool
) -> None:
    state = {k: v for k, v in whole.state_dict().items() if classes or not k.startswith("classifier.")}
    save(state, tmp_path / name)
    network = load_network(find_backbone("timm:test_efficientnet"), "pooled", str(tmp_path / name), device="cpu")
    found = {key.removeprefix("0."): value for key, value in network.layers.state_dict().items()}
    assert found.keys() == {key for key in state if not key.startswith("classifier.")}
    for key, value in found.items():
        torch.testing.assert_close(value.float(), state[key].float(), rtol=0.01, atol=0.01)


@pytest.mark.parametrize("name", ["w.pth", "w.safetensors"])
@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda s: {k: v for k, v in s.items() if k != "bn1.running_var"}, "it lacks 'bn1.running_var'"),
        (lambda s: {**s, "blocks.9.conv.weight": torch.zeros(2)}, "it has, besides, 'blocks.9.conv.weight'"),
        (lambda s: {**s, "bn1.weight": torch.zeros(5)}, r"'bn1.weight' is \(5,\), expected \(24,\) floats"),
        (lambda s: {"else": torch.zeros(5)}, "holds no state dict of timm:test_efficientnet"),
    ],
)
def test_another_networks_file_is_refused_by_its_first_key(
    whole: nn.Module, tmp_path: Path, name: str, change: Callable[[dict], dict], words: str
) -> None:
    save(change(dict(whole.state_dict())), tmp_path / name)
    with pytest.raises(RanktagError, match=words):
        load_network(find_backbone("timm:test_efficientnet"), "pooled", str(tmp_path / name), device="cpu")


def test_counts_that_old_files_lack_are_the_networks_own(whole: nn.Module, tmp_path: Path) -> None:
    save({k: v for k, v in whole.state_dict().items() if "num_batches" not in k}, tmp_path / "w.pth")
    load_network(find_backbone("timm:test_efficientnet"), "pooled", str(tmp_path / "w.pth"), device="cpu")


def test_a_damaged_safetensors_file_is_refused(whole: nn.Module, tmp_path: Path) -> None:
    save(dict(whole.state_dict()), tmp_path / "w.safetensors")
    (tmp_path / "w.safetensors").write_bytes((tmp_path / "w.safetensors").read_bytes()[:-100])
    with pytest.raises(RanktagError, match=r"w.safetensors: damaged"):
        load_network(find_backbone("timm:test_efficientnet"), "pooled", str(tmp_path / "w.safetensors"), device="cpu")


def test_without_safetensors_the_error_names_it(
    whole: nn.Module, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save(dict(whole.state_dict()), tmp_path / "w.safetensors")
    monkeypatch.setitem(__import__("sys").modules, "safetensors.torch", None)
    with pytest.raises(RanktagError, match=r"pip install safetensors \(it comes with 'ranktag\[timm\]'\)"):
        load_network(find_backbone("timm:test_efficientnet"), "pooled", str(tmp_path / "w.safetensors"), device="cpu")


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("torchvision:resnet5", "torchvision has no such network; did you mean torchvision:resnet50"),
        ("timm:tf_efficientnet_lite", "did you mean timm:tf_efficientnet_lite"),
        ("timm:zzzz", r"--list-backbones 'timm:\*' lists all"),
        ("torchvision", "is a library of networks; write torchvision:NAME"),
        ("vgg16:bn", "vgg16 is one network; write --backbone vgg16"),
        ("resnet50", "written torchvision:NAME or timm:NAME"),
    ],
)
def test_unknown_networks_are_refused_with_those_like_them(name: str, words: str) -> None:
    with pytest.raises(RanktagError, match=words):
        find_backbone(name)


def test_a_network_without_square_images_is_refused() -> None:
    configuration = {"input_size": (1, 224, 224), "crop_mode": "center"}
    with pytest.raises(ValueError, match="1 x 224 x 224"):
        timm_networks._preprocessing(configuration)
    with pytest.raises(ValueError, match="'border'"):
        timm_networks._preprocessing({"input_size": (3, 8, 8), "crop_mode": "border"})


def test_networks_are_listed_by_a_pattern(ranktag: Callable) -> None:
    assert ranktag("extract-features", "--list-backbones", "torchvision:vgg1?").out.split() == [
        f"torchvision:vgg{number}" for number in (11, 13, 16, 19)
    ]
    everything = ranktag("extract-features", "--list-backbones").out.split()
    assert {"vgg16", "vgg19", "torchvision:resnet50", "timm:tf_efficientnet_lite0"} <= set(everything)
    assert "timm:tf_efficientnet_lite0" in ranktag("extract-features", "--list-backbones", "net_lite0").out.split()
    ranktag("extract-features", "--list-backbones", "nothing").assert_refused("no network has such a name")


def test_timms_own_weights_come_from_the_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, str]] = []

    def download(repository: str, name: str) -> str:
        asked.append((repository, name))
        return str(tmp_path / "model.safetensors")

    monkeypatch.setattr("huggingface_hub.hf_hub_download", download)
    published = find_backbone("timm:tf_efficientnet_lite0").published
    assert published is not None and published.name == "timm/tf_efficientnet_lite0.in1k"
    assert published_file(published) == tmp_path / "model.safetensors"
    assert asked == [("timm/tf_efficientnet_lite0.in1k", "model.safetensors")]
    monkeypatch.setattr("huggingface_hub.hf_hub_download", lambda *names: (_ for _ in ()).throw(OSError("offline")))
    with pytest.raises(RanktagError, match=r"offline.*huggingface.co/timm/tf_efficientnet_lite0.in1k.*--weights FILE"):
        published_file(published)


@pytest.mark.parametrize("crops", ["flip", "ten"])
def test_features_of_crops_are_the_mean_of_each_ones(photos: list[Path], crops: str) -> None:
    plain = find_backbone("timm:test_resnet")
    averaging = plain.with_crops(crops)
    one = load_network(plain, "pooled", "random:3", device="cpu", precision="fp32")
    many = load_network(averaging, "pooled", "random:3", device="cpu", precision="fp32")
    # A landscape and a portrait, at the network's own size and crop of them.
    for photo in photos[:2]:
        rules = plain.preprocessing
        image = Image.open(photo).convert("RGB")
        mode = torchvision.transforms.InterpolationMode(rules.interpolation)
        resized = torchvision.transforms.Resize(rules.resize, mode)(image)
        assert rules.resize > rules.crop
        crop: Any = torchvision.transforms.TenCrop(rules.crop)(resized)
        views = crop if crops == "ten" else (crop[4], crop[9])
        with torch.inference_mode():
            expected = one(torch.stack([torch.tensor(np.asarray(view)) for view in views])).mean(0, keepdim=True)
            pixels = torch.from_numpy(read_pixels(photo, averaging.preprocessing)[None].copy())
            features = many(pixels)
        assert torch.cosine_similarity(features, expected).item() > 0.9999
        assert (features - one(torch.tensor(np.asarray(views[0]))[None])).abs().max() > 1e-3


def test_tag_follows_the_caches_network_preparation_and_crops(ranktag: Callable, tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    (tmp_path / "photos").mkdir()
    names = [f"{number:02}.png" for number in range(20)]
    for name in names:
        Image.fromarray(random.integers(0, 256, (200, 260, 3), np.uint8)).save(tmp_path / "photos" / name)
    lists = {name: [("dog", "cat", "sky")[number % 3 :]] for number, name in enumerate(names)}
    split = {name: "val" if number % 5 == 0 else "train" for number, name in enumerate(names)}
    tags = make_tags(tmp_path / "tags.csv", lists, split)
    cache, run, predictions = tmp_path / "c.h5", tmp_path / "run", tmp_path / "p.csv"
    network = ("--backbone", "timm:test_efficientnet", "--weights", "random:3", "--dtype", "float32", *FP32)
    for crops in ("center", "ten"):
        made = ranktag("extract-features", tmp_path / "photos", "-o", cache, *network, "--crops", crops, "--overwrite")
        assert made.code == 0, made
        recorded = Preprocessing.from_json(open_features(cache).provenance.preprocessing)
        assert recorded == find_backbone("timm:test_efficientnet").with_crops(crops).preprocessing
        assert ranktag("train-from-cache", cache, tags, "-o", run, "--model", "linear", "--overwrite").code == 0
        assert ranktag("export-tags", cache, "--model", run, "-o", predictions, "--format", "wide", "--overwrite")
        tagged = ranktag("tag", tmp_path / "photos", "--model", run, "--format", "lines", *FP32)
        assert tagged.code == 0, tagged
        expected = [line.split(",")[1] for line in predictions.read_text().splitlines()[1:]]
        assert [line.split("\t")[1] for line in tagged.out.splitlines()] == expected and len(expected) == 20
    # The model refuses a cache of the same network that looked at other crops.
    other = tmp_path / "other.h5"
    ranktag("extract-features", tmp_path / "photos", "-o", other, *network)
    refused = ranktag("export-tags", other, "--model", run, "-o", tmp_path / "q.csv")
    refused.assert_refused("preprocessing")


@pytest.mark.skipif(not REAL.is_file(), reason="no real weights beside this checkout")
def test_the_real_network_gives_timms_features_and_tells_photos_apart() -> None:
    backbone = find_backbone("timm:tf_efficientnet_lite0")
    network = load_network(backbone, "pooled", str(REAL), device="cpu", precision="fp32")
    whole = timm.create_model("tf_efficientnet_lite0").eval()
    whole.load_state_dict(safetensors.torch.load_file(REAL))
    transform = timm.data.create_transform(**timm.data.resolve_data_config({}, model=whole))
    photos = sorted(ORIGINALS.glob("*.jpg"))[:6]
    inputs = torch.stack([transform(Image.open(photo).convert("RGB")) for photo in photos])
    pixels = torch.stack([prepared(backbone, photo) for photo in photos])
    with torch.inference_mode():
        expected, features = whole.forward_head(whole.forward_features(inputs), pre_logits=True), network(pixels)
        assert torch.equal(whole.classifier(features).argmax(1), whole(inputs).argmax(1))
    assert features.shape == (6, 1280) and torch.cosine_similarity(features, expected).min() > 0.9999
    alike = torch.cosine_similarity(features[:, None], features[None], dim=2).fill_diagonal_(0)
    assert alike.max() < 0.9


@pytest.mark.parametrize(
    ("name", "width", "beside"),
    [("torchvision:regnet_y_400mf", 440, "fc.weight"), ("timm:levit_128s", 384, "head_dist.bn.weight")],
)
def test_networks_that_are_built_otherwise_have_a_width_and_a_classifier(name: str, width: int, beside: str) -> None:
    backbone = find_backbone(name)
    assert backbone.layers == {"pooled": width}
    assert beside.startswith(backbone.unused)
