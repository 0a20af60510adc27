"""One training: which weights are kept, when it stops, and what is not finite."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from making import make_data, tiny
from trainings import NO_DROPOUT, history, weights

from ranktag.decoding.mbr import expected_gains
from ranktag.decoding.stepper import Stepper
from ranktag.errors import RanktagError, RanktagWarning
from ranktag.evaluation.metrics.ndcg import ndcg
from ranktag.feature_cache.store import open_features
from ranktag.models.baselines import mlp
from ranktag.models.checkpoint import load_checkpoint
from ranktag.models.ranking import Limits, best_five
from ranktag.tags.lists import read_tag_lists
from ranktag.training.history import Epoch
from ranktag.training.member import Member
from ranktag.training.run import best_epoch
from ranktag.training.train import train
from ranktag.training.validation import DRAW


def epochs_of(*ndcg5: float) -> list[Epoch]:
    return [Epoch(n, 0.0, 0.0, value, 0.0, 0.0, 0.0) for n, value in enumerate(ndcg5, start=1)]


def test_the_best_epoch_by_hand() -> None:
    history = epochs_of(0.2, 0.9, 0.4, 0.8, 0.8, 0.6)
    assert best_epoch(history, 1) == 2
    # Means of two: 0.2, 0.55, 0.65, 0.6, 0.8, 0.7.
    assert best_epoch(history, 2) == 5
    # Of three: 0.2, 0.55, 0.5, 0.7, 0.667, 0.733.
    assert best_epoch(history, 3) == 6
    assert best_epoch(epochs_of(0.5, 0.5), 1) == 1


def test_the_window_decides_which_weights_are_kept(tmp_path: Path) -> None:
    cache, tags = make_data(tmp_path, seed=7)
    config = tiny(epochs=12, patience=12, lr=0.01, warmup=0.0, cosine=False, average=0.0, seed=8, **NO_DROPOUT)
    kept = {}
    for window in (1, 4):
        report = train(cache, tags, tmp_path / str(window), config.replace(window=window))
        scores = [float(row["ndcg5"]) for row in history(tmp_path / str(window))]
        means = [sum(scores[max(0, n - window) : n]) / min(n, window) for n in range(1, 13)]
        kept[window] = report.epoch
        assert report.epoch == means.index(max(means)) + 1
        assert report.ndcg5 == pytest.approx(scores[report.epoch - 1], rel=1e-5)
    assert kept[1] != kept[4], "the two do not differ here, so nothing is shown"


def test_early_stopping_keeps_the_best_epochs_weights(tmp_path: Path) -> None:
    cache, tags = make_data(tmp_path)
    # A rate at which the model soon overfits noise, so that the best epoch is not the last.
    config = tiny(epochs=40, patience=4, window=1, lr=0.01, warmup=0.0, cosine=False, average=0.0)
    report = train(cache, tags, tmp_path / "run", config)
    scores = [float(row["ndcg5"]) for row in history(tmp_path / "run")]
    assert report.epochs == len(scores) == report.epoch + 4 < 40
    assert report.ndcg5 == pytest.approx(max(scores), rel=1e-5) and scores.index(max(scores)) == report.epoch - 1

    # Recomputed from model.pt alone with the public pieces, joined by id.
    checkpoint = load_checkpoint(tmp_path / "run")
    store, truth = open_features(cache), read_tag_lists(tags)
    ids = checkpoint.split["val"]
    features = torch.from_numpy(np.array(store.features[[store.row_of()[i] for i in ids]]))
    stepper = Stepper(checkpoint.model, torch.float32)
    with torch.inference_mode():
        gains = expected_gains(stepper, stepper.initial_state(features), Limits(checkpoint.longest), DRAW, "log")
    predicted = [checkpoint.vocabulary.decode(numbers) for numbers in best_five(gains.gain)]
    recomputed = float(ndcg([truth.lists[i] for i in ids], predicted, 5).mean())
    assert checkpoint.validation == {"ndcg5": pytest.approx(recomputed, abs=1e-9), "epoch": report.epoch}


def test_a_loss_that_is_not_finite_stops_with_the_images_and_keeps_the_last_good_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache, tags = make_data(tmp_path)
    config = tiny(epochs=5, **NO_DROPOUT)
    train(cache, tags, tmp_path / "good", config.replace(epochs=5), report=lambda row: None)
    step = Member.step
    poisoned: list[str] = []

    def broken(self: Member, epoch: int, b: int) -> torch.Tensor:
        loss = step(self, epoch, b)
        chosen = self.batches_of(epoch)[b]
        # A batch of eight, not the one of what is left (of three), of the third epoch.
        if epoch == 2 and len(chosen) == 8 and not poisoned:
            training_set = self.data.training
            rows = training_set.row[training_set.image[chosen]]
            poisoned.extend(self.data.joined.store.image_id[row] for row in rows)
            return loss * float("nan")
        return loss

    monkeypatch.setattr(Member, "step", broken)
    with pytest.raises(RanktagError, match="loss of epoch 3, batch [12] is not finite") as error:
        train(cache, tags, tmp_path / "run", config)
    assert len(poisoned) == 8 and all(i in str(error.value) for i in poisoned)
    assert sum(f"{n:03}.jpg" in str(error.value) for n in range(30)) == 8
    assert load_checkpoint(tmp_path / "run").validation["epoch"] in (1, 2)


@pytest.mark.parametrize("average", [0.0, 0.99])
def test_weights_that_are_not_finite_are_never_kept(tmp_path: Path, average: float) -> None:
    # One batch an epoch: its update breaks the weights after its own loss was still finite.
    cache, tags = make_data(tmp_path)
    config = tiny(
        epochs=60, patience=60, batch_size=64, lr=10.0, weight_decay=1e6, warmup=0.0, average=average, **NO_DROPOUT
    )
    with pytest.raises(RanktagError, match="not finite; lower --lr or look at these images: 0"):
        train(cache, tags, tmp_path / "run", config)
    assert all(bool(value.isfinite().all()) for value in weights(tmp_path / "run").values())


def test_a_feature_that_is_not_finite_is_named(tmp_path: Path) -> None:
    # ``cache_features`` marks such rows as failed; here the file lies about one.
    cache, tags = make_data(tmp_path)
    store = open_features(cache)
    offset = store.features.offset
    row_bytes = store.features.shape[1] * store.features.itemsize
    # Of a validation image, then of the first image trained on: neither the LSTM nor a baseline may learn from it.
    for row in (7, 0):
        with open(cache, "r+b") as file:
            file.seek(offset + row * row_bytes)
            file.write(np.float16("inf").tobytes())
        for model in ("every-step", "linear", "knn", "logistic", "mlp", "popularity"):
            with pytest.raises(RanktagError, match=rf"cache.h5: damaged: the feature of '00{row}.jpg' is not finite"):
                train(cache, tags, tmp_path / "run", tiny(model=model))
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("threads", [2, 3])
def test_a_network_trained_in_turns_with_the_lstms_is_the_one_that_is_trained_after_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, threads: int
) -> None:
    cache, tags = make_data(tmp_path)
    config = tiny(epochs=8, patience=8, members=3, head=0.3)
    left: list[int] = []
    trained = mlp.HeadTraining.trained

    def counted(self: mlp.HeadTraining) -> mlp.Model:
        left.append(sum(1 for _ in self))
        return trained(self)

    monkeypatch.setattr(mlp.HeadTraining, "trained", counted)
    before, heads = torch.get_num_threads(), []
    try:
        for count in (1, threads):
            torch.set_num_threads(count)
            train(cache, tags, tmp_path / f"run{count}", config)
            heads.append(load_checkpoint(tmp_path / f"run{count}").model.head.model.state_dict())
    finally:
        torch.set_num_threads(before)
    # 21 images are a batch; with two steps a turn and three turns an epoch, eight epochs are done in two.
    assert left == [8, 0]
    assert all(torch.equal(value, heads[1][name]) for name, value in heads[0].items())
    assert history(tmp_path / "run1") == history(tmp_path / f"run{threads}")


def test_a_network_is_trained_beside_the_lstms_unless_it_is_off_or_too_large(tmp_path: Path) -> None:
    cache, tags = make_data(tmp_path, seed=7)
    config = tiny(epochs=3, members=2, seed=7, head=0.2)
    with pytest.warns(RanktagWarning, match="more than --max-memory 0; raise it, or pass --head 0"):
        made = {
            name: train(cache, tags, tmp_path / name, settings)
            for name, settings in (
                ("beside", config),
                ("off", config.replace(head=0.0)),
                ("large", config.replace(max_memory=0.0)),
            )
        }
    heads = {name: load_checkpoint(report.run).model.head for name, report in made.items()}
    assert heads["beside"] is not None and heads["beside"].weight == config.head
    assert heads["off"] is None and heads["large"] is None
    # It changes nothing of the LSTMs.
    for name, weight in weights(tmp_path / "off").items():
        assert torch.equal(weights(tmp_path / "beside")[name], weight)
    # A finished run that is gone on with is left as it is; one that was stopped before is given its head.
    before = (tmp_path / "beside" / "model.pt").read_bytes()
    train(cache, tags, tmp_path / "beside", config, resume=True)
    assert (tmp_path / "beside" / "model.pt").read_bytes() == before
    content = torch.load(tmp_path / "beside" / "model.pt", weights_only=True)
    del content["head"]
    torch.save(content, tmp_path / "beside" / "model.pt")
    # As after a kill between the last epoch and the head: with its own weights, it is the same to the bit.
    train(cache, tags, tmp_path / "beside", config, resume=True)
    again = load_checkpoint(tmp_path / "beside").model.head
    assert again is not None
    x = torch.rand(3, load_checkpoint(tmp_path / "beside").model.config.features)
    assert torch.equal(again.model.predict(x).gain, heads["beside"].model.predict(x).gain)
