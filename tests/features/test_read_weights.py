"""The numbers of a network: the same everywhere from a seed, and only its own from a file."""

from __future__ import annotations

import hashlib
import pickle
import urllib.error
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from ranktag.errors import RanktagError
from ranktag.features.backbone import Backbone
from ranktag.features.backbones import vgg16
from ranktag.features.network import Network, load_network
from ranktag.features.read_weights import published_file, random_weights
from ranktag.features.weights import PublishedWeights
from ranktag.files.digest import sha256_file


class SmallVGG(nn.Module):
    """The form of torchvision's VGG with two small layers: what reading weights is about is names and shapes."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.MaxPool2d(32))
        self.classifier = nn.Sequential(
            nn.Linear(4 * 49, 4096), nn.ReLU(), nn.Dropout(), nn.Linear(4096, 8), nn.ReLU(), nn.Dropout()
        )


URL = "https://example.org/models/small-00000000.pth"
SMALL = replace(vgg16.BACKBONE, build=SmallVGG, published=PublishedWeights("small", URL))


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> dict[str, torch.Tensor]:
    """A state dict of the whole small VGG, its classes too; torch's hub folder is empty."""
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))
    torch.manual_seed(0)
    classes = nn.Linear(8, 10).state_dict()
    return {**SmallVGG().state_dict(), **{f"classifier.6.{name}": value for name, value in classes.items()}}


def load_small(weights: str | Path, backbone: Backbone = SMALL, **options: object) -> Network:
    return load_network(backbone, "fc6", str(weights), device="cpu", precision="fp32", **options)


FIRST_OF_SEED_0 = [0.3305716812610626, 0.12912866473197937, 0.010499566793441772, -0.21704722940921783]


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


@pytest.mark.parametrize("legacy", [True, False])
def test_a_file_is_read_and_known_by_its_sha256(small: dict[str, torch.Tensor], tmp_path: Path, legacy: bool) -> None:
    torch.save(small, tmp_path / "w.pth", _use_new_zipfile_serialization=not legacy)
    loaded = load_small(tmp_path / "w.pth")
    torch.testing.assert_close(next(loaded.parameters()), small["features.0.weight"], rtol=0, atol=0)
    assert loaded.weights_sha256 == sha256_file(tmp_path / "w.pth")
    load_small(tmp_path / "w.pth", expected_sha256=loaded.weights_sha256)
    with pytest.raises(RanktagError, match=f"its SHA-256 is {loaded.weights_sha256}, expected abc"):
        load_small(tmp_path / "w.pth", expected_sha256="abc")


def test_the_file_in_torchs_hub_folder_is_used_and_checked(small: dict[str, torch.Tensor], tmp_path: Path) -> None:
    torch.save(small, tmp_path / "w.pth")
    sha256 = sha256_file(tmp_path / "w.pth")
    published = PublishedWeights("small", f"https://example.org/models/small-{sha256[:8]}.pth")
    backbone = replace(SMALL, published=published)
    cached = tmp_path / "hub" / "checkpoints" / f"small-{sha256[:8]}.pth"
    cached.parent.mkdir(parents=True)
    (tmp_path / "w.pth").rename(cached)
    assert published_file(published) == cached
    # The same file named by the user is the same weights.
    assert load_small("imagenet", backbone).weights_sha256 == load_small(cached).weights_sha256 == sha256
    cached.write_bytes(cached.read_bytes()[:-10])
    with pytest.raises(RanktagError, match="is not the file torchvision published.*delete it"):
        load_small("imagenet", backbone)


def test_without_a_network_one_line_says_what_to_do(
    small: dict[str, torch.Tensor], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def offline(*arguments: object, **options: object) -> None:
        raise urllib.error.URLError("no route to host")

    monkeypatch.setattr("torch.hub.urlopen", offline)
    with pytest.raises(RanktagError) as caught:
        load_small("imagenet")
    for words in (
        URL,
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


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="Linux says what is mapped")
def test_what_the_network_does_not_use_stays_in_the_file(tmp_path: Path, small: dict[str, torch.Tensor]) -> None:
    file = tmp_path / "small.pth"
    torch.save(small, file)
    network = load_small(file)
    assert str(file) in Path("/proc/self/maps").read_text()
    torch.testing.assert_close(network.layers[-2].weight, small["classifier.0.weight"])
    # Torch's old format cannot be mapped, and is read.
    torch.save(small, tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    old = load_small(tmp_path / "old.pth")
    torch.testing.assert_close(old.layers[-2].weight, network.layers[-2].weight)
