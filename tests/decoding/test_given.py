"""Lists that are begun, held to the enumeration of every list that goes on from there."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from enumerating_gains import GAINS, Enumeration
from enumeration import CPU, Answer, ensemble, every_list, images, lists_and_scores, make_model
from hypothesis import given as cases
from hypothesis import settings
from hypothesis import strategies as st
from torch import Tensor

from ranktag.config import DecodingConfig
from ranktag.decoding.beam import beam
from ranktag.decoding.given import MOST_ORDERS, Encoder, after_set, most_likely_order, padded
from ranktag.decoding.greedy import greedy
from ranktag.decoding.mbr import expected_gains
from ranktag.decoding.rank import rank_tags
from ranktag.decoding.stepper import Stepper
from ranktag.errors import RanktagError
from ranktag.models.lstm import FORMS, RankTagger
from ranktag.models.ranking import Limits, mean_over
from ranktag.tags.vocabulary import Vocabulary

V = 4
FLOAT = DecodingConfig(precision="fp32", device="cpu")


def rests(model: RankTagger, x: Tensor, prefix: tuple[int, ...]) -> dict[tuple[int, ...], float]:
    """Every rest of a list that begins with the prefix, with its probability given the prefix."""
    whole: dict[tuple[int, ...], Answer] = every_list(model, x, Limits(V))
    found = {tags[len(prefix) :]: a.probability for tags, a in whole.items() if tags[: len(prefix)] == prefix}
    total = sum(found.values())
    return {rest: p / total for rest, p in found.items()}


def probability(model: RankTagger, x: Tensor, prefix: tuple[int, ...]) -> float:
    """P(the list begins with the prefix)."""
    return sum(a.probability for tags, a in every_list(model, x, Limits(V)).items() if tags[: len(prefix)] == prefix)


def exact_gain(model: RankTagger, x: Tensor, prefix: tuple[int, ...], kind: str) -> np.ndarray:
    gain = np.zeros(V)
    for rest, p in rests(model, x, prefix).items():
        for rank, tag in enumerate(rest, 1):
            gain[tag] += p * GAINS[kind](rank, len(rest))
    return gain


prefixes = st.lists(st.integers(0, V - 1), min_size=0, max_size=3, unique=True).map(tuple)


@settings(max_examples=30, deadline=None)
@cases(
    st.integers(0, 10_000),
    st.sampled_from(FORMS),
    st.lists(prefixes, min_size=3, max_size=3),
    st.sampled_from([*GAINS]),
)
def test_the_rest_is_expected_as_all_lists_that_begin_so_say(
    seed: int, form: str, begun: list[tuple[int, ...]], kind: str
) -> None:
    model, x = make_model(form, V, seed), images(3, seed)
    stepper = Stepper(model, torch.float32)
    # Lists of one, two, three tags, and none at all, stand in one batch.
    image = stepper.after(stepper.initial_state(x), padded(begun))
    found = expected_gains(stepper, image, Limits(V), Enumeration(), kind)
    for n, row in enumerate(x):
        np.testing.assert_allclose(found.gain[n], exact_gain(model, row, begun[n], kind), rtol=0, atol=3e-6)


@settings(max_examples=20, deadline=None)
@cases(st.integers(0, 10_000), st.sampled_from(FORMS), prefixes)
def test_an_exhaustive_beam_finds_the_best_rest_and_greedy_follows_the_likeliest_tags(
    seed: int, form: str, prefix: tuple[int, ...]
) -> None:
    model, x = make_model(form, V, seed), images(1, seed)
    stepper = Stepper(model, torch.float32)
    image = stepper.after(stepper.initial_state(x), padded([prefix]))
    possible = rests(model, x[0], prefix)
    ((tags, _),) = lists_and_scores(beam(stepper, image, Limits(V), width=100))
    assert possible[tags] == pytest.approx(max(possible.values()), rel=1e-4)
    ((tags, scores),) = lists_and_scores(greedy(stepper, image, Limits(V)))
    for t, score in enumerate(scores):
        following = [sum(p for rest, p in possible.items() if rest[: t + 1] == (*tags[:t], tag)) for tag in range(V)]
        reached = sum(p for rest, p in possible.items() if rest[:t] == tags[:t])
        assert score == pytest.approx(max(following) / reached, rel=1e-3)


@settings(max_examples=20, deadline=None)
@cases(st.integers(0, 10_000), st.sampled_from(FORMS), st.permutations(range(V)), st.integers(1, 3))
def test_a_set_is_the_sum_over_its_orders(seed: int, form: str, tags: list[int], size: int) -> None:
    model, x = make_model(form, V, seed), images(1, seed)
    stepper = Stepper(model, torch.float32)
    orders = after_set(stepper, stepper.initial_state(x), padded([tags[:size]]), seed=0)
    found = mean_over(
        expected_gains(stepper, orders.image, Limits(V), Enumeration(), "log"), orders.owner, orders.weight, 1
    )
    p = {order: probability(model, x[0], order) for order in itertools.permutations(tags[:size])}
    expected = sum(p[order] / sum(p.values()) * exact_gain(model, x[0], order, "log") for order in p)
    np.testing.assert_allclose(found.gain[0], expected, rtol=0, atol=1e-5)
    # The decoders that write one list go on from the likeliest order.
    likeliest = stepper.after(stepper.initial_state(x), padded([max(p, key=lambda order: p[order])]))
    torch.testing.assert_close(most_likely_order(orders, 1).h, likeliest.h, rtol=1e-4, atol=1e-5)


def test_large_sets_are_drawn_from() -> None:
    model, x = make_model("every-step", 9, seed=1), images(2)
    stepper = Stepper(model, torch.float32)
    given = padded([[0, 1, 2, 3, 4, 5], [3]])
    orders = after_set(stepper, stepper.initial_state(x), given, seed=0)
    assert orders.owner.tolist() == [0] * MOST_ORDERS + [1]
    assert all(sorted(order) == [0, 1, 2, 3, 4, 5] for order in orders.image.given[:MOST_ORDERS].tolist())
    assert orders.weight[:MOST_ORDERS].sum() == pytest.approx(1.0, abs=1e-5) and orders.weight[-1] == 1.0
    again = after_set(stepper, stepper.initial_state(x), given, seed=0)
    assert torch.equal(again.image.given, orders.image.given)


@pytest.mark.parametrize("form", FORMS)
def test_a_tag_that_is_not_known_takes_a_step_with_the_mean_embedding(form: str) -> None:
    model, x = make_model(form, V, seed=3), images(2)
    larger = make_model(form, V + 1, seed=4)
    weights = model.state_dict()
    embedding = weights["embedding"]
    weights["embedding"] = torch.cat([embedding[:V], embedding[:V].mean(0, keepdim=True), embedding[V:]])
    for name in ("output.weight", "output.bias"):
        rows = weights[name]
        weights[name] = torch.cat([rows[:V], torch.full_like(rows[:1], 0.0), rows[V:]])
    weights["output.bias"][V] = -1e9
    larger.load_state_dict(weights)
    unknown, known = (rank_tags(one, x, V, FLOAT, CPU, given=padded([[2, V, 1], [V]])) for one in (model, larger))
    assert unknown.lists() == known.lists()
    np.testing.assert_allclose(unknown.scores, known.scores, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("decode", ["greedy", "beam", "mbr"])
@pytest.mark.parametrize("order", ["list", "none"])
def test_lists_that_are_not_begun_are_decoded_as_usual_and_given_tags_do_not_come_again(
    decode: str, order: str
) -> None:
    model, x = ensemble("every-step", 8, 1, 2), images(6)
    config = FLOAT.replace(decode=decode, given_order=order)
    begun = [[], [3], [], [0, 8, 5], [8], []]
    usual, completed = (rank_tags(model, x, 8, config, CPU, given=given) for given in (None, padded(begun)))
    for n, tags in enumerate(begun):
        assert not set(tags) & set(completed.lists()[n])
        if not tags:
            assert completed.lists()[n] == usual.lists()[n]
    np.testing.assert_allclose(completed.scores[[0, 2, 5]], usual.scores[[0, 2, 5]], rtol=1e-5)
    exactly = rank_tags(model, x, 8, config.replace(num_tags=6), CPU, given=padded(begun)).lists()
    assert [len(set(tags)) for tags in exactly] == [6] * 6
    with pytest.raises(
        RanktagError, match="--num-tags 7: the model knows 8 tags, of which 2 are given; ask for at most 6"
    ):
        rank_tags(model, x, 8, config.replace(num_tags=7), CPU, given=padded(begun))


def test_given_tags_are_found_in_another_spelling() -> None:
    vocabulary = Vocabulary(("Dog", "fire truck", "cat"))
    assert Encoder(vocabulary).encode(["dog", "FIRE  truck", "Dog", "ship"]) == [0, 1, 3]
    (note,) = Encoder(vocabulary).notes([["dog", "ship"]])
    assert note.startswith("1 of the given tags are not among the 3 that the model knows: 'ship'")
    assert Encoder(vocabulary, keep_case=True).encode(["dog", "cat"]) == [3, 2]


def test_no_tag_is_left_to_come_next() -> None:
    model, x = make_model("every-step", 3, seed=6), images(1)
    for decode, order in itertools.product(["greedy", "beam", "mbr"], ["list", "none"]):
        config = FLOAT.replace(decode=decode, given_order=order)
        assert rank_tags(model, x, 3, config, CPU, given=padded([[2, 0, 1]])).lists() == [[]]
    assert math.isfinite(float(rank_tags(model, x, 3, FLOAT, CPU, given=padded([[2, 0]])).scores.sum()))
