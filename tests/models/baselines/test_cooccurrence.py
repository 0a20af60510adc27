"""What baselines know of tags that stand together, checked by hand."""

from __future__ import annotations

import itertools
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from learnable import TAGS, make
from making import make_data, tiny

from ranktag.models.baselines._cooccurrence import CoOccurrence
from ranktag.models.baselines._shared import BaselineConfig
from ranktag.models.baselines.popularity import Model
from ranktag.models.checkpoint import load_checkpoint
from ranktag.tags.lists import read_tag_lists
from ranktag.training.train import train

# Tags a, b, c, d. Of five lists a stands in four, b in two, c in one, d in one.
LISTS = [[0, 1], [1, 0], [0, 2], [0], [3]]


def test_lift_is_the_smoothed_share_of_lists_that_hold_both() -> None:
    together = CoOccurrence.of(LISTS, 4)
    found = together.log_lift(torch.tensor([[0, -1], [2, 3], [4, -1], [0, 1]]))
    to_a = [math.log((both + 1) / (4 * count / 5 + 1)) for both, count in zip((0, 2, 1, 0), (4, 2, 1, 1))]
    np.testing.assert_allclose(found[0], to_a, rtol=1e-6)
    to_c = [math.log((both + 1) / (count / 5 + 1)) for both, count in zip((1, 0, 0, 0), (4, 2, 1, 1))]
    to_d = [math.log(1 / (count / 5 + 1)) for count in (4, 2, 1, 1)]
    np.testing.assert_allclose(found[1], np.add(to_c, to_d), rtol=1e-6)
    assert found[2].tolist() == [0.0] * 4
    to_b = [math.log((both + 1) / (2 * count / 5 + 1)) for both, count in zip((2, 0, 0, 0), (4, 2, 1, 1))]
    np.testing.assert_allclose(found[3], np.add(to_a, to_b), rtol=1e-6)


def test_a_baseline_expects_more_of_what_stands_beside_the_given_tags() -> None:
    model = Model(BaselineConfig(1, 4))
    model.gain = model.presence = torch.tensor([0.5, 0.2, 0.2, 0.1])
    x = torch.zeros(2, 1)
    # Nothing is known yet.
    assert torch.equal(model.complete(x, torch.tensor([[0], [1]])).gain, model.predict(x).gain)
    model.together = CoOccurrence.of(LISTS, 4)
    model.config = BaselineConfig(1, 4, cooccurrence=0.5)
    completed = model.complete(x, torch.tensor([[0], [-1]]))
    lift_of_b = math.sqrt((2 + 1) / (4 * 2 / 5 + 1))
    assert float(completed.gain[0, 1]) == pytest.approx(0.2 * lift_of_b)
    assert torch.equal(completed.gain[1], model.gain) and float(completed.length[1]) == pytest.approx(1.0)
    assert float(completed.length[0]) == pytest.approx(float(completed.presence[0].sum()))


def test_the_weight_is_that_which_ranks_the_rests_of_the_validation_lists_best() -> None:
    # Whatever the image, c follows b and d follows a; d is the more frequent of both.
    x = torch.zeros(30, 1)
    people = [[["a", "d"]]] * 20 + [[["b", "c"]]] * 10
    model = Model(BaselineConfig(1, 4))
    model.gain = torch.tensor([0.5, 0.3, 0.2, 0.45])
    model.presence = model.gain
    attempts = model.learn_cooccurrence(make(people, x), make(people, x))
    assert model.config.cooccurrence > 0 and model.config.pairs == 4
    scores = {attempt.setting: attempt.score for attempt in attempts}
    assert scores[f"cooccurrence={model.config.cooccurrence:g} (of the rest)"] == max(scores.values()) == 1.0
    # After a popularity says d, b, c, which is right; after b it says a, d, c, with c in the third place.
    assert scores["cooccurrence=0 (of the rest)"] == pytest.approx((20 * 1 + 10 / math.log2(4)) / 30)


def test_lists_of_one_tag_teach_nothing() -> None:
    alone = make([[["a"]], [["b"]]], torch.zeros(2, 1))
    model = Model(BaselineConfig(1, len(TAGS)))
    assert model.learn_cooccurrence(alone, alone) == [] and model.together is None


@pytest.mark.parametrize("model", ["popularity", "knn"])
def test_it_is_kept_with_the_run(tmp_path: Path, model: str) -> None:
    cache, tags = make_data(tmp_path)
    train(cache, tags, tmp_path / "run", tiny(model=model))
    first = load_checkpoint(tmp_path / "run").model
    read = read_tag_lists(tags)
    lists = [people[0] for image_id, people in read.lists.items() if read.split[image_id] == "train"]
    assert first.config.pairs == len({pair for one in lists for pair in itertools.permutations(one, 2)})
    assert int(first.together.lists) == len(lists) == 21
    x = torch.randn(3, 4096)
    completed = first.complete(x, torch.tensor([[0], [1], [-1]]))
    assert torch.equal(completed.gain[2], first.predict(x).gain[2])


def test_of_a_long_list_the_first_tags_count() -> None:
    together = CoOccurrence.of([list(range(1000)), [0, 1]], 1000)
    assert len(together.pairs) == 64 * 63
    assert together.count[[0, 63, 64]].tolist() == [2, 1, 0]
    # c_ab = 2 of 0 and 1 in 2 lists, expected 2 x 2 / 2.
    assert together.log_lift(torch.tensor([[0, -1]]))[0, 1].item() == pytest.approx(math.log(3 / 3))
