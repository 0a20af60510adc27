"""Resuming: a run that was killed ends as one that was not, and what would mislead is refused."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from making import make_cache, make_data, tiny
from trainings import Killed, history, interrupted, killed_after, weights

from ranktag.errors import RanktagError
from ranktag.feature_cache.store import open_features
from ranktag.models.checkpoint import load_checkpoint, read_tensors
from ranktag.training import run
from ranktag.training.train import train


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
    monkeypatch.setattr(run, "SECONDS_BETWEEN_STATES", 0.0)
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
    from ranktag.training import run
    from ranktag.training.train import train
    run.SECONDS_BETWEEN_STATES = 0.0
    folder = Path({folder!r})
    say = lambda row: print(row.epoch, flush=True)
    config = tiny(epochs=60, patience=60)
    train(folder / "cache.h5", folder / "tags.csv", folder / "killed", config, resume=True, report=say)
"""


@pytest.mark.slow
def test_sigkill_at_any_moment_changes_nothing(tmp_path: Path, curves: None) -> None:
    cache, tags = make_data(tmp_path)
    train(cache, tags, tmp_path / "straight", tiny(epochs=60, patience=60))
    script = textwrap.dedent(SCRIPT.format(tests=str(Path(__file__).parents[1]), folder=str(tmp_path)))
    moment = random.Random(0)
    for after_epoch in (2, 15):
        # There, so that what runs is what is installed, not what stands beside the tests.
        process = subprocess.Popen([sys.executable, "-c", script], cwd=tmp_path, stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        for line in process.stdout:
            if int(line) >= after_epoch:
                break
        # Somewhere in the next epochs: in a step, or while a file is written.
        time.sleep(moment.uniform(0, 0.05))
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
        process.stdout.close()
    subprocess.run([sys.executable, "-c", script], cwd=tmp_path, check=True, capture_output=True)
    assert (tmp_path / "killed/model.pt").read_bytes() == (tmp_path / "straight/model.pt").read_bytes()
    assert history(tmp_path / "killed") == history(tmp_path / "straight")
    assert {path.name for path in (tmp_path / "killed").iterdir()} == {
        path.name for path in (tmp_path / "straight").iterdir()
    }


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


def test_a_state_that_is_kept_in_another_way_is_refused_unless_nothing_of_it_is_needed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache, tags, run = interrupted(tmp_path, monkeypatch, tiny(epochs=5))
    state = read_tensors(run / "state.pt", "state")
    # The first format had no number.
    torch.save({name: value for name, value in state.items() if name != "format"}, run / "state.pt")
    with pytest.raises(RanktagError, match="begun by another version of ranktag, which trains in another way"):
        train(cache, tags, run, tiny(epochs=5), resume=True)
    torch.save(state, run / "state.pt")
    done = train(cache, tags, run, tiny(epochs=5), resume=True)
    state = read_tensors(run / "state.pt", "state")
    torch.save({name: value for name, value in state.items() if name != "format"}, run / "state.pt")
    assert train(cache, tags, run, tiny(epochs=5), resume=True).ndcg5 == done.ndcg5


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
