"""Ranked tags of whole batches, by every decoder."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from enumeration import CPU, D, ensemble, images, make_model
from torch import Tensor

from ranktag.config import DecodingConfig
from ranktag.decoding.rank import rank_tags
from ranktag.errors import RanktagError
from ranktag.models.baselines import mlp
from ranktag.models.lstm import FORMS
from ranktag.models.ranking import Head


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("decode", ["greedy", "beam", "mbr"])
@pytest.mark.parametrize("settings", [{}, {"num_tags": 4}, {"allow_repeats": True, "max_tags": 9}])
def test_a_batch_gives_its_images_one_by_one(form: str, decode: str, settings: dict[str, object]) -> None:
    # Of these images no code of mbr's lies so near a bound that rounding, which differs with a batch's size, decides.
    model, x = make_model(form, 12, seed=1), images(40, seed=38)
    config = DecodingConfig(decode=decode, precision="fp32", device="cpu", samples=16, **settings)
    together = rank_tags(model, x, 6, config, CPU)
    alone = [rank_tags(model, x[n : n + 1], 6, config, CPU) for n in range(len(x))]
    assert together.lists() == [one.lists()[0] for one in alone]
    np.testing.assert_allclose(together.scores, np.concatenate([one.scores for one in alone]), rtol=1e-4, atol=1e-5)


def random_head(vocabulary: int) -> mlp.Model:
    """A network beside an LSTM, untrained."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return mlp.Model(mlp.Model.Config(D, vocabulary, 0.7)).eval().requires_grad_(False)


@pytest.mark.parametrize("gain", ["log", "binary", "linear"])
def test_a_head_has_its_share_in_what_tags_gain(gain: str) -> None:
    model, x = make_model("every-step", 6, seed=1), images(5, seed=2)
    config = DecodingConfig(precision="fp32", device="cpu", num_tags=6, gain=gain)
    alone = rank_tags(model, x, 6, config, CPU)
    head = random_head(6)
    of_head = head.predict(x).presence if gain == "binary" else head.predict(x).gain
    model.head = Head(head, 1.0)
    ranked = rank_tags(model, x, 6, config, CPU)
    # All of a share: the head's own order, which knows nothing of the gain 'linear'.
    assert ranked.lists() == (alone.lists() if gain == "linear" else of_head.argsort(dim=1, descending=True).tolist())
    assert ranked.lists() != alone.lists() or gain == "linear"
    by_tag = [dict(zip(tags, scores)) for tags, scores in zip(ranked.tags.tolist(), ranked.scores.tolist())]
    before = [dict(zip(tags, scores)) for tags, scores in zip(alone.tags.tolist(), alone.scores.tolist())]
    assert by_tag == before
    model.head = Head(head, 0.0)
    assert rank_tags(model, x, 6, config, CPU).lists() == alone.lists()


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_by_default_an_image_has_the_same_tags_to_the_bit_whatever_batch_and_threads(precision: str) -> None:
    several, x = ensemble("every-step", 12, 1, 2, 3), images(300, seed=4)
    several.head = Head(random_head(12), 0.2)
    config = DecodingConfig(precision=precision, device="cpu", num_tags=8)
    together = rank_tags(several, x, 8, config, CPU)
    threads = torch.get_num_threads()
    torch.set_num_threads(3 - min(threads, 2))
    try:
        parts = [rank_tags(several, part, 8, config, CPU) for part in x.split([1, 7, 40, 252])]
    finally:
        torch.set_num_threads(threads)
    assert np.array_equal(together.tags, np.concatenate([one.tags for one in parts]))
    assert np.array_equal(together.scores, np.concatenate([one.scores for one in parts]))


def test_little_memory_means_smaller_batches_with_the_same_lists() -> None:
    model, x = make_model("every-step", 12, seed=2), images(20)
    sizes = []

    class Counted:
        def __len__(self) -> int:
            return len(x)

        def __getitem__(self, part: slice) -> Tensor:
            sizes.append(len(x[part]))
            return x[part]

    for decode in ("beam", "mbr"):
        config = DecodingConfig(decode=decode, precision="fp32", device="cpu", beam_size=1000, samples=10_000)
        little = rank_tags(model, Counted(), 6, config.replace(max_memory=0.01), CPU)
        assert little.lists() == rank_tags(model, x, 6, config, CPU).lists()
        assert max(sizes) < 20
        sizes.clear()


@pytest.mark.parametrize("decode", ["greedy", "beam", "mbr"])
def test_lists_that_never_stop_end_at_the_limit(decode: str) -> None:
    model = make_model("every-step", 5, seed=3)
    model.output.bias[5] = -1e4
    config = DecodingConfig(decode=decode, precision="fp32", device="cpu", samples=8)
    for n in (1, 3, 5):
        ranked = rank_tags(model, images(4), 5, config.replace(max_tags=n), CPU)
        assert [len(tags) for tags in ranked.lists()] == [n] * 4
        assert (ranked.scores > 0).all()
    # More than there are different tags cannot be said without repeats.
    assert [len(tags) for tags in rank_tags(model, images(4), 5, config.replace(max_tags=50), CPU).lists()] == [5] * 4
    if decode != "mbr":
        repeating = rank_tags(model, images(4), 5, config.replace(max_tags=50, allow_repeats=True), CPU)
        assert [len(tags) for tags in repeating.lists()] == [50] * 4


@pytest.mark.parametrize("decode", ["greedy", "beam", "mbr"])
def test_a_model_that_stops_at_once_gives_an_empty_list(decode: str) -> None:
    model = make_model("every-step", 4, seed=4)
    model.output.bias[4] = 1e4
    config = DecodingConfig(decode=decode, precision="fp32", device="cpu", samples=8)
    assert rank_tags(model, images(3), 4, config, CPU).lists() == [[], [], []]
    # A number of tags that is asked for is given all the same.
    asked = rank_tags(model, images(3), 4, config.replace(num_tags=2), CPU).lists()
    assert [len(set(tags)) for tags in asked] == [2, 2, 2]


@pytest.mark.parametrize("decode", ["greedy", "beam"])
def test_equal_scores_go_to_the_tag_of_the_lower_number(decode: str) -> None:
    model = make_model("every-step", 5, seed=5)
    for parameter in model.parameters():
        parameter.zero_()
    config = DecodingConfig(decode=decode, precision="fp32", device="cpu", num_tags=4)
    ranked = rank_tags(model, images(2), 5, config, CPU)
    assert ranked.lists() == [[0, 1, 2, 3]] * 2
    np.testing.assert_allclose(ranked.scores, [[1 / 5, 1 / 4, 1 / 3, 1 / 2]] * 2, rtol=1e-6)


def test_more_different_tags_than_there_are_cannot_be_asked_for() -> None:
    model = make_model("every-step", 3, seed=6)
    with pytest.raises(RanktagError, match="--num-tags 4: the model knows 3 tags"):
        rank_tags(model, images(1), 3, DecodingConfig(num_tags=4, device="cpu"), CPU)
    repeats = DecodingConfig(decode="greedy", num_tags=4, allow_repeats=True, precision="fp32", device="cpu")
    assert len(rank_tags(model, images(1), 3, repeats, CPU).lists()[0]) == 4


def test_no_image_gives_no_list() -> None:
    model = make_model("every-step", 3, seed=6)
    ranked = rank_tags(model, images(0), 3, DecodingConfig(precision="fp32", device="cpu"), CPU)
    assert ranked.tags.shape == ranked.scores.shape == (0, 3)


@pytest.mark.parametrize("decode", ["greedy", "beam", "mbr"])
def test_an_ensemble_of_equal_members_decodes_as_one_of_them(decode: str) -> None:
    x = torch.randn(6, D, generator=torch.Generator().manual_seed(1))
    config = DecodingConfig(decode=decode, precision="fp32", device="cpu")
    one, three = (
        rank_tags(model, x, 4, config, torch.device("cpu"))
        for model in (make_model("every-step", 5, 7), ensemble("every-step", 5, 7, 7, 7))
    )
    assert one.lists() == three.lists()
    np.testing.assert_allclose(one.scores, three.scores, rtol=1e-5, atol=1e-6)


def test_a_module_that_ranks_nothing_is_refused() -> None:
    with pytest.raises(TypeError, match="Linear is neither an LSTM nor"):
        rank_tags(torch.nn.Linear(D, 3), images(1), 3, DecodingConfig(device="cpu"), CPU)
