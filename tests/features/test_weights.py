"""Which weights there are to choose from."""

from __future__ import annotations

from pathlib import Path

import pytest
from torchvision.models import VGG16_Weights, VGG19_Weights

from ranktag.errors import RanktagError
from ranktag.features.backbones import vgg16, vgg19
from ranktag.features.weights import choose_weights

VGG16, VGG19 = vgg16.PUBLISHED, vgg19.PUBLISHED


def test_what_is_published_is_torchvisions() -> None:
    for published, weights in ((VGG16, VGG16_Weights.IMAGENET1K_V1), (VGG19, VGG19_Weights.IMAGENET1K_V1)):
        assert (published.name, published.url) == (str(weights), weights.url)


def test_choices_of_weights(tmp_path: Path) -> None:
    assert choose_weights("imagenet", VGG19) == choose_weights(VGG19.name, VGG19)
    assert choose_weights("imagenet", VGG19).name == "VGG19_Weights.IMAGENET1K_V1"
    assert choose_weights("random", VGG16).name == "random:0" and choose_weights("random:07", VGG16).seed == 7
    assert choose_weights("random:", None).seed == 0
    (tmp_path / "w.pth").touch()
    assert choose_weights(str(tmp_path / "w.pth"), VGG16).name == "w.pth"


@pytest.mark.parametrize(
    ("weights", "words"),
    [
        ("random:x", "not a whole number"),
        ("random:-1", "not a whole number"),
        ("nowhere.pth", "no such file"),
    ],
)
def test_other_weights_are_refused(weights: str, words: str) -> None:
    for published in (VGG16, None):
        with pytest.raises(RanktagError, match=words):
            choose_weights(weights, published)


def test_a_network_without_published_weights_has_no_imagenet() -> None:
    with pytest.raises(RanktagError, match="--weights imagenet: this network has no published weights; choose random"):
        choose_weights("imagenet", None)
