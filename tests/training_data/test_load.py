"""What a model learns from."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from making import make_cache, make_data, make_tags, tiny

from ranktag.compute.device import choose_device
from ranktag.errors import RanktagError
from ranktag.feature_cache.store import open_features
from ranktag.models.checkpoint import load_checkpoint
from ranktag.training.score import ndcg5
from ranktag.training.train import train
from ranktag.training_data.load import load_training_data


@pytest.mark.parametrize(("left", "purpose"), [("val", "train on"), ("train", "stop early by"), ("test", "train on")])
def test_without_training_or_validation_images_there_is_one_line(tmp_path: Path, left: str, purpose: str) -> None:
    cache, tags = make_data(tmp_path)
    make_tags(tags, {"000.jpg": [["dog"]]}, {"000.jpg": left})
    with pytest.raises(RanktagError, match=f"nothing to {purpose}; the splits hold") as error:
        train(cache, tags, tmp_path / "run", tiny())
    assert f"1 {left}" in str(error.value) and not (tmp_path / "run").exists()


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
