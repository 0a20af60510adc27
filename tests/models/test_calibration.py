"""The temperature by which shown probabilities are made honest: by hand, and where it must not be used."""

from __future__ import annotations

import math

import pytest
import torch

from ranktag.models.calibration import calibrated, fit_temperature


def test_a_temperature_divides_the_logit() -> None:
    # 0.9 is odds of 9, of which the square root is 3: 0.75; twice as sure, 81: 0.988.
    p = torch.tensor([0.9, 0.5, 0.1])
    assert calibrated(p, 2.0).tolist() == pytest.approx([0.75, 0.5, 0.25])
    assert calibrated(p, 0.5).tolist() == pytest.approx([81 / 82, 0.5, 1 / 82])
    assert calibrated(p, 1.0) is p and calibrated(p, None) is p


def test_what_is_certain_stays_so_and_the_order_as_it_is() -> None:
    p = torch.tensor([0.0, 1e-9, 1e-3, 0.4, 0.999, 1.0])
    for temperature in (math.exp(-2), 0.7, 3.0):
        q = calibrated(p, temperature)
        assert q[0] == 0.0 and q[-1] == 1.0 and (q.diff() >= 0).all()


def sure_too_soon(images: int, temperature: float, tags: int = 20) -> tuple[torch.Tensor, torch.Tensor]:
    """What a model says whose logits are ``temperature`` times too large, and whether the tags are there."""
    random = torch.Generator().manual_seed(0)
    z = torch.randn(images, tags, generator=random)
    return torch.sigmoid(z * temperature), (torch.rand(z.shape, generator=random) < torch.sigmoid(z)).float()


@pytest.mark.parametrize("temperature", [0.4, 2.5])
def test_the_temperature_of_a_model_that_is_too_sure_or_unsure_is_found(temperature: float) -> None:
    p, there = sure_too_soon(1000, temperature)
    assert fit_temperature(p, there) == pytest.approx(temperature, rel=0.12)


def test_honest_probabilities_are_left_alone() -> None:
    assert fit_temperature(*sure_too_soon(300, 1.0)) == 1.0


def test_few_images_are_no_reason() -> None:
    # Of two images every difference is chance; of one or none nothing can be held out.
    p, there = sure_too_soon(4, 1.3)
    assert fit_temperature(p, there) == 1.0
    for few in (0, 1):
        assert fit_temperature(p[:few], there[:few]) == 1.0
