"""Greedy decoding, held to the enumeration of every list of a tiny vocabulary."""

from __future__ import annotations

import math

import pytest
import torch
from enumeration import CPU, cases, every_list, images, lists_and_scores, make_model
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import Tensor

from ranktag.config import DecodingConfig
from ranktag.decoding.beam import beam
from ranktag.decoding.greedy import greedy
from ranktag.decoding.rank import rank_tags
from ranktag.decoding.stepper import Stepper
from ranktag.models.lstm import RankTagger
from ranktag.models.ranking import Limits


@settings(max_examples=60, deadline=None)
@given(cases())
def test_greedy_takes_the_likeliest_tag_at_every_step_and_is_a_beam_of_one(
    case: tuple[RankTagger, Tensor, Limits],
) -> None:
    model, x, limits = case
    stepper = Stepper(model, torch.float32)
    image = stepper.initial_state(x)
    one_way, other_way = (
        lists_and_scores(greedy(stepper, image, limits)),
        lists_and_scores(beam(stepper, image, limits, 1)),
    )
    for row, (tags, scores), (beam_tags, beam_scores) in zip(x, one_way, other_way):
        assert tags == beam_tags
        assert scores == pytest.approx(beam_scores, rel=1e-5)
        answers = every_list(model, row, limits)
        assert scores == pytest.approx(answers[tags].steps, rel=1e-4, abs=1e-7)
        for t in range(len(tags) + answers[tags].stopped):
            # No other tag, nor STOP, was likelier.
            rivals = {other[t]: a.steps[t] for other, a in answers.items() if other[:t] == tags[:t] and len(other) > t}
            stop = (
                answers[tags[:t]].probability / math.prod(scores[:t])
                if tags[:t] in answers and not limits.exact
                else 0.0
            )
            chosen = stop if t == len(tags) else rivals[tags[t]]
            assert chosen >= max([stop, *rivals.values()]) - 1e-5


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 1000))
def test_bfloat16_changes_lists_only_on_near_ties(seed: int) -> None:
    model, x = make_model("every-step", 4, seed), images(4, seed)
    exact, near = (
        rank_tags(model, x, 4, DecodingConfig(decode="greedy", num_tags=1, precision=precision, device="cpu"), CPU)
        for precision in ("fp32", "bf16")
    )
    for row, ours, theirs in zip(x, exact.lists(), near.lists()):
        answers = every_list(model, row, Limits(1, exact=True))
        assume(answers[tuple(ours)].probability > 0.02)
        assert answers[tuple(theirs)].probability > 0.8 * answers[tuple(ours)].probability
