"""Training on a GPU: every model learns what it learns on the processor, wherever the features are kept."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from fake_gpu import FakeGpu
from making import make_data, tiny
from trainings import NO_DROPOUT, Killed, history, killed_after, weights

from ranktag.compute import compiled
from ranktag.compute.average import follow
from ranktag.compute.device import choose_device
from ranktag.errors import RanktagError
from ranktag.models.baselines import linear
from ranktag.models.baselines.mlp import HeadTraining
from ranktag.models.checkpoint import load_checkpoint
from ranktag.tags.vocabulary import Vocabulary
from ranktag.training import run
from ranktag.training.member import Member, rate
from ranktag.training.train import train
from ranktag.training_data.examples import Examples
from ranktag.training_data.load import load_training_data

GPU = "cuda:1"
BASELINES = ("popularity", "linear", "knn", "logistic", "mlp")


@pytest.fixture(autouse=True)
def _no_curves(monkeypatch: pytest.MonkeyPatch) -> None:
    # Drawing them takes longer than the training, and one dropout is like another.
    monkeypatch.setattr(run, "plot_history", lambda path, epochs, kept: None)
    monkeypatch.setattr("ranktag.models.baselines._descent.DROPOUT", (0.5,))


def _all_weights(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    head = getattr(model, "head", None)
    return {**model.state_dict(), **(head.model.state_dict(prefix="head.") if head else {})}


def assert_alike(one: Path, other: Path, tolerance: float = 1e-4) -> None:
    """The same model to rounding, with its head, and the same history."""
    a, b = load_checkpoint(one), load_checkpoint(other)
    ours, others = _all_weights(a.model), _all_weights(b.model)
    for (name, value), theirs in zip(ours.items(), others.values(), strict=True):
        torch.testing.assert_close(
            value, theirs, rtol=tolerance, atol=tolerance, msg=lambda s, name=name: f"{name}: {s}"
        )
    assert a.validation["ndcg5"] == pytest.approx(b.validation["ndcg5"], abs=1e-3)


@pytest.mark.parametrize("max_memory", [8.0, 0.0], ids=["loaded", "mapped"])
@pytest.mark.parametrize("form", ["every-step", "initial-state"])
def test_an_lstm_learns_what_it_learns_on_the_processor(
    tmp_path: Path, device: str, form: str, max_memory: float
) -> None:
    cache, tags = make_data(tmp_path)
    config = tiny(model=form, members=2, max_memory=max_memory, **NO_DROPOUT)
    train(cache, tags, tmp_path / "processor", config)
    train(cache, tags, tmp_path / "gpu", config.replace(device=device))
    assert_alike(tmp_path / "processor", tmp_path / "gpu")


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_dropout_average_and_clipping_are_the_processor_s(
    tmp_path: Path, fake: FakeGpu, precision: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The kernels of a processor round less in bfloat16.
    monkeypatch.setattr(compiled, "kernels", None)
    cache, tags = make_data(tmp_path)
    # Of what else is dropped, a GPU draws numbers for the padding too.
    others = {"dropout_embedding": 0.0, "dropout_output": 0.0}
    config = tiny(precision=precision, clip=0.1, average=0.9, label_smoothing=0.1, head=0.5, **others)
    train(cache, tags, tmp_path / "processor", config)
    train(cache, tags, tmp_path / "gpu", config.replace(device=GPU))
    assert_alike(tmp_path / "processor", tmp_path / "gpu")
    assert fake.computed[0] == 0 < fake.computed[1]


def test_recorded_steps_are_steps_on_padded_lists(tmp_path: Path, device: str) -> None:
    # With all that is dropped: two epochs, each of a whole batch and a smaller one, whose longest lists differ.
    cache, tags = make_data(tmp_path)
    config = tiny(precision="fp32", batch_size=16, clip=0.1, device=device)
    place = choose_device(device)
    data = load_training_data(cache, tags, config, place)
    ours, theirs = (Member(data, config, place, 0) for _ in range(2))
    table, steps = data.training.table(place), 0
    for epoch in range(2):
        learned = list(ours.train_epoch(epoch))
        losses = torch.stack([step.loss for step in learned])
        expected = []
        for b, (chosen, _) in enumerate(learned):
            theirs.dropout.generator.manual_seed(theirs._seed_of(epoch, b + 1))
            padded = table.pad(chosen.to(place), data.training.steps_of(chosen))
            lr = rate(config, steps, len(learned))
            expected.append(theirs._learn(data.training.features_of(chosen).to(place), padded, lr))
            follow(theirs.average, theirs.model, config.average, steps)
            steps += 1
        torch.testing.assert_close(losses, torch.stack(expected), rtol=1e-5, atol=1e-6)
    assert len(ours.recorded._recordings) > 1 and not torch.equal(*losses)
    for one, other in ((ours.model, theirs.model), (ours.average, theirs.average)):
        for a, b in zip(one.parameters(), other.parameters(), strict=True):
            # A weight whose gradient is nothing but rounding may move either way.
            assert float((a - b).detach().norm()) <= 1e-3 * float(b.detach().norm()) + 1e-5


@pytest.mark.usefixtures("fake")
def test_it_is_bfloat16_where_the_gpu_is_fast_in_it(tmp_path: Path, fake: FakeGpu) -> None:
    cache, tags = make_data(tmp_path)
    computed = {}
    for capability in ((9, 0), (7, 5)):
        fake.capability = capability
        train(cache, tags, tmp_path / f"run{capability[0]}", tiny(precision="auto", device=GPU))
        computed[capability] = weights(tmp_path / f"run{capability[0]}")
    for precision, capability in (("bf16", (9, 0)), ("fp32", (7, 5))):
        train(cache, tags, tmp_path / precision, tiny(precision=precision, device=GPU))
        expected = weights(tmp_path / precision)
        assert all(torch.equal(value, computed[capability][name]) for name, value in expected.items())


@pytest.mark.usefixtures("fake")
def test_a_run_that_was_killed_goes_on_on_the_gpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache, tags = make_data(tmp_path)
    config = tiny(device=GPU, members=2)
    train(cache, tags, tmp_path / "whole", config)
    monkeypatch.setattr(run, "SECONDS_BETWEEN_STATES", 0.0)
    with pytest.raises(Killed):
        train(cache, tags, tmp_path / "run", config, report=killed_after(2))
    train(cache, tags, tmp_path / "run", config, resume=True)
    whole, resumed = weights(tmp_path / "whole"), weights(tmp_path / "run")
    assert all(torch.equal(value, resumed[name]) for name, value in whole.items())
    assert history(tmp_path / "whole") == history(tmp_path / "run")


@pytest.mark.parametrize("model", BASELINES)
def test_a_baseline_learns_what_it_learns_on_the_processor(tmp_path: Path, device: str, model: str) -> None:
    cache, tags = make_data(tmp_path)
    for name, where in (("processor", "cpu"), ("gpu", device)):
        train(cache, tags, tmp_path / name, tiny().replace(model=model, device=where))
    assert_alike(tmp_path / "processor", tmp_path / "gpu")


def test_a_regression_on_more_images_than_features_is_the_processor_s(device: str) -> None:
    features = torch.randn(40, 5, generator=torch.Generator().manual_seed(0))
    lists = [[("cat", "dog") if feature[0] > feature[1] else ("dog",)] for feature in features.tolist()]
    fitted = []
    for place in ("cpu", device):
        examples = Examples(features.to(place), torch.arange(40), lists, Vocabulary(("cat", "dog")))
        fitted.append(linear.fit(examples, examples, lambda gain: float(gain[0, 0]))[0])
    for (name, value), theirs in zip(fitted[0].state_dict().items(), fitted[1].state_dict().values(), strict=True):
        assert theirs.device.type == "cpu", name
        torch.testing.assert_close(value, theirs, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("max_memory", [8.0, 0.0], ids=["loaded", "mapped"])
def test_a_head_is_trained_on_the_gpu(
    tmp_path: Path, device: str, max_memory: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    # AdamW makes much of gradients' last bits where they are almost zero.
    monkeypatch.setattr(compiled, "kernels", None)
    cache, tags = make_data(tmp_path)
    made = []
    for place in (choose_device("cpu"), choose_device(device)):
        data = load_training_data(cache, tags, tiny(max_memory=max_memory), place)
        scored = []

        def score(gain: torch.Tensor, scored: list[torch.device] = scored) -> float:
            scored.append(gain.device)
            return float(len(scored))

        training = HeadTraining(data, score, 3, place, epochs=5)
        next(training)
        assert training._begun[0].layers[0].weight.device == place
        made.append(training.trained().state_dict())
        assert scored == [place] * 5
    for name, value in made[0].items():
        assert made[1][name].device.type == "cpu"
        torch.testing.assert_close(value, made[1][name], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("max_memory", [8.0, 0.0], ids=["loaded", "mapped"])
def test_images_of_a_training_that_goes_wrong_are_named(tmp_path: Path, device: str, max_memory: float) -> None:
    cache, tags = make_data(tmp_path)
    # One batch an epoch: its update breaks the weights after its own loss was still finite.
    config = tiny(epochs=60, patience=60, batch_size=64, lr=10.0, weight_decay=1e6, warmup=0.0, **NO_DROPOUT)
    with pytest.raises(RanktagError, match="not finite; lower --lr or look at these images: 0"):
        train(cache, tags, tmp_path / "run", config.replace(device=device, max_memory=max_memory))
