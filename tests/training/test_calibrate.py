"""Probabilities are made honest on the validation images, kept in the checkpoint, and shown where a model is used."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from making import make_cache, make_data, tiny
from torch import Tensor, nn

from ranktag.config import DecodingConfig
from ranktag.decoding.decode import decode
from ranktag.decoding.suggest import SUGGESTING, Suggester
from ranktag.errors import Damaged
from ranktag.models.calibration import calibrated
from ranktag.models.checkpoint import load_checkpoint, save_checkpoint
from ranktag.models.ranking import ExpectedGains
from ranktag.tags.lists import TagLists, write_tag_lists
from ranktag.training.calibrate import temperature_for
from ranktag.training.train import train
from ranktag.training_data.load import load_training_data

CPU = torch.device("cpu")


class TooSure(nn.Module):
    """Says of every tag what its feature says, with logits 2.5 times too large."""

    @dataclasses.dataclass(frozen=True)
    class Config:
        features: int = 12
        vocabulary: int = 12

    config = Config()

    def predict(self, features: Tensor) -> ExpectedGains:
        p = torch.sigmoid(2.5 * features.float())
        return ExpectedGains(p, p, p.sum(1))


def test_a_model_that_is_too_sure_is_found_out_on_the_validation_images(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    z = random.normal(size=(800, 12)).astype(np.float32)
    there = random.random(z.shape) < 1 / (1 + np.exp(-z))
    tags = [f"{t:02}" for t in range(12)]
    ids = [f"{n:03}" for n in range(800)]
    # Every tag is in the vocabulary from the first image on; those without tags are not looked at.
    lists = {i: [tuple(np.array(tags)[row])] for i, row in zip(ids, there)} | {"000": [tuple(tags)]}
    write_tag_lists(
        tmp_path / "tags.csv", TagLists(lists, {i: "val" if n >= 300 else "train" for n, i in enumerate(ids)})
    )
    cache = make_cache(tmp_path / "cache.h5", ids, z)
    config = tiny()
    data = load_training_data(cache, tmp_path / "tags.csv", config, CPU)
    assert data.vocabulary.tags != tuple(tags) and sorted(data.vocabulary.tags) == tags
    order = [tags.index(tag) for tag in data.vocabulary.tags]
    data.validation.features = data.validation.features[:, order]
    assert temperature_for(TooSure(), data, config, CPU) == pytest.approx(2.5, rel=0.15)


def with_temperature(run: Path, other: Path, temperature: float) -> Path:
    """The same model in another folder, with a temperature."""
    checkpoint = load_checkpoint(run)
    checkpoint.model.temperature = temperature
    other.mkdir()
    save_checkpoint(other / "model.pt", checkpoint)
    return other


@pytest.mark.parametrize("model", ["every-step", "knn"])
def test_shown_probabilities_are_calibrated_and_nothing_else_changes(tmp_path: Path, model: str) -> None:
    cache, tags = make_data(tmp_path)
    run = tmp_path / "run"
    train(cache, tags, run, tiny(model=model, members=2))
    plain = with_temperature(run, tmp_path / "plain", 1.0)
    warm = with_temperature(run, tmp_path / "warm", 2.0)
    config = DecodingConfig(device="cpu", precision="fp32")
    raw, cooled, both = (
        decode(cache, runs, tmp_path / f"{n}.csv", config).predictions
        for n, runs in enumerate([plain, warm, [plain, warm]])
    )
    for image_id, ranked in raw.items():
        p = torch.tensor([score for _, score in ranked])
        for shown, expected in ((cooled, calibrated(p, 2.0)), (both, (p + calibrated(p, 2.0)) / 2)):
            assert [tag for tag, _ in shown[image_id]] == [tag for tag, _ in ranked]
            assert [score for _, score in shown[image_id]] == pytest.approx(expected.tolist(), abs=1e-5)
    first = next(iter(raw))
    answers = [Suggester.open(cache, one, first, SUGGESTING.replace(device="cpu")).suggest(3) for one in (plain, warm)]
    p = torch.tensor([score for _, score in answers[0]])
    assert [score for _, score in answers[1]] == pytest.approx(calibrated(p, 2.0).tolist(), abs=1e-5)


def test_greedy_shows_what_it_said(tmp_path: Path) -> None:
    cache, tags = make_data(tmp_path)
    train(cache, tags, tmp_path / "run", tiny())
    runs = [with_temperature(tmp_path / "run", tmp_path / f"t{t}", t) for t in (1.0, 3.0)]
    config = DecodingConfig(device="cpu", decode="greedy")
    first, second = (decode(cache, run, tmp_path / f"{run.name}.csv", config).predictions for run in runs)
    assert first == second


def test_every_training_is_calibrated_once(tmp_path: Path) -> None:
    cache, tags = make_data(tmp_path)
    for model in ("every-step", "linear"):
        run = tmp_path / model
        train(cache, tags, run, tiny(model=model))
        before = (run / "model.pt").read_bytes()
        assert load_checkpoint(run).model.temperature is not None
        train(cache, tags, run, tiny(model=model), resume=True)
        assert (run / "model.pt").read_bytes() == before


@pytest.mark.parametrize("temperature", [0.0, -1.0, float("nan"), float("inf")])
def test_a_temperature_that_is_none_is_damage(tmp_path: Path, temperature: float) -> None:
    cache, tags = make_data(tmp_path)
    train(cache, tags, tmp_path / "run", tiny(model="popularity"))
    with pytest.raises(Damaged, match="temperature"):
        load_checkpoint(with_temperature(tmp_path / "run", tmp_path / "other", temperature))
