"""Training: it learns, ends the same way every time, and says what it left out."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from making import TAGS, features_of, make_cache, make_data, make_tags, tiny
from trainings import NO_DROPOUT, history, weights

from ranktag.benchmarks.training import make_up_data
from ranktag.compute.device import choose_device
from ranktag.config import DecodingConfig
from ranktag.decoding.decode import decode
from ranktag.errors import RanktagError
from ranktag.models.checkpoint import load_checkpoint
from ranktag.models.lstm import FORMS
from ranktag.tags.lists import TagLists, read_tag_lists
from ranktag.tags.predictions import read_predictions
from ranktag.training.history import Epoch, read_history
from ranktag.training.train import train
from ranktag.training_data.load import load_training_data


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
    # 12 images less 2 of val, one that failed and one without tags; of the two people who looked at '3', one wrote one.
    assert (report.images, report.lists) == (8, 8)


def test_validation_lists_may_hold_no_known_tag(tmp_path: Path) -> None:
    cache = make_cache(tmp_path / "c.h5", ["a", "b"])
    tags = make_tags(tmp_path / "t.csv", {"a": [["dog"]], "b": [["cat"]]}, {"a": "train", "b": "val"})
    report = train(cache, tags, tmp_path / "run", tiny(epochs=2))
    assert report.ndcg5 == 0.0
    assert load_checkpoint(tmp_path / "run").vocabulary.tags == ("dog",)


def test_a_cache_larger_than_the_memory_is_mapped_with_the_same_result(tmp_path: Path) -> None:
    cache, tags = make_data(tmp_path)
    for name, gibibytes in (("loaded", 8.0), ("mapped", 0.0)):
        train(cache, tags, tmp_path / name, tiny(epochs=2, max_memory=gibibytes))
    loaded, mapped = weights(tmp_path / "loaded"), weights(tmp_path / "mapped")
    assert all(torch.equal(value, mapped[name]) for name, value in loaded.items())


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


def test_paths_may_be_text_and_tag_lists_in_memory(tmp_path: Path) -> None:
    cache, tags = make_data(tmp_path)
    train(cache, tags, tmp_path / "file", tiny())
    report = train(str(cache), str(tags), str(tmp_path / "text"), tiny())
    assert report.run == tmp_path / "text"
    lists = read_tag_lists(tags)
    train(cache, lists, tmp_path / "lists", tiny())
    train(cache, pd.read_csv(tags), tmp_path / "frame", tiny())
    for name in ("text", "lists", "frame"):
        assert (tmp_path / name / "model.pt").read_bytes() == (tmp_path / "file/model.pt").read_bytes()
    # A run that was begun with the file is gone on with by the same lists.
    train(cache, lists, tmp_path / "file", tiny(), resume=True, report=lambda row: pytest.fail("an epoch was run"))
    fewer = TagLists(dict(list(lists.lists.items())[:-1]), lists.split)
    with pytest.raises(RanktagError, match="was begun with another tag file"):
        train(cache, fewer, tmp_path / "file", tiny(), resume=True)
    with pytest.raises(RanktagError, match="the tag lists: none of its image ids"):
        train(cache, TagLists({"a": [("dog",)]}), tmp_path / "none", tiny())


def test_the_history_is_a_data_frame(tmp_path: Path) -> None:
    cache, tags = make_data(tmp_path)
    rows: list[Epoch] = []
    history = train(cache, tags, tmp_path / "run", tiny(), report=rows.append).history
    assert list(history.columns) == list(Epoch._fields) and history["epoch"].tolist() == [1, 2, 3]
    np.testing.assert_allclose(history["ndcg5"], [row.ndcg5 for row in rows], rtol=1e-5)
    tried = train(cache, tags, tmp_path / "knn", tiny(model="knn")).history
    assert list(tried.columns) == ["setting", "ndcg5"] and tried["setting"][0] == "neighbours=5, sharpness=0"
    popularity = train(cache, tags, tmp_path / "popularity", tiny(model="popularity")).history
    assert popularity["setting"].str.fullmatch(r"cooccurrence=[0-9.]+ \(of the rest\)").all() and len(popularity) > 1
    with pytest.raises(RanktagError, match="history.csv: no such file"):
        read_history(tmp_path)
