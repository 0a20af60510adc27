"""Minimum-Bayes-risk decoding, held to sums over every list of a tiny vocabulary."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping

import numpy as np
import pytest
import torch
from enumerating_gains import GAINS, Enumeration
from enumeration import Answer, D, ensemble, every_list, images, make_model
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from ranktag.decoding.mbr import Draw, expected_gains
from ranktag.decoding.stepper import Stepper
from ranktag.models.lstm import FORMS, RankTagger
from ranktag.models.ranking import Limits, rank_by_gain


def exact_gains(model: RankTagger, x: Tensor, limits: Limits, kind: str) -> tuple[np.ndarray, np.ndarray, float]:
    """Expected gain and presence (V,) and length, by summing over every list."""
    gain, presence, length = np.zeros(model.config.vocabulary), np.zeros(model.config.vocabulary), 0.0
    for tags, answer in every_list(model, x, limits).items():
        length += answer.probability * len(tags)
        for rank, tag in enumerate(tags, 1):
            gain[tag] += answer.probability * GAINS[kind](rank, len(tags))
            presence[tag] += answer.probability
    return gain, presence, length


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("kind", GAINS)
@pytest.mark.parametrize(("vocabulary", "longest"), [(2, 2), (3, 1), (4, 3), (4, 4)])
def test_with_enumeration_in_place_of_drawing_the_expectations_are_exact(
    form: str, kind: str, vocabulary: int, longest: int
) -> None:
    model, x = make_model(form, vocabulary, seed=7), images(3, seed=vocabulary)
    stepper = Stepper(model, torch.float32)
    found = expected_gains(stepper, stepper.initial_state(x), Limits(longest), Enumeration(), kind)
    for n, row in enumerate(x):
        gain, presence, length = exact_gains(model, row, Limits(longest), kind)
        np.testing.assert_allclose(found.gain[n], gain, rtol=0, atol=1e-6)
        np.testing.assert_allclose(found.presence[n], presence, rtol=0, atol=1e-6)
        assert float(found.length[n]) == pytest.approx(length, abs=1e-6)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000), st.integers(2, 4), st.sampled_from(list(GAINS)), st.sampled_from(FORMS))
def test_enumerated_expectations_are_exact_for_any_weights(seed: int, vocabulary: int, kind: str, form: str) -> None:
    model, x = make_model(form, vocabulary, seed), images(1, seed)
    stepper = Stepper(model, torch.float32)
    found = expected_gains(stepper, stepper.initial_state(x), Limits(vocabulary), Enumeration(), kind)
    gain, presence, length = exact_gains(model, x[0], Limits(vocabulary), kind)
    np.testing.assert_allclose(found.gain[0], gain, rtol=0, atol=2e-6)
    np.testing.assert_allclose(found.presence[0], presence, rtol=0, atol=2e-6)
    assert float(found.length[0]) == pytest.approx(length, abs=5e-6)


@pytest.mark.parametrize("kind", GAINS)
def test_drawn_expectations_converge_to_the_exact_ones(kind: str) -> None:
    model, x = make_model("every-step", 4, seed=8, sharpness=1.0), images(6, seed=8)
    stepper = Stepper(model, torch.float32)
    exact = np.stack([exact_gains(model, row, Limits(4), kind)[0] for row in x])
    error = {}
    for lists in (4, 64, 1024, 16384):
        drawn = [
            expected_gains(stepper, stepper.initial_state(x), Limits(4), Draw.seeded(lists, seed), kind).gain
            for seed in range(4)
        ]
        error[lists] = float(np.abs(torch.stack(drawn).numpy() - exact).max())
    # Systematic draws are off by less than a list at each of at most 1 + 4 + 12 nodes, each worth at most 1.
    assert all(worst < 17 / lists for lists, worst in error.items())
    assert error[16384] < error[1024] < error[64] < error[4]


def test_averaged_over_offsets_the_drawn_expectations_are_the_exact_ones() -> None:
    model, x = make_model("every-step", 4, seed=9, sharpness=1.0), images(3, seed=9)
    stepper = Stepper(model, torch.float32)
    exact = np.stack([exact_gains(model, row, Limits(4), "log")[0] for row in x])
    offsets = (np.arange(400) + 0.5) / 400
    drawn = [
        expected_gains(stepper, stepper.initial_state(x), Limits(4), Draw(8, offset), "log").gain for offset in offsets
    ]
    mean = torch.stack(drawn).double().mean(0).numpy()
    # 400 offsets of 8 codes are 3,200 evenly spread codes, each of at most 17 nodes off by less than one of them.
    assert np.abs(mean - exact).max() < 17 / 3200


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_what_goes_on_is_whole_lists_near_their_share(data: st.DataObject) -> None:
    nodes, v, lists = data.draw(st.integers(1, 4)), data.draw(st.integers(1, 8)), data.draw(st.integers(1, 1000))
    # Probabilities as the decoder has them: a softmax in float32, some masked.
    z = data.draw(
        st.lists(
            st.lists(st.floats(-40, 40) | st.just(-math.inf), min_size=v, max_size=v), min_size=nodes, max_size=nodes
        )
    )
    z = [[*row, data.draw(st.floats(-40, 40))] for row in z]
    p = torch.log_softmax(torch.tensor(z, dtype=torch.float32), dim=1).exp()
    draw = Draw(lists, data.draw(st.floats(0, 1, exclude_max=True)))
    parent, tag, weight, codes = draw.continuations(
        draw.begin(nodes, torch.device("cpu")), torch.full((nodes,), float(lists)), p
    )
    drawn = torch.zeros(nodes, v)
    drawn[parent, tag] = weight
    assert bool((weight >= 1).all()) and torch.equal(weight, weight.round())
    share = lists * p[:, :v].double() / p.double().sum(1, keepdim=True)
    assert float((drawn - share).abs().max()) < 1 + 1e-6
    # What cannot follow never does, and every list is where it was drawn to.
    assert float(drawn[p[:, :v] == 0].sum()) == 0
    assert torch.bincount(codes.node, minlength=len(parent)).tolist() == weight.tolist()
    assert bool(((codes.u >= 0) & (codes.u < 1)).all())


@settings(deadline=None)
@given(st.lists(st.floats(0.01, 1), min_size=2, max_size=5), st.integers(1, 20))
def test_over_all_offsets_the_share_is_exact(masses: list[float], lists: int) -> None:
    p = (torch.tensor(masses, dtype=torch.float64) / sum(masses))[None]
    total = torch.zeros(p.shape[1] - 1)
    for offset in (np.arange(500) + 0.5) / 500:
        draw = Draw(lists, offset)
        _, tag, weight, _ = draw.continuations(draw.begin(1, torch.device("cpu")), torch.tensor([float(lists)]), p)
        total[tag] += weight
    torch.testing.assert_close(total.double() / 500, lists * p[0, :-1], rtol=0, atol=2 / 500)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 1000), st.integers(1, 30), st.sampled_from(list(GAINS)))
def test_what_is_drawn_for_an_image_does_not_depend_on_its_batch(seed: int, lists: int, kind: str) -> None:
    model, x = make_model("every-step", 4, seed), images(5, seed)
    stepper = Stepper(model, torch.float32)
    draw = Draw.seeded(lists, seed)
    together = expected_gains(stepper, stepper.initial_state(x), Limits(4), draw, kind)
    backwards = expected_gains(stepper, stepper.initial_state(x.flip(0)), Limits(4), draw, kind)
    torch.testing.assert_close(together.gain, backwards.gain.flip(0), rtol=1e-5, atol=1e-5)
    for n in range(len(x)):
        alone = expected_gains(stepper, stepper.initial_state(x[n : n + 1]), Limits(4), draw, kind)
        torch.testing.assert_close(together.gain[n], alone.gain[0], rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(together.presence[n], alone.presence[0], rtol=1e-5, atol=1e-5)


def test_the_draw_follows_from_its_seed() -> None:
    assert Draw.seeded(8, 3) == Draw.seeded(8, 3) != Draw.seeded(8, 4)
    model, x = make_model("every-step", 4, seed=10, sharpness=0.5), images(2)
    stepper = Stepper(model, torch.float32)
    a, b, c = (
        expected_gains(stepper, stepper.initial_state(x), Limits(4), Draw.seeded(5, seed), "log").gain
        for seed in (3, 3, 4)
    )
    assert torch.equal(a, b) and not torch.equal(a, c)


@pytest.mark.parametrize("kind", GAINS)
def test_a_probability_that_is_not_a_number_ends_the_tree(kind: str) -> None:
    # A damaged feature must not make every list of the vocabulary grow: 50^50 nodes.
    model = make_model("every-step", 50, seed=11)
    stepper = Stepper(model, torch.float32)
    x = images(2)
    x[0] = math.nan
    found = expected_gains(stepper, stepper.initial_state(x), Limits(50), Draw(8, 0.5), kind)
    assert bool(found.presence[0].isnan().all())
    assert bool(found.presence[1].isfinite().all()) and bool(found.gain[1].isfinite().all())


def test_mbr_maximises_the_expected_score_among_all_lists() -> None:
    # The decoder's promise: no list of that length has a greater expected sum of gain(truth rank) / log2(1 + place).
    model, x = make_model("every-step", 4, seed=12), images(4)
    stepper = Stepper(model, torch.float32)
    gains = expected_gains(stepper, stepper.initial_state(x), Limits(4), Enumeration(), "log")
    for row, tags in zip(x, rank_by_gain(gains, Limits(3, exact=True)).lists()):
        answers = every_list(model, row, Limits(4))

        def expected_score(said: tuple[int, ...], answers: Mapping[tuple[int, ...], Answer] = answers) -> float:
            return sum(
                answer.probability / math.log2(2 + truth.index(tag)) / math.log2(1 + place)
                for truth, answer in answers.items()
                for place, tag in enumerate(said, 1)
                if tag in truth
            )

        best = max(expected_score(said) for said in itertools.permutations(range(4), 3))
        assert expected_score(tuple(tags)) == pytest.approx(best, abs=1e-6)


def test_enumerated_expectations_of_an_ensemble_are_those_of_its_lists() -> None:
    # P(list) by the chain rule from the members' mean at every step, summed over all lists.
    several, x, limits = (
        ensemble("every-step", 3, 1, 2),
        torch.randn(1, D, generator=torch.Generator().manual_seed(2)),
        Limits(3),
    )
    stepper = Stepper(several, torch.float32)
    image = stepper.initial_state(x)
    gain, presence = np.zeros(3), np.zeros(3)

    def visit(p: float, said: list[int], h: Tensor, c: Tensor) -> None:
        if len(said) == 3:
            return
        p_next = stepper.log_probabilities(h, torch.tensor([said], dtype=torch.int64), limits).exp()[0]
        for tag in range(3):
            q = p * float(p_next[tag])
            gain[tag] += q / np.log2(2 + len(said))
            presence[tag] += q
            if q > 0:
                visit(q, [*said, tag], *stepper.step(image.gates, h, c, None, torch.tensor([tag])))

    visit(1.0, [], image.h, image.c)
    many = expected_gains(stepper, image, limits, Draw(lists=20_000, offset=0.5), "log")
    np.testing.assert_allclose(many.gain[0], gain, atol=2e-4)
    np.testing.assert_allclose(many.presence[0], presence, atol=2e-4)
