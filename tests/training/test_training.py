"""Training: it learns, ends the same way every time, survives being killed, and refuses what would mislead."""

from __future__ import annotations

import csv
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from making import TAGS, features_of, make_cache, make_data, make_tags, tiny

from ranktag.benchmarks.training import make_up_data
from ranktag.compute.device import choose_device
from ranktag.config import DecodingConfig, TrainingConfig
from ranktag.decoding.decode import decode
from ranktag.decoding.mbr import expected_gains
from ranktag.decoding.stepper import Stepper
from ranktag.errors import RanktagError
from ranktag.evaluation.metrics.ndcg import ndcg
from ranktag.feature_cache.store import open_features
from ranktag.models.checkpoint import load_checkpoint, read_tensors
from ranktag.models.lstm import FORMS
from ranktag.models.ranking import Limits, best_five
from ranktag.tags.lists import read_tag_lists
from ranktag.tags.predictions import read_predictions
from ranktag.training import loop as trainer
from ranktag.training import train as training
from ranktag.training.train import train
from ranktag.training.validation import ndcg5
from ranktag.training_data.join import join
from ranktag.training_data.load import load_training_data

NO_DROPOUT = {"dropout_features": 0.0, "dropout_embedding": 0.0, "dropout_output": 0.0}


@pytest.fixture
def curves() -> None:
    """Asked for by tests that look at the curves: drawing them takes longer than the training."""


@pytest.fixture(autouse=True)
def _no_curves(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if "curves" not in request.fixturenames:
        monkeypatch.setattr(training, "plot_history", lambda path, epochs, kept: None)


class Killed(Exception):
    """Stands in for a process that ends."""


def killed_after(epoch: int) -> Callable[[trainer.Epoch], None]:
    def report(row: trainer.Epoch) -> None:
        if row.epoch == epoch:
            raise Killed

    return report


def weights(run: Path) -> dict[str, torch.Tensor]:
    return dict(load_checkpoint(run).model.state_dict())


def history(run: Path) -> list[dict[str, str]]:
    """Rows of history.csv without the times, which no two runs share."""
    with open(run / "history.csv", newline="") as file:
        return [
            {k: v for k, v in row.items() if k not in ("seconds", "images_per_second")} for row in csv.DictReader(file)
        ]


def lists_of(path: Path) -> dict[str, list[str]]:
    return {i: [tag for tag, _ in tags] for i, tags in read_predictions(path).items()}


@pytest.mark.parametrize("form", FORMS)
def test_overfitting_twenty_images_reproduces_their_lists(tmp_path: Path, form: str) -> None:
    generator = np.random.default_rng(0)
    lists = {f"{n}.jpg": [list(generator.permutation(TAGS)[: 1 + n % 6])] for n in range(20)}
    copies = {f"copy of {i}": people for i, people in lists.items()}
    features = features_of(20)
    # The validation images are the training images again: what is kept is what fits them best.
    cache = make_cache(tmp_path / "c.h5", [*lists, *copies], np.concatenate([features, features]))
    tags = make_tags(tmp_path / "t.csv", lists | copies, dict.fromkeys(lists, "train") | dict.fromkeys(copies, "val"))
    config = tiny(
        model=form, projection=32, hidden=64, embedding=16, epochs=200, patience=200, lr=4e-3, warmup=0.0, batch_size=20
    )
    config = config.replace(weight_decay=0.0, average=0.0, **NO_DROPOUT)
    report = train(cache, tags, tmp_path / "run", config)
    for decoder in ("greedy", "beam"):
        output = tmp_path / f"{decoder}.csv"
        decode(
            cache,
            tmp_path / "run",
            output,
            DecodingConfig(decode=decoder, precision="fp32", device="cpu"),
            split="train",
        )
        assert lists_of(output) == {i: people[0] for i, people in lists.items()}
    assert report.ndcg5 > 0.99


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_the_same_seed_gives_the_same_file(tmp_path: Path, form: str, precision: str) -> None:
    cache, tags = make_data(tmp_path)
    config = tiny(model=form, precision=precision)
    for name in ("a", "b"):
        train(cache, tags, tmp_path / name, config)
    assert (tmp_path / "a/model.pt").read_bytes() == (tmp_path / "b/model.pt").read_bytes()
    assert history(tmp_path / "a") == history(tmp_path / "b")
    train(cache, tags, tmp_path / "c", config.replace(seed=1))
    assert not torch.equal(weights(tmp_path / "a")["recurrent"], weights(tmp_path / "c")["recurrent"])


@pytest.mark.parametrize(
    "settings",
    [{}, {"average": 0.0, "model": "initial-state"}, {"members": 2}],
    ids=["average", "no average", "members"],
)
@pytest.mark.parametrize("epochs", [(1,), (4,), (2, 3, 5)])
def test_a_run_that_was_killed_ends_as_one_that_was_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, epochs: tuple[int, ...], settings: dict[str, Any]
) -> None:
    cache, tags = make_data(tmp_path)
    config = tiny(epochs=6, patience=6, **settings)
    train(cache, tags, tmp_path / "straight", config)
    monkeypatch.setattr(training, "SECONDS_BETWEEN_STATES", 0.0)
    for epoch in epochs:
        with pytest.raises(Killed):
            train(cache, tags, tmp_path / "killed", config, resume=True, report=killed_after(epoch))
    seen: list[int] = []
    report = train(cache, tags, tmp_path / "killed", config, resume=True, report=lambda row: seen.append(row.epoch))
    # The state is saved after the report: the epoch in which it was killed is run again, those before it are not.
    assert seen == list(range(epochs[-1], 7))
    assert (tmp_path / "killed/model.pt").read_bytes() == (tmp_path / "straight/model.pt").read_bytes()
    assert history(tmp_path / "killed") == history(tmp_path / "straight")
    assert report.epochs == 6
    assert {path.name for path in (tmp_path / "killed").iterdir()} == {
        path.name for path in (tmp_path / "straight").iterdir()
    }


def test_a_run_that_was_killed_before_it_saved_weights_begins_again(tmp_path: Path) -> None:
    cache, tags = make_data(tmp_path)
    train(cache, tags, tmp_path / "straight", tiny())
    with pytest.raises(Killed):
        train(cache, tags, tmp_path / "killed", tiny(), report=killed_after(2))
    assert not (tmp_path / "killed/model.pt").exists()
    with pytest.raises(RanktagError, match="go on with 'train-from-cache --resume'"):
        load_checkpoint(tmp_path / "killed")
    with pytest.raises(RanktagError, match="was begun with lr 0.001, not 0.01"):
        train(cache, tags, tmp_path / "killed", tiny(lr=0.01), resume=True)
    train(cache, tags, tmp_path / "killed", tiny(), resume=True)
    assert (tmp_path / "killed/model.pt").read_bytes() == (tmp_path / "straight/model.pt").read_bytes()


def test_a_finished_run_that_is_resumed_stays_as_it_is(tmp_path: Path, curves: None) -> None:
    cache, tags = make_data(tmp_path)
    first = train(cache, tags, tmp_path / "run", tiny())
    before = {path.name: path.read_bytes() for path in (tmp_path / "run").iterdir()}
    os.unlink(tmp_path / "run/curves.png")  # as if it was killed at the very end
    again = train(
        cache, tags, tmp_path / "run", tiny(), resume=True, report=lambda row: pytest.fail("an epoch was run")
    )
    assert (again.ndcg5, again.epoch, again.epochs) == (first.ndcg5, first.epoch, first.epochs)
    assert {path.name: path.read_bytes() for path in (tmp_path / "run").iterdir()} == before


SCRIPT = """
    import sys
    from pathlib import Path
    sys.path.insert(0, {tests!r})
    from making import tiny
    from ranktag.training import train as training
    training.SECONDS_BETWEEN_STATES = 0.0
    folder = Path({folder!r})
    say = lambda row: print(row.epoch, flush=True)
    training.train(folder / "cache.h5", folder / "tags.csv", folder / "killed", tiny(epochs=60, patience=60), resume=True, report=say)
"""


@pytest.mark.slow
def test_sigkill_at_any_moment_changes_nothing(tmp_path: Path, curves: None) -> None:
    cache, tags = make_data(tmp_path)
    train(cache, tags, tmp_path / "straight", tiny(epochs=60, patience=60))
    script = textwrap.dedent(SCRIPT.format(tests=str(Path(__file__).parents[1]), folder=str(tmp_path)))
    moment = random.Random(0)
    for after_epoch in (2, 15):
        process = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        for line in process.stdout:
            if int(line) >= after_epoch:
                break
        # Somewhere in the next epochs: in a step, or while a file is written.
        time.sleep(moment.uniform(0, 0.05))
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
        process.stdout.close()
    subprocess.run([sys.executable, "-c", script], check=True, capture_output=True)
    assert (tmp_path / "killed/model.pt").read_bytes() == (tmp_path / "straight/model.pt").read_bytes()
    assert history(tmp_path / "killed") == history(tmp_path / "straight")
    assert {path.name for path in (tmp_path / "killed").iterdir()} == {
        path.name for path in (tmp_path / "straight").iterdir()
    }


def interrupted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, config: TrainingConfig) -> tuple[Path, Path, Path]:
    cache, tags = make_data(tmp_path)
    monkeypatch.setattr(training, "SECONDS_BETWEEN_STATES", 0.0)
    with pytest.raises(Killed):
        train(cache, tags, tmp_path / "run", config, report=killed_after(3))
    return cache, tags, tmp_path / "run"


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"lr": 0.002}, "lr 0.001, not 0.002"),
        ({"seed": 3}, "seed 0, not 3"),
        ({"hidden": 9}, "hidden 8, not 9"),
        ({"model": "initial-state"}, "model every-step, not initial-state"),
        ({"dropout_output": 0.0}, "dropout_output 0.3, not 0.0"),
        ({"epochs": 9}, "epochs 5, not 9"),
        ({"min_count": 2}, "min_count 1, not 2"),
    ],
)
def test_a_resume_with_another_setting_is_refused_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changed: dict[str, Any], words: str
) -> None:
    cache, tags, run = interrupted(tmp_path, monkeypatch, tiny(epochs=5))
    before = {path.name: path.read_bytes() for path in run.iterdir()}
    with pytest.raises(RanktagError, match=words):
        train(cache, tags, run, tiny(**({"epochs": 5} | changed)), resume=True)
    assert {path.name: path.read_bytes() for path in run.iterdir()} == before


def test_where_the_features_are_kept_is_no_other_setting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache, tags, run = interrupted(tmp_path, monkeypatch, tiny(epochs=5))
    train(cache, tags, run, tiny(epochs=5, max_memory=0.0), resume=True)
    train(cache, tags, tmp_path / "straight", tiny(epochs=5))
    assert all(torch.equal(weights(run)[name], value) for name, value in weights(tmp_path / "straight").items())


def test_a_resume_with_another_cache_or_tag_file_is_refused_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tiny(epochs=5)
    cache, tags, run = interrupted(tmp_path, monkeypatch, config)
    store = open_features(cache)
    ids, features = list(store.image_id), np.array(store.features, dtype=np.float32)
    validation = [n for n in range(len(ids)) if n % 10 in (7, 8)]
    other_numbers = features.copy()
    other_numbers[validation] += 1  # as seen only by early stopping
    swapped = features[[1, 0, *range(2, len(ids))]]  # the same numbers, of other images
    for name, changed in (("numbers", other_numbers), ("swapped", swapped)):
        other = make_cache(tmp_path / f"{name}.h5", ids, changed)
        with pytest.raises(RanktagError, match="was begun with another cache"):
            train(other, tags, run, config, resume=True)
    text = tags.read_text()
    other_tags = tmp_path / "other.csv"
    other_tags.write_text(text + "unknown.jpg,test,dog\n")
    with pytest.raises(RanktagError, match="was begun with another tag file"):
        train(cache, other_tags, run, config, resume=True)
    # The same content elsewhere is the same.
    shutil.copy(tags, tmp_path / "copy.csv")
    shutil.copy(cache, tmp_path / "copy.h5")
    train(tmp_path / "copy.h5", tmp_path / "copy.csv", run, config, resume=True)


@pytest.mark.parametrize("damage", [b"", b"PK\x03\x04 not a state", None])
def test_a_damaged_state_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, damage: bytes | None) -> None:
    cache, tags, run = interrupted(tmp_path, monkeypatch, tiny(epochs=5))
    state = run / "state.pt"
    state.write_bytes(state.read_bytes()[:-100] if damage is None else damage)
    with pytest.raises(RanktagError, match="state.pt: damaged"):
        train(cache, tags, run, tiny(epochs=5), resume=True)
    train(cache, tags, run, tiny(epochs=5), overwrite=True)


def test_a_state_without_what_it_should_hold_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache, tags, run = interrupted(tmp_path, monkeypatch, tiny(epochs=5))
    state = read_tensors(run / "state.pt", "state")
    for changed in ({"settings": None}, {"history": [(1, 2)]}, {"trainer": {"epoch": 1}}):
        torch.save(state | changed, run / "state.pt")
        with pytest.raises(RanktagError, match="state.pt: damaged"):
            train(cache, tags, run, tiny(epochs=5), resume=True)


def test_a_state_of_an_older_version_is_refused_as_such(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache, tags, run = interrupted(tmp_path, monkeypatch, tiny(epochs=5))
    state = read_tensors(run / "state.pt", "state")
    del state["settings"]["members"]
    torch.save(state, run / "state.pt")
    with pytest.raises(RanktagError, match="was begun by a ranktag that knew no members"):
        train(cache, tags, run, tiny(epochs=5), resume=True)


@pytest.mark.parametrize("model", ["popularity", "linear"])
def test_a_resume_with_another_model_does_not_replace_a_baseline(tmp_path: Path, model: str) -> None:
    cache, tags = make_data(tmp_path)
    train(cache, tags, tmp_path / "run", tiny(model=model))
    before = (tmp_path / "run/model.pt").read_bytes()
    for other in ("every-step", "knn"):
        with pytest.raises(RanktagError, match=f"was begun with model {model}, not {other}"):
            train(cache, tags, tmp_path / "run", tiny(model=other), resume=True)
    assert (tmp_path / "run/model.pt").read_bytes() == before
    train(cache, tags, tmp_path / "run", tiny(model=model), resume=True)
    assert (tmp_path / "run/model.pt").read_bytes() == before


# Losses that are not finite.


def test_a_loss_that_is_not_finite_stops_with_the_images_and_keeps_the_last_good_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache, tags = make_data(tmp_path)
    config = tiny(epochs=5, **NO_DROPOUT)
    train(cache, tags, tmp_path / "good", config.replace(epochs=5), report=lambda row: None)
    step = trainer.Member._step
    poisoned: list[str] = []

    def broken(self: trainer.Member, chosen: torch.Tensor, number: int, *rest: Any) -> tuple[torch.Tensor, int]:
        loss, n = step(self, chosen, number, *rest)
        # The second batch (of three) of the third epoch.
        if number == 7:
            training_set = self.data.training
            rows = training_set.row[training_set.image[chosen]]
            poisoned.extend(self.data.joined.store.image_id[row] for row in rows)
            return loss * float("nan"), n
        return loss, n

    monkeypatch.setattr(trainer.Member, "_step", broken)
    with pytest.raises(RanktagError, match="loss of epoch 3, batch 2 is not finite") as error:
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
    offset = store.features.offset  # type: ignore[attr-defined]
    row_bytes = store.features.shape[1] * store.features.itemsize
    # Of a validation image, then of the first image trained on: neither the LSTM nor a baseline may learn from it.
    for row in (7, 0):
        with open(cache, "r+b") as file:
            file.seek(offset + row * row_bytes)
            file.write(np.float16("inf").tobytes())
        for model in ("every-step", "linear", "knn", "popularity"):
            with pytest.raises(RanktagError, match=rf"cache.h5: damaged: the feature of '00{row}.jpg' is not finite"):
                train(cache, tags, tmp_path / "run", tiny(model=model))
    assert not (tmp_path / "run").exists()


# The run folder.


def test_the_run_folder_holds_what_the_contract_names(tmp_path: Path, curves: None) -> None:
    cache, tags = make_data(tmp_path)
    rows: list[trainer.Epoch] = []
    report = train(cache, tags, tmp_path / "run", tiny(epochs=4), report=rows.append)
    assert {path.name for path in (tmp_path / "run").iterdir()} == {
        ".lock",
        "model.pt",
        "config.json",
        "history.csv",
        "state.pt",
        "curves.png",
    }
    assert [row["epoch"] for row in history(tmp_path / "run")] == ["1", "2", "3", "4"]
    assert [float(row["ndcg5"]) for row in history(tmp_path / "run")] == pytest.approx(
        [row.ndcg5 for row in rows], rel=1e-5
    )
    assert all(np.isfinite([row.loss, row.validation_loss, row.lr, row.images_per_second]).all() for row in rows)
    assert (tmp_path / "run/curves.png").read_bytes().startswith(b"\x89PNG\r\n")
    config = json.loads((tmp_path / "run/config.json").read_text())
    assert config["settings"] == tiny(epochs=4).to_dict()
    assert config["images"] == {"train": 21, "val": 6, "test": 3}
    assert config["validation"] == {"ndcg5": report.ndcg5, "epoch": report.epoch}
    checkpoint = load_checkpoint(tmp_path / "run")
    assert checkpoint.training == tiny(epochs=4).to_dict()
    assert {split: len(ids) for split, ids in checkpoint.split.items()} == {"train": 21, "val": 6, "test": 3}
    assert (report.images, report.lists, report.vocabulary, report.epochs) == (21, 21, len(TAGS), 4)


def epochs_of(*ndcg5: float) -> list[trainer.Epoch]:
    return [trainer.Epoch(n, 0.0, 0.0, value, 0.0, 0.0, 0.0) for n, value in enumerate(ndcg5, start=1)]


def test_the_best_epoch_by_hand() -> None:
    history = epochs_of(0.2, 0.9, 0.4, 0.8, 0.8, 0.6)
    assert training.best_epoch(history, 1) == 2
    # Means of two: 0.2, 0.55, 0.65, 0.6, 0.8, 0.7.
    assert training.best_epoch(history, 2) == 5
    # Of three: 0.2, 0.55, 0.5, 0.7, 0.667, 0.733.
    assert training.best_epoch(history, 3) == 6
    assert training.best_epoch(epochs_of(0.5, 0.5), 1) == 1


def test_the_window_decides_which_weights_are_kept(tmp_path: Path) -> None:
    cache, tags = make_data(tmp_path, seed=7)
    config = tiny(epochs=12, patience=12, lr=0.01, warmup=0.0, cosine=False, average=0.0, seed=7, **NO_DROPOUT)
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
    stepper = Stepper(checkpoint.model, torch.float32)  # type: ignore[arg-type]
    with torch.inference_mode():
        gains = expected_gains(
            stepper, stepper.initial_state(features), Limits(checkpoint.longest), trainer.VALIDATION_DRAW, "log"
        )
    predicted = [checkpoint.vocabulary.decode(numbers) for numbers in best_five(gains.gain)]
    recomputed = float(ndcg([truth.lists[i] for i in ids], predicted, 5).mean())
    assert checkpoint.validation == {"ndcg5": pytest.approx(recomputed, abs=1e-9), "epoch": report.epoch}


def test_a_run_is_not_overwritten_unless_asked(tmp_path: Path) -> None:
    cache, tags = make_data(tmp_path)
    train(cache, tags, tmp_path / "run", tiny())
    before = (tmp_path / "run/model.pt").read_bytes()
    with pytest.raises(RanktagError, match="holds a run already; .*--resume or pass --overwrite"):
        train(cache, tags, tmp_path / "run", tiny(seed=1))
    with pytest.raises(RanktagError, match="no such file"):
        train(cache, tmp_path / "missing.csv", tmp_path / "run", tiny(seed=1), overwrite=True)
    assert (tmp_path / "run/model.pt").read_bytes() == before
    train(cache, tags, tmp_path / "run", tiny(seed=1), overwrite=True)
    assert (tmp_path / "run/model.pt").read_bytes() != before


@pytest.mark.parametrize("model", ["every-step", "linear"])
@pytest.mark.parametrize("failure", [OSError, KeyboardInterrupt, RanktagError])
def test_an_overwrite_that_fails_brings_the_old_run_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, model: str, failure: type[BaseException], curves: None
) -> None:
    cache, tags = make_data(tmp_path)
    train(cache, tags, tmp_path / "run", tiny(), tensorboard=True)
    (tmp_path / "run/notes.txt").write_text("mine")
    before = contents(tmp_path / "run")

    def fails(*arguments: object) -> None:
        assert {path.name for path in (tmp_path / "run").iterdir()} >= {"state.pt", ".old"}
        raise failure("no")

    # The last that either writes before its first save is complete.
    monkeypatch.setattr(training, "write_history" if model == "every-step" else "save_checkpoint", fails)
    with pytest.raises(failure):
        train(cache, tags, tmp_path / "run", tiny(seed=1, model=model), overwrite=True, tensorboard=True)
    assert contents(tmp_path / "run") == before
    # And it is a run as before.
    with pytest.raises(RanktagError, match="holds a run already"):
        train(cache, tags, tmp_path / "run", tiny())
    train(cache, tags, tmp_path / "run", tiny(), resume=True, report=lambda row: pytest.fail("an epoch was run"))


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_an_overwrite_that_fails_later_leaves_the_new_run_to_go_on_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache, tags = make_data(tmp_path)
    train(cache, tags, tmp_path / "straight", tiny(seed=1))
    train(cache, tags, tmp_path / "run", tiny())
    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(training, "SECONDS_BETWEEN_STATES", 0.0)
        train(cache, tags, tmp_path / "run", tiny(seed=1), overwrite=True, report=killed_after(3))
    assert not [path for path in (tmp_path / "run").iterdir() if path.name.startswith(".old")]
    train(cache, tags, tmp_path / "run", tiny(seed=1), resume=True)
    assert (tmp_path / "run/model.pt").read_bytes() == (tmp_path / "straight/model.pt").read_bytes()


@pytest.mark.parametrize("model", ["every-step", "linear"])
def test_an_overwrite_that_was_killed_goes_on_with_its_settings_or_gives_the_old_run_back(
    tmp_path: Path, model: str
) -> None:
    cache, tags = make_data(tmp_path)
    train(cache, tags, tmp_path / "run", tiny())
    before = contents(tmp_path / "run")
    new = tiny(seed=1, model=model)
    train(cache, tags, tmp_path / "straight", new)
    # Killed when the first files were there, and the second time before.
    os.mkdir(tmp_path / "run/.old")
    for name in before.keys() - {".lock"}:
        os.rename(tmp_path / "run" / name, tmp_path / "run/.old" / name)
    shutil.copytree(tmp_path / "run", tmp_path / "bare")
    state = read_tensors(tmp_path / "straight/state.pt", "state")
    torch.save(state | {"history": [], "ndcg5": -1.0, "epoch": 0}, tmp_path / "run/state.pt")
    for run in (tmp_path / "run", tmp_path / "bare"):
        with pytest.raises(RanktagError, match="holds a run already; .*--resume or pass --overwrite"):
            train(cache, tags, run, new)
        shutil.copytree(run, tmp_path / "again")
        with pytest.raises(RanktagError, match="no such file"):
            train(cache, tmp_path / "missing.csv", tmp_path / "again", tiny(), overwrite=True)
        with pytest.raises(Killed):
            train(cache, tags, tmp_path / "again", tiny(seed=2), overwrite=True, report=killed_after(1))
        assert contents(tmp_path / "again") == before
        shutil.rmtree(tmp_path / "again")
        if model == "every-step":
            # A resume that fails, on a full disk say, can be resumed again.
            with pytest.raises(Killed):
                train(cache, tags, run, new, resume=True, report=killed_after(1))
            with pytest.raises(RanktagError, match="was begun with seed 1, not 2"):
                train(cache, tags, run, tiny(seed=2), resume=True)
        train(cache, tags, run, new, resume=True)
        assert (run / "model.pt").read_bytes() == (tmp_path / "straight/model.pt").read_bytes()
        assert contents(run).keys() == contents(tmp_path / "straight").keys()


def test_resuming_a_finished_baseline_does_not_risk_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache, tags = make_data(tmp_path)
    train(cache, tags, tmp_path / "run", tiny(model="knn"))
    before = contents(tmp_path / "run")

    def full(*arguments: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(training, "save_checkpoint", full)
    with pytest.raises(OSError, match="No space"):
        train(cache, tags, tmp_path / "run", tiny(model="knn"), resume=True)
    assert contents(tmp_path / "run") == before


def test_a_folder_with_other_things_and_a_file_are_refused(tmp_path: Path) -> None:
    cache, tags = make_data(tmp_path)
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos/a.jpg").touch()
    for resume, overwrite in ((False, False), (False, True), (True, False)):
        with pytest.raises(RanktagError, match="is a folder with other things in it"):
            train(cache, tags, tmp_path / "photos", tiny(), resume=resume, overwrite=overwrite)
        with pytest.raises(RanktagError, match="is a file"):
            train(cache, tags, tags, tiny(), resume=resume, overwrite=overwrite)
    assert [path.name for path in (tmp_path / "photos").iterdir()] == ["a.jpg"]
    (tmp_path / "empty").mkdir()
    train(cache, tags, tmp_path / "empty", tiny(epochs=1))


def test_a_model_without_a_state_is_not_resumed_over(tmp_path: Path) -> None:
    cache, tags = make_data(tmp_path)
    (tmp_path / "run").mkdir()
    (tmp_path / "run/model.pt").write_bytes(b"somebody's")
    with pytest.raises(RanktagError, match="holds no state.pt"):
        train(cache, tags, tmp_path / "run", tiny(), resume=True)
    assert (tmp_path / "run/model.pt").read_bytes() == b"somebody's"


def test_what_a_killed_process_was_writing_is_no_obstacle_and_is_removed(tmp_path: Path) -> None:
    cache, tags = make_data(tmp_path)
    (tmp_path / "run").mkdir()
    (tmp_path / "run/.state.pt.abc.tmp").write_bytes(b"half")
    train(cache, tags, tmp_path / "run", tiny(epochs=1))
    assert not list((tmp_path / "run").glob("*.tmp"))


HOLDER = """
    import sys
    from pathlib import Path
    from ranktag.files.lock import FileLock
    with FileLock(Path(sys.argv[1])) as lock:
        assert lock.acquire()
        print("held", flush=True)
        sys.stdin.read()
"""


def test_two_runs_in_one_folder_at_once_are_refused(tmp_path: Path) -> None:
    cache, tags = make_data(tmp_path)
    lock = tmp_path / "run/.lock"
    holder = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(HOLDER), str(lock)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with holder:
        assert holder.stdout is not None and holder.stdout.readline() == "held\n"
        for options in ({}, {"overwrite": True}, {"resume": True}):
            with pytest.raises(RanktagError, match="another process is training there"):
                train(cache, tags, tmp_path / "run", tiny(), **options)
        assert [path.name for path in (tmp_path / "run").iterdir()] == [".lock"]
        holder.communicate("")
    train(cache, tags, tmp_path / "run", tiny(epochs=1))


def test_a_run_that_was_finished_while_the_data_was_loaded_is_not_overwritten(tmp_path: Path) -> None:
    cache, tags = make_data(tmp_path)

    def another_process(data: object) -> None:
        (tmp_path / "run").mkdir()
        (tmp_path / "run/model.pt").write_bytes(b"theirs")

    with pytest.raises(RanktagError, match="holds a run already"):
        train(cache, tags, tmp_path / "run", tiny(), started=another_process)
    assert (tmp_path / "run/model.pt").read_bytes() == b"theirs"


def shown(run: Path) -> dict[str, list[tuple[int, float]]]:
    """What TensorBoard shows of a run: curve -> (epoch, value)."""
    accumulator = pytest.importorskip(
        "tensorboard.backend.event_processing.event_accumulator", reason="TensorBoard is an extra"
    )
    events = accumulator.EventAccumulator(str(run)).Reload()
    return {name: [(event.step, event.value) for event in events.Scalars(name)] for name in events.Tags()["scalars"]}


def of_history(run: Path) -> dict[str, list[tuple[int, float]]]:
    """The same, as history.csv has it."""
    with open(run / "history.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    names = [name for name in rows[0] if name != "epoch"]
    return {name: [(int(row["epoch"]), pytest.approx(float(row[name]), rel=1e-5)) for row in rows] for name in names}


def test_tensorboard_files_are_written_when_asked_for(tmp_path: Path) -> None:
    cache, tags = make_data(tmp_path)
    train(cache, tags, tmp_path / "run", tiny(), tensorboard=True)
    assert shown(tmp_path / "run") == of_history(tmp_path / "run")
    # Of a run that takes its place, nothing but its own is shown.
    train(cache, tags, tmp_path / "run", tiny(epochs=2), tensorboard=True, overwrite=True)
    assert shown(tmp_path / "run") == of_history(tmp_path / "run")
    train(cache, tags, tmp_path / "run", tiny(epochs=1), overwrite=True)
    assert shown(tmp_path / "run") == {}


@pytest.mark.parametrize("tensorboard", [True, False], ids=["from the start", "later"])
def test_tensorboard_shows_every_epoch_of_a_resumed_run_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tensorboard: bool
) -> None:
    cache, tags = make_data(tmp_path)
    config = tiny(epochs=6, patience=6)
    monkeypatch.setattr(training, "SECONDS_BETWEEN_STATES", 0.0)
    for epoch in (1, 3, 5):
        with pytest.raises(Killed):
            train(
                cache, tags, tmp_path / "run", config, resume=True, tensorboard=tensorboard, report=killed_after(epoch)
            )
    train(cache, tags, tmp_path / "run", config, resume=True, tensorboard=True)
    assert [step for step, _ in shown(tmp_path / "run")["ndcg5"]] == [1, 2, 3, 4, 5, 6]
    assert shown(tmp_path / "run") == of_history(tmp_path / "run")
    # Finished already.
    train(cache, tags, tmp_path / "run", config, resume=True, tensorboard=True)
    assert shown(tmp_path / "run") == of_history(tmp_path / "run")


def test_tensorboard_forgets_epochs_that_were_lost(tmp_path: Path) -> None:
    # Killed after eight epochs and before a save; gone on with, it stops sooner.
    cache, tags = make_data(tmp_path)
    with pytest.raises(Killed):
        train(cache, tags, tmp_path / "run", tiny(), tensorboard=True, report=killed_after(1))
    writer = pytest.importorskip("torch.utils.tensorboard", reason="TensorBoard is an extra").SummaryWriter(
        str(tmp_path / "run")
    )
    for epoch in range(1, 9):
        writer.add_scalar("ndcg5", -1.0, epoch)
    writer.close()
    train(cache, tags, tmp_path / "run", tiny(), resume=True, tensorboard=True)
    assert shown(tmp_path / "run") == of_history(tmp_path / "run")


def test_without_tensorboard_the_old_run_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache, tags = make_data(tmp_path)
    train(cache, tags, tmp_path / "run", tiny(epochs=1))
    before = (tmp_path / "run/model.pt").read_bytes()
    monkeypatch.setitem(sys.modules, "tensorboard.summary.writer.record_writer", None)
    with pytest.raises(RanktagError, match=r"pip install 'ranktag\[tensorboard\]'"):
        train(cache, tags, tmp_path / "run", tiny(epochs=1), tensorboard=True, overwrite=True)
    assert (tmp_path / "run/model.pt").read_bytes() == before


def test_without_matplotlib_there_are_no_curves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, curves: None) -> None:
    cache, tags = make_data(tmp_path)
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    train(cache, tags, tmp_path / "run", tiny(epochs=1))
    assert not (tmp_path / "run/curves.png").exists()


# The data.


def test_images_that_are_not_in_the_cache_are_counted_and_three_are_named(tmp_path: Path) -> None:
    cache, tags = make_data(tmp_path)
    tags.write_text(tags.read_text() + "".join(f"missing{n}.jpg,train,dog\n" for n in range(5)))
    report = train(cache, tags, tmp_path / "run", tiny(epochs=1))
    (note,) = report.notes
    assert note == "5 of 35 tagged images are not in the cache: 'missing0.jpg', 'missing1.jpg', 'missing2.jpg', ..."
    assert report.images == 21


def test_failed_rows_and_images_without_tags_are_left_out_and_noted(tmp_path: Path) -> None:
    features = features_of(12)
    features[1] = np.nan
    ids = [f"{n}" for n in range(12)]
    cache = make_cache(tmp_path / "c.h5", ids, features)
    lists = {i: [["dog"]] for i in ids} | {"2": [[]], "3": [[], ["cat", "dog"]]}
    tags = make_tags(tmp_path / "t.csv", lists, {i: "val" if i in "45" else "train" for i in ids})
    report = train(cache, tags, tmp_path / "run", tiny(epochs=1))
    assert "1 of 12 tagged images are without a feature, because extraction failed: '1'" in report.notes
    assert "1 images have no tags and are not trained on" in report.notes
    # 12 images less 2 of val, one that failed and one without tags; of the two people who looked at '3', one wrote a list.
    assert (report.images, report.lists) == (8, 8)


@pytest.mark.parametrize(("left", "purpose"), [("val", "train on"), ("train", "stop early by"), ("test", "train on")])
def test_without_training_or_validation_images_there_is_one_line(tmp_path: Path, left: str, purpose: str) -> None:
    cache, tags = make_data(tmp_path)
    make_tags(tags, {"000.jpg": [["dog"]]}, {"000.jpg": left})
    with pytest.raises(RanktagError, match=f"nothing to {purpose}; the splits hold") as error:
        train(cache, tags, tmp_path / "run", tiny())
    assert f"1 {left}" in str(error.value) and not (tmp_path / "run").exists()


def test_no_id_in_both_files_names_one_of_each(tmp_path: Path) -> None:
    cache, tags = make_data(tmp_path)
    make_tags(tags, {"a/000.jpg": [["dog"]]})
    with pytest.raises(RanktagError, match=r"none of its image ids .*'000\.jpg', here: 'a/000\.jpg'"):
        train(cache, tags, tmp_path / "run", tiny())


def test_the_rows_of_the_cache_may_stand_in_any_order(tmp_path: Path) -> None:
    cache, tags = make_data(tmp_path)
    store = open_features(cache)
    order = np.random.default_rng(0).permutation(len(store))
    shuffled = make_cache(tmp_path / "s.h5", [store.image_id[n] for n in order], np.array(store.features)[order])
    a, b = (
        load_training_data(cache, tags, tiny(), choose_device("cpu")),
        load_training_data(shuffled, tags, tiny(), choose_device("cpu")),
    )
    for n in range(5):
        (x, lists), (y, others) = a.training.pack(torch.tensor([n])), b.training.pack(torch.tensor([n]))
        assert torch.equal(x, y) and torch.equal(lists.target, others.target)
    torch.testing.assert_close(a.mean, b.mean)


def test_several_peoples_lists_are_all_learned_from(tmp_path: Path) -> None:
    ids = [f"{n}" for n in range(10)]
    cache = make_cache(tmp_path / "c.h5", ids)
    lists = {i: [["dog", "cat"], ["cat"], ["dog", "sky", "cat"]] for i in ids}
    tags = make_tags(tmp_path / "t.csv", lists, {i: "val" if i in "89" else "train" for i in ids})
    report = train(cache, tags, tmp_path / "run", tiny(epochs=2))
    assert (report.images, report.lists, report.vocabulary) == (8, 24, 3)
    assert load_checkpoint(tmp_path / "run").longest == 3
    data = load_training_data(cache, tags, tiny(), choose_device("cpu"))
    # NDCG@5 of an image is the mean over its people: by hand for the list cat, dog.
    # [dog cat]: (0.6309 + 0.6309) / (1 + 0.3981); [cat]: 1; [dog sky cat]: (0.5 + 0.6309) / (1 + 0.3981 + 0.25).
    d2 = 1 / np.log2(3)
    by_hand = np.mean([2 * d2 / (1 + d2**2), 1.0, (0.5 + d2) / (1 + d2**2 + 0.25)])
    cat, dog = data.vocabulary.encode(["cat", "dog"])
    assert ndcg5(data.validation, [[cat, dog]] * 2) == pytest.approx(by_hand, rel=1e-6)


def test_tags_outside_the_vocabulary_are_left_out_of_the_lists_but_stay_in_the_truth(tmp_path: Path) -> None:
    ids = [f"{n}" for n in range(6)]
    cache = make_cache(tmp_path / "c.h5", ids)
    lists = {i: [["dog", "cat"]] for i in ids} | {"0": [["rare", "dog"]], "1": [["seldom"]], "4": [["unseen", "dog"]]}
    tags = make_tags(tmp_path / "t.csv", lists, {i: "val" if i in "45" else "train" for i in ids})
    config = tiny(min_count=2, epochs=1)
    report = train(cache, tags, tmp_path / "run", config)
    assert (report.images, report.lists, report.vocabulary) == (4, 3, 2)
    data = load_training_data(cache, tags, config, choose_device("cpu"))
    # The known tag of 'unseen, dog' earns what it has at rank two.
    dog = data.vocabulary.encode(["dog"])
    d2 = 1 / np.log2(3)
    assert ndcg5(data.validation, [dog, []]) == pytest.approx(0.5 * d2 / (1 + d2**2))
    with pytest.raises(RanktagError, match="no tag stands in at least 9 training lists"):
        train(cache, tags, tmp_path / "none", tiny(min_count=9))


def test_validation_lists_may_hold_no_known_tag(tmp_path: Path) -> None:
    cache = make_cache(tmp_path / "c.h5", ["a", "b"])
    tags = make_tags(tmp_path / "t.csv", {"a": [["dog"]], "b": [["cat"]]}, {"a": "train", "b": "val"})
    report = train(cache, tags, tmp_path / "run", tiny(epochs=2))
    assert report.ndcg5 == 0.0
    assert load_checkpoint(tmp_path / "run").vocabulary.tags == ("dog",)


def test_a_made_split_is_noted_and_recorded(tmp_path: Path) -> None:
    cache, tags = make_data(tmp_path)
    make_tags(tags, read_tag_lists(tags).lists)
    report = train(cache, tags, tmp_path / "run", tiny(epochs=1, split_seed=5))
    assert "no split column: 24 train, 3 val, 3 test (seed 5)" in report.notes
    split = load_checkpoint(tmp_path / "run").split
    assert sorted(i for ids in split.values() for i in ids) == [f"{n:03}.jpg" for n in range(30)]
    assert join(cache, tags, 5).split == {i: part for part, ids in split.items() for i in ids}
    assert join(cache, tags, 6).split != join(cache, tags, 5).split


def test_a_cache_larger_than_the_memory_is_mapped_with_the_same_result(tmp_path: Path) -> None:
    cache, tags = make_data(tmp_path)
    for name, gibibytes in (("loaded", 8.0), ("mapped", 0.0)):
        train(cache, tags, tmp_path / name, tiny(epochs=2, max_memory=gibibytes))
    loaded, mapped = weights(tmp_path / "loaded"), weights(tmp_path / "mapped")
    assert all(torch.equal(value, mapped[name]) for name, value in loaded.items())


def test_standardisation_is_that_of_the_training_rows(tmp_path: Path) -> None:
    cache, tags = make_data(tmp_path)
    features = np.array(open_features(cache).features, dtype=np.float64)
    features[:, 3] = 0.25  # never varies
    cache = make_cache(tmp_path / "flat.h5", [f"{n:03}.jpg" for n in range(30)], features, dtype="float32")
    data = load_training_data(cache, tags, tiny(), choose_device("cpu"))
    rows = features.astype(np.float32).astype(np.float64)[[n for n in range(30) if n % 10 < 7]]
    np.testing.assert_allclose(data.mean, rows.mean(0), rtol=1e-5, atol=1e-6)
    expected = rows.std(0)
    expected[3] = 1.0
    np.testing.assert_allclose(data.scale, expected, rtol=1e-5)


def test_a_step_equals_torchs_own_loop(tmp_path: Path) -> None:
    # One epoch of two batches without dropout, by torch.optim.AdamW, clip_grad_norm_ and the model's own loss.
    cache, tags = make_data(tmp_path)
    config = tiny(average=0.0, clip=0.5, label_smoothing=0.1, batch_size=16, warmup=1.0, epochs=4, **NO_DROPOUT)
    data = load_training_data(cache, tags, config, choose_device("cpu"))
    ours = trainer.Trainer(data, config, choose_device("cpu"))
    theirs = trainer.Trainer(data, config, choose_device("cpu")).members[0].model
    groups = [[p for p in theirs.parameters() if p.dim() > 1], [p for p in theirs.parameters() if p.dim() <= 1]]
    reference = torch.optim.AdamW(
        [{"params": groups[0], "weight_decay": 0.1}, {"params": groups[1], "weight_decay": 0.0}]
    )
    order = torch.randperm(21, generator=torch.Generator().manual_seed(ours.members[0].seed * 1_000_003))
    ours.run_epoch()
    for step, chosen in enumerate(order.split(16)):
        features, lists = data.training.pack(chosen)
        loss = torch.nn.functional.cross_entropy(theirs(features, lists), lists.target, label_smoothing=0.1)
        reference.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(theirs.parameters(), 0.5)
        for group in reference.param_groups:
            group["lr"] = 1e-3 * (step + 1) / 2
        reference.step()
    for (name, a), b in zip(ours.members[0].model.named_parameters(), theirs.parameters()):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6, msg=lambda m, name=name: f"{name}: {m}")


def test_the_kept_weights_are_a_moving_average(tmp_path: Path) -> None:
    cache, tags = make_data(tmp_path)
    config = tiny(average=0.9, batch_size=64)
    run = trainer.Trainer(load_training_data(cache, tags, config, choose_device("cpu")), config, choose_device("cpu"))
    expected = {name: p.detach().clone() for name, p in run.members[0].model.named_parameters()}
    for step in range(12):
        run.run_epoch()
        decay = min(0.9, (1 + step) / (10 + step))
        for name, p in run.members[0].model.named_parameters():
            expected[name] = decay * expected[name] + (1 - decay) * p.detach()
    for name, p in run.average.named_parameters():
        torch.testing.assert_close(p.detach(), expected[name], rtol=1e-4, atol=1e-6)


def test_members_are_the_runs_of_their_own_seeds(tmp_path: Path) -> None:
    # The first member of several is the only one of a run of one: nothing of a member hangs on the others.
    cache, tags = make_data(tmp_path)
    train(cache, tags, tmp_path / "one", tiny(epochs=1))
    train(cache, tags, tmp_path / "three", tiny(epochs=1, members=3))
    one, three = load_checkpoint(tmp_path / "one").model, load_checkpoint(tmp_path / "three").model
    assert three.config.members == 3  # type: ignore[union-attr]
    members = list(three.members)  # type: ignore[union-attr, arg-type]
    assert all(torch.equal(value, members[0].state_dict()[name]) for name, value in one.state_dict().items())
    starts = [member.recurrent for member in members]
    assert not any(
        torch.equal(a, b) for a, b in ((starts[0], starts[1]), (starts[0], starts[2]), (starts[1], starts[2]))
    )


def test_members_of_one_run_are_not_those_of_another(tmp_path: Path) -> None:
    cache, tags = make_data(tmp_path)
    data = load_training_data(cache, tags, tiny(), choose_device("cpu"))
    seeds = [
        member.seed
        for seed in (0, 1, 2)
        for member in trainer.Trainer(data, tiny(seed=seed, members=3), choose_device("cpu")).members
    ]
    assert len(set(seeds)) == 9


@pytest.mark.slow
@pytest.mark.parametrize(
    "device",
    [
        "cpu",
        pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU here")),
    ],
)
def test_bfloat16_learns_as_well_as_float32_within_the_noise_of_five_seeds(tmp_path: Path, device: str) -> None:
    # Made-up lists that show in the features: what is learned is far above what popular tags earn.
    cache, tags = make_up_data(tmp_path, 300, 12)
    config = tiny(hidden=32, projection=32, embedding=8, epochs=8, batch_size=32, lr=4e-3, device=device)
    data = load_training_data(cache, tags, config, choose_device(device))
    popular = train(cache, tags, tmp_path / "popular", config.replace(model="popularity"), data=data).ndcg5
    scores = {
        precision: [
            train(
                cache, tags, tmp_path / f"{precision}-{seed}", config.replace(precision=precision, seed=seed), data=data
            ).ndcg5
            for seed in range(5)
        ]
        for precision in ("fp32", "bf16")
    }
    plain, rounded = (np.array(scores[precision]) for precision in ("fp32", "bf16"))
    assert plain.mean() > popular + 0.1
    # Three standard errors of a difference of two means of five.
    noise = 3 * np.sqrt((plain.var(ddof=1) + rounded.var(ddof=1)) / 5)
    assert abs(plain.mean() - rounded.mean()) <= noise, scores
