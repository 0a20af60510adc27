"""Minimum-Bayes-risk decoding without chance, held to sums over every list of a tiny vocabulary."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from enumeration import ensemble, every_list, images, make_model
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

import ranktag.decoding.follow as follow_module
import ranktag.decoding.stepper as stepper_module
from ranktag.decoding.beginnings import EFFORT, Effort
from ranktag.decoding.follow import Following, TooManyNodes, followed_gains
from ranktag.decoding.mbr import Draw, expected_gains
from ranktag.decoding.rank import ROWS
from ranktag.decoding.stepper import Stepper
from ranktag.models.lstm import FORMS, RankTagger
from ranktag.models.ranking import Limits

ALL = Effort(0.0, 0.0, 0.0, 0.0)
GAINS = {
    "log": lambda r, n: 1 / math.log2(1 + r),
    "binary": lambda r, n: 1.0,
    "linear": lambda r, n: (n - r + 1) / n,
}


def exact(model: RankTagger, x: Tensor, limits: Limits, kind: str) -> tuple[np.ndarray, np.ndarray, float]:
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
def test_where_every_beginning_is_followed_the_expectations_are_exact(
    form: str, kind: str, vocabulary: int, longest: int
) -> None:
    model, x = make_model(form, vocabulary, seed=7), images(3, seed=vocabulary)
    stepper = Stepper(model, torch.float32)
    following = Following(stepper, stepper.initial_state(x), Limits(longest), kind, ALL)
    found = following.run()
    for n, row in enumerate(x):
        gain, presence, length = exact(model, row, Limits(longest), kind)
        np.testing.assert_allclose(found.gain[n], gain, rtol=0, atol=2e-6)
        np.testing.assert_allclose(found.presence[n], presence, rtol=0, atol=2e-6)
        assert float(found.length[n]) == pytest.approx(length, abs=5e-6)
    assert float(following.expected.bound.max()) < 1e-5


@settings(max_examples=60, deadline=None)
@given(
    st.integers(0, 10_000),
    st.integers(2, 5),
    st.sampled_from(list(GAINS)),
    st.sampled_from(FORMS),
    st.sampled_from([0.3, 1.0, 3.0]),
    st.sampled_from([0.02, 1 / 16, 0.25, 2.0]),
    st.sampled_from([0.0, 1 / 256, 0.2]),
    st.sampled_from([0.0, 0.25, 2.0]),
)
def test_the_error_stays_within_the_bound(
    seed: int, vocabulary: int, kind: str, form: str, sharpness: float, share: float, least: float, left: float
) -> None:
    model, x = make_model(form, vocabulary, seed, sharpness), images(2, seed)
    stepper = Stepper(model, torch.float32)
    following = Following(
        stepper, stepper.initial_state(x), Limits(vocabulary), kind, Effort(share, 4 * share, left, least)
    )
    found = following.run()
    for n, row in enumerate(x):
        gain, _, _ = exact(model, row, Limits(vocabulary), kind)
        assert np.abs(found.gain[n].numpy() - gain).max() <= float(following.expected.bound[n]) + 1e-5


@pytest.mark.parametrize("kind", GAINS)
def test_what_goes_on_as_one_is_nearer_than_eight_drawn_lists(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    # The bound is loose; of models that are not sure the error itself is small, and smaller where more is followed.
    # Random weights have not learned to say nothing twice.
    monkeypatch.setattr(stepper_module, "LOWER", 0.0)
    model, x = make_model("every-step", 5, seed=8, sharpness=0.5), images(20, seed=8)
    stepper = Stepper(model, torch.float32)
    image, limits = stepper.initial_state(x), Limits(5)
    truth = Following(stepper, image, limits, kind, ALL).run().gain
    error = {
        share: float(
            (Following(stepper, image, limits, kind, Effort(share, share, 0.0, 0.0)).run().gain - truth).abs().mean()
        )
        for share in (0.03, 0.1, 0.3)
    }
    drawn = float((expected_gains(stepper, image, limits, Draw(8, 0.5), kind).gain - truth).abs().mean())
    assert error[0.03] < error[0.1] < error[0.3]
    assert error[0.1] < drawn


def test_nothing_is_lost_where_no_list_can_stop() -> None:
    # Three tags, lists of three: with STOP out of reach every list holds every tag.
    model = make_model("every-step", 3, seed=1)
    model.output.bias[-1] = -1e4
    stepper = Stepper(model, torch.float32)
    found = Following(stepper, stepper.initial_state(images(4)), Limits(3), "log", Effort(0.5, 0.5, 0.0, 0.0)).run()
    torch.testing.assert_close(found.length, torch.full((4,), 3.0), rtol=0, atol=1e-5)


@settings(max_examples=12, deadline=None)
@given(st.integers(0, 1000), st.sampled_from(list(GAINS)), st.sampled_from([torch.float32, torch.bfloat16]))
def test_what_an_image_gains_is_the_same_to_the_bit_whatever_stands_beside_it(
    seed: int, kind: str, dtype: torch.dtype
) -> None:
    # As in use: over six columns a product of 8 or 16 rows does not always sum as larger ones do.
    stepper = Stepper(ensemble("every-step", 6, seed, seed + 1), dtype, rows=ROWS)
    x = images(21, seed)
    together = followed_gains(stepper, stepper.initial_state(x), Limits(6), kind)
    backwards = followed_gains(stepper, stepper.initial_state(x.flip(0)), Limits(6), kind)
    assert torch.equal(together.gain, backwards.gain.flip(0))
    for part in (slice(0, 1), slice(3, 12), slice(20, 21)):
        alone = followed_gains(stepper, stepper.initial_state(x[part]), Limits(6), kind)
        assert torch.equal(together.gain[part], alone.gain)
        assert torch.equal(together.presence[part], alone.presence)


def test_products_of_so_many_rows_are_those_of_all() -> None:
    several, x = ensemble("initial-state", 5, 1, 2, 3), images(11, 4)
    plain, by_rows = Stepper(several, torch.float32), Stepper(several, torch.float32, rows=4)
    for a, b in zip(plain.initial_state(x), by_rows.initial_state(x)):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-5)
    gains = [followed_gains(stepper, stepper.initial_state(x), Limits(5), "log").gain for stepper in (plain, by_rows)]
    torch.testing.assert_close(*gains, rtol=1e-5, atol=1e-5)


def test_lists_go_on_from_any_state() -> None:
    # From the state after a tag, the rest's expectations: those of all lists that begin with it, over its probability.
    model, x = make_model("every-step", 4, seed=5, sharpness=0.7), images(1, seed=5)
    stepper = Stepper(model, torch.float32)
    image = stepper.after(stepper.initial_state(x), torch.tensor([[2]]))
    found = Following(stepper, image, Limits(3), "binary", ALL).run()
    begun = {tags: a.probability for tags, a in every_list(model, x[0], Limits(4)).items() if tags[:1] == (2,)}
    for tag in (0, 1, 3):
        rest = sum(p for tags, p in begun.items() if tag in tags) / sum(begun.values())
        assert float(found.presence[0, tag]) == pytest.approx(rest, abs=1e-5)
    assert float(found.presence[0, 2]) == 0.0


@pytest.mark.parametrize("kind", GAINS)
def test_a_probability_that_is_not_a_number_is_followed_nowhere(kind: str) -> None:
    model = make_model("every-step", 50, seed=11)
    stepper = Stepper(model, torch.float32)
    x = images(2)
    x[0] = math.nan
    found = followed_gains(stepper, stepper.initial_state(x), Limits(50), kind)
    assert bool(found.presence[0].isnan().all())
    assert bool(found.presence[1].isfinite().all()) and bool(found.gain[1].isfinite().all())


def test_what_is_in_the_making_is_bounded() -> None:
    # However many tags there are, 1 / share beginnings of one length can be that likely.
    model, x = make_model("every-step", 300, seed=2, sharpness=0.1), images(3)
    stepper = Stepper(model, torch.float32)
    following = Following(stepper, stepper.initial_state(x), Limits(4), "log", EFFORT)
    following.run()
    assert len(following.nodes.owner) <= 3 / EFFORT.fine
    assert len(following.rest.image) == 3


def nodes(vocabulary: int, effort: Effort) -> int:
    """How many beginnings of two tags are followed, of an image whose tags are all as likely, and no list stops."""
    model = make_model("every-step", vocabulary, seed=3, sharpness=0.0)
    model.output.bias[-1] = -1e4
    stepper = Stepper(model, torch.float32)
    following = Following(stepper, stepper.initial_state(images(1)), Limits(3), "log", effort)
    following.run()
    return len(following.nodes.owner)


def test_more_is_followed_where_that_leaves_little() -> None:
    # Of 8 equally likely tags there are 56 beginnings of two, 1 / 56 each; of 12 there are 132.
    assert nodes(8, Effort(1 / 100, 1 / 20, 0.25, 0.0)) == 56
    assert nodes(12, Effort(1 / 200, 1 / 100, 0.25, 0.0)) == 132
    # Of 132 those of the same two tags are one where only they together are likely enough.
    assert nodes(12, Effort(1 / 100, 1 / 20, 0.25, 0.0)) == 66
    # Of 40 none comes to a twentieth, alone or with its reverse; what is too small to look at is nearly all there is.
    assert nodes(40, Effort(1 / 1600, 1 / 20, 0.25, 0.0)) == 0


@pytest.mark.parametrize("kind", GAINS)
def test_a_batch_with_too_many_nodes_is_parted_and_comes_to_the_same(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    stepper = Stepper(ensemble("every-step", 6, 1, 2), torch.float32, rows=ROWS)
    image = stepper.initial_state(images(9))
    whole = followed_gains(stepper, image, Limits(6), kind)
    monkeypatch.setattr(follow_module, "MOST_NODES", 10)
    monkeypatch.setattr(follow_module, "FEWEST_IMAGES", 1)
    with pytest.raises(TooManyNodes):
        Following(stepper, image, Limits(6), kind, EFFORT).run(most=90)
    parted = followed_gains(stepper, image, Limits(6), kind)
    for name in ("gain", "presence", "length"):
        assert torch.equal(getattr(whole, name), getattr(parted, name))
