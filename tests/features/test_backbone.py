"""VGG as torchvision has it, with weights from where the user says."""

from __future__ import annotations

import hashlib
import pickle
import urllib.error
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision
from PIL import Image
from torch import nn
from torchvision.models import VGG16_Weights
from torchvision.models.feature_extraction import create_feature_extractor

from ranktag.errors import RanktagError
from ranktag.features import backbone as module
from ranktag.features.backbone import Backbone, imagenet_file, load_backbone, random_weights
from ranktag.features.weights import IMAGENET, choose_weights
from ranktag.files.digest import sha256_file
from ranktag.images.pixels import read_pixels

FIRST_OF_SEED_0 = [0.3305716812610626, 0.12912866473197937, 0.010499566793441772, -0.21704722940921783]


@pytest.fixture(scope="module")
def vgg16() -> Backbone:
    return load_backbone("vgg16", "fc7", "random:3", device="cpu", precision="fp32")


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
    photos: list[Path], vgg16: Backbone, name: str, layer: str
) -> None:
    transforms = VGG16_Weights.IMAGENET1K_V1.transforms()
    inputs = torch.stack([transforms(Image.open(path)) for path in photos])
    pixels = torch.from_numpy(np.stack([read_pixels(path) for path in photos]))
    ours = vgg16 if name == "vgg16" else load_backbone(name, layer, "random:3", device="cpu", precision="fp32")
    # Pixels may differ by one level of 255 where a rounding falls the other way.
    assert (ours.normalise(pixels) - inputs).abs().max() < 1.01 / 255 / 0.224
    with torch.inference_mode():
        expected, features = torchvisions(name, layer)(inputs)["out"], ours.activations(inputs)
        from_pixels = ours(pixels)
    torch.testing.assert_close(features, expected, rtol=1e-4, atol=1e-4)
    assert from_pixels.shape == (2, 4096) and from_pixels.dtype == torch.float32 and (from_pixels >= 0).all()
    assert torch.linalg.norm(from_pixels - expected) / torch.linalg.norm(expected) < 2e-3
    assert 0.2 < (features == 0).float().mean() < 0.8 and 0.1 < features.std() < 10


def test_pixels_are_normalised_as_torchvision_does(vgg16: Backbone, photos: list[Path]) -> None:
    pixels = read_pixels(photos[0]).copy()
    expected = torchvision.transforms.Compose(
        [
            torchvision.transforms.ToTensor(),
            torchvision.transforms.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
        ]
    )(Image.fromarray(pixels))
    torch.testing.assert_close(vgg16.normalise(torch.from_numpy(pixels)[None])[0], expected, rtol=1e-6, atol=1e-6)


def test_bfloat16_features_are_close_to_float32(vgg16: Backbone) -> None:
    pixels = (
        torch.from_numpy(np.random.default_rng(0).integers(0, 256, (4, 8, 8, 3), np.uint8))
        .repeat_interleave(28, 1)
        .repeat_interleave(28, 2)
    )
    with torch.inference_mode():
        exact = vgg16(pixels)
        rounded = load_backbone("vgg16", "fc7", "random:3", device="cpu", precision="bf16")(pixels)
    assert rounded.dtype == torch.float32
    exact, rounded = exact - exact.mean(0), rounded - rounded.mean(0)
    assert torch.cosine_similarity(exact, rounded).mean() >= 0.999


def test_features_do_not_hang_on_the_number_of_threads(vgg16: Backbone) -> None:
    pixels = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (4, 224, 224, 3), np.uint8))
    threads = torch.get_num_threads()
    features = []
    try:
        for number in (1, 2):
            torch.set_num_threads(number)
            with torch.inference_mode():
                features.append(vgg16(pixels))
    finally:
        torch.set_num_threads(threads)
    assert torch.equal(*features)


def test_dropout_is_off_and_nothing_is_trained(vgg16: Backbone) -> None:
    assert not any(isinstance(m, nn.Dropout) for m in vgg16.modules())
    assert not any(p.requires_grad for p in vgg16.parameters())


def test_random_weights_are_he_uniform_and_the_same_everywhere() -> None:
    shapes = {"a.weight": torch.empty(64, 27), "a.bias": torch.empty(64), "b.weight": torch.empty(5, 3)}
    state, sha256 = random_weights(shapes, 0)
    # Written down once: PCG64's raw bits are promised never to change, and what is done with them is exact.
    assert state["a.weight"].flatten()[:4].tolist() == pytest.approx(FIRST_OF_SEED_0, abs=0)
    assert sha256 == hashlib.sha256(b"".join(t.numpy().tobytes() for t in state.values())).hexdigest()
    bound = (6 / 27) ** 0.5
    assert state["a.weight"].abs().max() <= bound and state["a.weight"].var() == pytest.approx(bound**2 / 3, rel=0.05)
    assert not state["a.bias"].any()
    assert random_weights(shapes, 1)[1] != sha256 == random_weights(shapes, 0)[1]


# --- files --------------------------------------------------------------------


class SmallVGG(nn.Module):
    """The form of torchvision's VGG with two small layers: what reading weights is about is names and shapes."""

    def __init__(self, weights: object = None, init_weights: bool = True, width: int = 4) -> None:
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(3, width, 3, padding=1), nn.ReLU(), nn.MaxPool2d(32))
        self.classifier = nn.Sequential(
            nn.Linear(width * 49, 4096),
            nn.ReLU(),
            nn.Dropout(),
            nn.Linear(4096, 8),
            nn.ReLU(),
            nn.Dropout(),
            nn.Linear(8, 10),
        )


class SmallURL:
    url = "https://example.org/models/small-00000000.pth"


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[dict[str, torch.Tensor]]:
    """'vgg16' is SmallVGG and torch's hub folder is empty; gives a state dict of it."""
    monkeypatch.setattr(
        module, "MODELS", {"vgg16": (SmallVGG, SmallURL), "vgg19": (lambda **k: SmallVGG(width=5), SmallURL)}
    )
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))
    torch.manual_seed(0)
    yield SmallVGG().state_dict()


def load_small(weights: str | Path, **options: object) -> Backbone:
    return load_backbone("vgg16", "fc6", str(weights), device="cpu", precision="fp32", **options)


@pytest.mark.parametrize("legacy", [True, False])
def test_a_file_is_read_and_known_by_its_sha256(small: dict[str, torch.Tensor], tmp_path: Path, legacy: bool) -> None:
    torch.save(small, tmp_path / "w.pth", _use_new_zipfile_serialization=not legacy)
    loaded = load_small(tmp_path / "w.pth")
    torch.testing.assert_close(loaded.features[0].weight, small["features.0.weight"], rtol=0, atol=0)
    assert loaded.weights_sha256 == sha256_file(tmp_path / "w.pth")
    load_small(tmp_path / "w.pth", expected_sha256=loaded.weights_sha256)
    with pytest.raises(RanktagError, match=f"its SHA-256 is {loaded.weights_sha256}, expected abc"):
        load_small(tmp_path / "w.pth", expected_sha256="abc")


def test_the_file_in_torchs_hub_folder_is_used_and_checked(
    small: dict[str, torch.Tensor], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.save(small, tmp_path / "w.pth")
    sha256 = sha256_file(tmp_path / "w.pth")
    monkeypatch.setattr(SmallURL, "url", f"https://example.org/models/small-{sha256[:8]}.pth")
    cached = tmp_path / "hub" / "checkpoints" / f"small-{sha256[:8]}.pth"
    cached.parent.mkdir(parents=True)
    (tmp_path / "w.pth").rename(cached)
    assert imagenet_file("vgg16") == cached
    # The same file named by the user is the same weights.
    assert load_small("imagenet").weights_sha256 == load_small(cached).weights_sha256 == sha256
    cached.write_bytes(cached.read_bytes()[:-10])
    with pytest.raises(RanktagError, match="is not the file torchvision published.*delete it"):
        load_small("imagenet")


def test_without_a_network_one_line_says_what_to_do(
    small: dict[str, torch.Tensor], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def offline(*arguments: object, **options: object) -> None:
        raise urllib.error.URLError("no route to host")

    monkeypatch.setattr("torch.hub.urlopen", offline)
    with pytest.raises(RanktagError) as caught:
        load_small("imagenet")
    for words in (
        SmallURL.url,
        str(tmp_path / "hub" / "checkpoints" / "small-00000000.pth"),
        "no route to host",
        "--weights FILE",
        "--weights random",
    ):
        assert words in str(caught.value)


class Hostile:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return eval, ("open('/tmp/ranktag-was-here', 'w')",)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda s: {k: v for k, v in s.items() if k != "features.0.bias"}, "lacks 'features.0.bias'"),
        (lambda s: {**s, "features.40.weight": torch.zeros(3)}, "has, besides, 'features.40.weight'"),
        (
            lambda s: {**s, "features.0.weight": torch.zeros(5, 3, 3, 3)},
            "'features.0.weight' is (5, 3, 3, 3), expected (4, 3, 3, 3)",
        ),
        (
            lambda s: {**s, "features.0.weight": torch.zeros(4, 3, 3, 3, dtype=torch.int32)},
            "expected (4, 3, 3, 3) floats",
        ),
        (lambda s: {**s, "features.0.weight": "text"}, "'features.0.weight' is str"),
        (lambda s: {"state_dict": s}, "holds no state dict"),
        (lambda s: [1, 2], "holds no state dict"),
        (lambda s: Hostile(), "not a file of plain tensors"),
    ],
)
def test_other_files_are_refused_in_one_line(
    small: dict[str, torch.Tensor], tmp_path: Path, change: object, words: str
) -> None:
    torch.save(change(small), tmp_path / "w.pth")
    with pytest.raises(RanktagError) as caught:
        load_small(tmp_path / "w.pth")
    assert words in str(caught.value) and "\n" not in str(caught.value)
    assert not Path("/tmp/ranktag-was-here").exists()


@pytest.mark.parametrize("data", [b"", b"text", pickle.dumps({"a": 1}, protocol=2), b"PK\x03\x04 cut short"])
def test_damaged_files_are_refused(small: dict[str, torch.Tensor], tmp_path: Path, data: bytes) -> None:
    (tmp_path / "w.pth").write_bytes(data)
    with pytest.raises(RanktagError, match="w.pth"):
        load_small(tmp_path / "w.pth")


def test_choices_of_weights(tmp_path: Path) -> None:
    assert (
        choose_weights("imagenet", "vgg19").name
        == choose_weights(IMAGENET["vgg19"], "vgg19").name
        == "VGG19_Weights.IMAGENET1K_V1"
    )
    for name, (_, weights) in module.MODELS.items():
        assert IMAGENET[name] == str(weights)
    assert choose_weights("random", "vgg16").name == "random:0" and choose_weights("random:07", "vgg16").seed == 7
    (tmp_path / "w.pth").touch()
    assert choose_weights(str(tmp_path / "w.pth"), "vgg16").name == "w.pth"
    for bad, words in (
        ("random:", None),
        ("random:x", "not a whole number"),
        ("random:-1", "not a whole number"),
        ("nowhere.pth", "no such file"),
    ):
        if words is None:
            assert choose_weights(bad, "vgg16").seed == 0
            continue
        with pytest.raises(RanktagError, match=words):
            choose_weights(bad, "vgg16")
