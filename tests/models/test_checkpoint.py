"""Checkpoints: they come back whole, and whatever else is in their place is refused in one line, unrun."""

from __future__ import annotations

import dataclasses
import io
import os
import pickle
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from making import make_cache

from ranktag import registry
from ranktag.config import BASELINE_FOLDER, BASELINES
from ranktag.errors import RanktagError
from ranktag.feature_cache.provenance import Provenance
from ranktag.feature_cache.store import open_features
from ranktag.models.baselines import knn, linear
from ranktag.models.baselines._descent import DescentConfig
from ranktag.models.baselines._shared import BaselineConfig
from ranktag.models.checkpoint import FORMAT, MODEL_FILE, Checkpoint, load_checkpoint, read_tensors, save_checkpoint
from ranktag.models.lstm import FORMS, Ensemble, ModelConfig, RankTagger
from ranktag.models.ranking import Head
from ranktag.tags.vocabulary import Vocabulary

PROVENANCE = Provenance("vgg16", "fc7", "imagenet", "ab12", "{}", "float32", "cd34", created="2026-01-01T00:00:00Z")
TAGS = ("dog", "=cat", "日本", "a b")


def make(kind: str = "every-step") -> Checkpoint:
    model: Any
    if kind in FORMS:
        model = RankTagger(ModelConfig(kind, 6, 3, 4, 2, len(TAGS)), torch.Generator().manual_seed(0))
    else:
        sizes = {
            "popularity": BaselineConfig(6, len(TAGS)),
            "knn": knn.KnnConfig(6, len(TAGS), images=5, neighbours=2, sharpness=8.0),
            "linear": linear.LinearConfig(6, len(TAGS), penalty=0.5),
            "logistic": DescentConfig(6, len(TAGS), dropout=0.5),
            "mlp": DescentConfig(6, len(TAGS), dropout=0.5),
        }[kind]
        model = registry.load(BASELINE_FOLDER, kind).Model(sizes)
        generator = torch.Generator().manual_seed(0)
        for value in model.buffers():
            value.copy_(torch.rand(value.shape, generator=generator))
    return Checkpoint(
        kind,
        model,
        Vocabulary(TAGS),
        3,
        {"train": ["a.jpg", "é.jpg"], "val": ["b.jpg"], "test": []},
        PROVENANCE,
        {"lr": 0.5},
        {"ndcg5": 0.25},
    )


@pytest.fixture
def run(tmp_path: Path) -> Path:
    save_checkpoint(tmp_path / "run" / MODEL_FILE, make())
    return tmp_path / "run"


def refused(path: Path, *words: str) -> None:
    with pytest.raises(RanktagError) as error:
        load_checkpoint(path)
    for word in words:
        assert word in str(error.value), str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("kind", [*FORMS, *BASELINES])
def test_round_trip(tmp_path: Path, kind: str) -> None:
    saved = make(kind)
    save_checkpoint(tmp_path / MODEL_FILE, saved)
    for path in (tmp_path, tmp_path / MODEL_FILE):
        loaded = load_checkpoint(path)
        assert loaded.kind == kind and type(loaded.model) is type(saved.model)
        assert loaded.model.config == saved.model.config
        ours, theirs = saved.model.state_dict(), loaded.model.state_dict()
        assert list(ours) == list(theirs) and all(torch.equal(ours[name], theirs[name]) for name in ours)
        for name in ("vocabulary", "longest", "split", "provenance", "training", "validation"):
            assert getattr(loaded, name) == getattr(saved, name)
        assert not loaded.model.training and not any(p.requires_grad for p in loaded.model.parameters())


@pytest.mark.parametrize("kind", BASELINES)
def test_a_baseline_of_before_each_had_settings_of_its_own_loads(tmp_path: Path, kind: str) -> None:
    saved = make(kind)
    save_checkpoint(tmp_path / MODEL_FILE, saved)
    content = torch.load(tmp_path / MODEL_FILE, weights_only=True)
    every: dict[str, Any] = {"images": 0, "neighbours": 0, "sharpness": 0.0, "penalty": 0.0}
    torch.save(content | {"model_config": every | content["model_config"]}, tmp_path / MODEL_FILE)
    loaded = load_checkpoint(tmp_path)
    assert loaded.model.config == saved.model.config
    assert all(torch.equal(value, loaded.model.state_dict()[name]) for name, value in saved.model.state_dict().items())


def test_the_file_is_a_plain_dict_that_torch_loads_without_running_anything(run: Path) -> None:
    content = torch.load(run / MODEL_FILE, weights_only=True)
    assert content["format"] == "ranktag-model" and content["format_version"] == 1
    assert content["vocabulary"] == list(TAGS)
    assert content["provenance"]["backbone"] == "vgg16"
    assert all(isinstance(value, torch.Tensor) for value in content["weights"].values())


def test_matrices_lie_row_by_row_in_the_file(run: Path) -> None:
    # In training the projection lies column by column.
    weights = torch.load(run / "model.pt", weights_only=True)["weights"]
    assert weights and all(value.is_contiguous() for value in weights.values())


def test_a_truncated_file_is_refused(run: Path, tmp_path: Path) -> None:
    whole = (run / MODEL_FILE).read_bytes()
    cut = tmp_path / "cut.pt"
    for end in [0, 1, 4, 30, 100, *range(200, len(whole), max(1, len(whole) // 40)), len(whole) - 23, len(whole) - 1]:
        cut.write_bytes(whole[:end])
        refused(cut, "cut.pt", "damaged")


def test_flipped_bytes_are_refused_or_harmless(run: Path, tmp_path: Path) -> None:
    whole, messages = (run / MODEL_FILE).read_bytes(), list[str]()
    for at in range(0, len(whole), max(1, len(whole) // 150)):
        path = tmp_path / "flipped.pt"
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 0xFF]) + whole[at + 1 :])
        try:
            load_checkpoint(path)
        except RanktagError as error:
            messages.append(str(error))
    assert messages and all("\n" not in message and "flipped.pt" in message for message in messages)


def foreign(kind: str) -> bytes:
    buffer = io.BytesIO()
    if kind == "text":
        return b"epoch,loss\n1,2\n"
    if kind == "zip":
        with zipfile.ZipFile(buffer, "w") as archive:
            archive.writestr("photo.jpg", b"...")
    elif kind == "tensor":
        torch.save(torch.ones(3), buffer)
    elif kind == "state dict":
        torch.save(torch.nn.Linear(2, 2).state_dict(), buffer)
    elif kind == "old torch":
        torch.save({"format": FORMAT}, buffer, _use_new_zipfile_serialization=False)
    elif kind == "pickle":
        return pickle.dumps({"format": FORMAT})
    elif kind == "module":
        torch.save(torch.nn.Linear(2, 2), buffer)
    return buffer.getvalue()


@pytest.mark.parametrize("kind", ["empty", "text", "zip", "tensor", "state dict", "old torch", "pickle", "module"])
def test_another_file_under_the_name_is_refused(tmp_path: Path, kind: str) -> None:
    (tmp_path / MODEL_FILE).write_bytes(foreign(kind))
    refused(tmp_path, MODEL_FILE, "of ranktag")


class Hostile:
    """Makes a file when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.mark),)


@pytest.mark.parametrize("form", ["torch", "old torch", "pickle", "inside"])
def test_a_hostile_file_is_refused_and_nothing_runs(tmp_path: Path, form: str) -> None:
    mark = tmp_path / "it ran"
    content: Any = Hostile(mark)
    if form == "inside":
        content = {"format": FORMAT, "format_version": 1, "weights": {"x": content}}
    buffer = io.BytesIO()
    if form == "pickle":
        pickle.dump(content, buffer)
    else:
        torch.save(content, buffer, _use_new_zipfile_serialization=form != "old torch")
    (tmp_path / MODEL_FILE).write_bytes(buffer.getvalue())
    refused(tmp_path, MODEL_FILE)
    with pytest.raises(RanktagError):
        read_tensors(tmp_path / MODEL_FILE, "state")
    assert not mark.exists()
    # The file does what it is accused of.
    if form == "pickle":
        pickle.loads(buffer.getvalue())
        assert mark.exists()


def changed(run: Path, **changes: Any) -> Path:
    content = torch.load(run / MODEL_FILE, weights_only=True)
    torch.save(content | changes, run / MODEL_FILE)
    return run


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"format": "other"}, ["is not a model of ranktag"]),
        ({"format_version": 2}, ["model format 2", "reads 1"]),
        ({"format_version": "1"}, ["model format 1"]),
        ({"vocabulary": ["dog"]}, ["damaged", "outputs for 1 tags"]),
        ({"vocabulary": ["dog"] * 4}, ["damaged", "twice"]),
        ({"vocabulary": "dogs"}, ["damaged"]),
        ({"vocabulary": [1, 2, 3, 4]}, ["damaged"]),
        ({"model": "transformer"}, ["damaged", "transformer"]),
        ({"model": ["every-step"]}, ["damaged"]),
        ({"model": "knn"}, ["damaged"]),
        ({"model_config": {"hidden": 3}}, ["damaged"]),
        ({"weights": {}}, ["damaged"]),
        ({"weights": None}, ["damaged"]),
        ({"longest": None}, ["damaged"]),
        ({"split": ["a"]}, ["damaged"]),
        ({"provenance": {}}, ["damaged"]),
        ({"provenance": {"backbone": "vgg16", "colour": "blue"}}, ["damaged"]),
    ],
)
def test_a_file_with_other_content_is_refused(run: Path, changes: dict[str, Any], words: list[str]) -> None:
    refused(changed(run, **changes), MODEL_FILE, *words)


def test_sizes_beside_the_weights_allocate_nothing(run: Path) -> None:
    config = {
        "form": "every-step",
        "features": 10**9,
        "projection": 10**9,
        "hidden": 10**9,
        "embedding": 10**9,
        "vocabulary": 4,
    }
    refused(changed(run, model_config=config), "damaged")


@pytest.mark.parametrize("members", [0, 10**9, "3", None, 2])
def test_members_that_are_not_in_the_file_are_refused(run: Path, members: Any) -> None:
    content = torch.load(run / MODEL_FILE, weights_only=True)
    refused(changed(run, model_config=content["model_config"] | {"members": members}), "damaged")


def test_an_ensemble_comes_back_as_it_was(run: Path) -> None:
    checkpoint = load_checkpoint(run)
    sizes = ModelConfig("every-step", 6, 3, 4, 2, len(TAGS))
    several = Ensemble([RankTagger(sizes, torch.Generator().manual_seed(seed)) for seed in (0, 1)])
    save_checkpoint(run / MODEL_FILE, dataclasses.replace(checkpoint, kind="every-step", model=several))
    back = load_checkpoint(run).model
    assert isinstance(back, Ensemble) and back.config == dataclasses.replace(sizes, members=2)
    assert all(torch.equal(value, back.state_dict()[name]) for name, value in several.state_dict().items())


@pytest.mark.parametrize(
    "field", ["model", "model_config", "weights", "vocabulary", "longest", "split", "provenance", "training_config"]
)
def test_a_file_that_lacks_a_part_is_refused(run: Path, field: str) -> None:
    content = torch.load(run / MODEL_FILE, weights_only=True)
    del content[field]
    torch.save(content, run / MODEL_FILE)
    refused(run, "damaged", field)


def test_a_folder_without_a_model_says_what_to_do(tmp_path: Path) -> None:
    refused(tmp_path, "holds no model.pt", "train one with 'train-from-cache'")
    refused(tmp_path / "missing", "no such run folder", "train-from-cache")
    (tmp_path / "state.pt").touch()
    refused(tmp_path, "holds no model.pt", "go on with 'train-from-cache --resume'")


def test_features_of_another_making_are_refused_naming_both_sides(tmp_path: Path) -> None:
    checkpoint = make()
    store = open_features(make_cache(tmp_path / "c.h5", ["a"], np.ones((1, 6)), source="my-backbone"))
    with pytest.raises(RanktagError, match="backbone: 'vgg16' / 'my-backbone'; layer: 'fc7' / ''.*--force") as error:
        checkpoint.refuse_other_features(store, tmp_path / "run")
    assert str(tmp_path / "run") in str(error.value) and str(store.path) in str(error.value)


@pytest.mark.parametrize("kind", [*FORMS, "popularity", "knn", "linear"])
@pytest.mark.parametrize("force", [False, True])
def test_features_of_another_width_are_refused_whatever_is_forced(tmp_path: Path, kind: str, force: bool) -> None:
    checkpoint = dataclasses.replace(make(kind), provenance=Provenance("x", "", "", "", "{}", "float32", ""))
    store = open_features(make_cache(tmp_path / "c.h5", ["a"], np.ones((1, 7)), source="x"))
    with pytest.raises(RanktagError, match=r"\(width: 6 / 7\); use a cache of the same making$") as error:
        checkpoint.refuse_other_features(store, tmp_path / "run", force=force)
    assert str(tmp_path / "run") in str(error.value) and str(store.path) in str(error.value)
    same = open_features(make_cache(tmp_path / "d.h5", ["a"], np.ones((1, 6)), source="x"))
    checkpoint.refuse_other_features(same, tmp_path / "run", force=force)


def test_when_and_in_what_features_were_computed_makes_no_difference(tmp_path: Path) -> None:
    store = open_features(make_cache(tmp_path / "c.h5", ["a"], np.ones((1, 6))))
    theirs = Provenance(
        **{
            **vars(store.provenance),
            "created": "2020-01-01T00:00:00Z",
            "compute_dtype": "bfloat16",
            "torch_version": "1.0",
        }
    )
    checkpoint = make()
    Checkpoint(**{**vars(checkpoint), "provenance": theirs}).refuse_other_features(store, tmp_path)


def test_a_failed_save_leaves_the_old_file(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = (run / MODEL_FILE).read_bytes()

    def full(content: object, file: Any) -> None:
        file.write(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(OSError, match="No space"):
        save_checkpoint(run / MODEL_FILE, make())
    assert (run / MODEL_FILE).read_bytes() == before
    assert [path.name for path in run.iterdir()] == [MODEL_FILE]


def test_what_stands_beside_an_lstm_comes_back_with_it(tmp_path: Path) -> None:
    checkpoint, x = make(), torch.rand(5, 6)
    assert isinstance(checkpoint.model, RankTagger)
    head = registry.load(BASELINE_FOLDER, "mlp").Model(DescentConfig(6, len(TAGS), 0.7))
    checkpoint.model.head = Head(head, 0.2)
    save_checkpoint(tmp_path / MODEL_FILE, checkpoint)
    loaded = load_checkpoint(tmp_path).model
    assert isinstance(loaded, RankTagger) and loaded.head is not None
    assert loaded.head.weight == 0.2
    assert torch.equal(loaded.head.model.predict(x).gain, head.predict(x).gain)
    # The LSTM's own weights are as they would be without it.
    assert loaded.state_dict().keys() == make().model.state_dict().keys()


@pytest.mark.parametrize("change", [{"weight": 2.0}, {"weights": {}}, {"model_config": {"features": 6}}])
def test_a_damaged_head_is_refused(tmp_path: Path, change: dict[str, Any]) -> None:
    checkpoint = make()
    assert isinstance(checkpoint.model, RankTagger)
    checkpoint.model.head = Head(registry.load(BASELINE_FOLDER, "mlp").Model(DescentConfig(6, len(TAGS), 0.7)), 0.2)
    save_checkpoint(tmp_path / MODEL_FILE, checkpoint)
    content = torch.load(tmp_path / MODEL_FILE, weights_only=True)
    content["head"].update(change)
    torch.save(content, tmp_path / MODEL_FILE)
    with pytest.raises(RanktagError, match="damaged"):
        load_checkpoint(tmp_path)
