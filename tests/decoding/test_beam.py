"""Beam search, held to the enumeration of every list of a tiny vocabulary."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
import torch
from enumeration import Answer, cases, every_list, lists_and_scores
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from ranktag.decoding.beam import beam
from ranktag.decoding.stepper import Stepper
from ranktag.models.lstm import RankTagger
from ranktag.models.ranking import Limits


@settings(max_examples=60, deadline=None)
@given(cases())
def test_an_exhaustive_beam_finds_the_best_of_all_lists(case: tuple[RankTagger, Tensor, Limits]) -> None:
    model, x, limits = case
    stepper = Stepper(model, torch.float32)
    found = lists_and_scores(beam(stepper, stepper.initial_state(x), limits, width=400))
    for row, (tags, scores) in zip(x, found):
        answers = every_list(model, row, limits)
        assert len(answers) <= 400
        assert sum(answer.probability for answer in answers.values()) == pytest.approx(1.0)
        best, second, *_ = sorted((a.probability for a in answers.values()), reverse=True) + [0.0]
        assert answers[tags].probability == pytest.approx(best, rel=1e-4)
        if second < 0.999 * best:
            assert answers[tags].probability == best
        # The product of the scores, and of STOP's probability where it stopped, is the list's probability.
        assert scores == pytest.approx(answers[tags].steps, rel=1e-4, abs=1e-7)
        if limits.exact:
            assert len(tags) == limits.longest and not answers[tags].stopped
        if not limits.repeats:
            assert len(set(tags)) == len(tags)


def naive_beam(
    answers: Mapping[tuple[int, ...], Answer], vocabulary: int, limits: Limits, width: int
) -> tuple[tuple[int, ...], float]:
    """Beam search of a textbook, on the enumeration's probabilities: the best list, and the narrowest choice."""

    def prefix_probability(tags: tuple[int, ...]) -> float:
        return sum(a.probability for other, a in answers.items() if other[: len(tags)] == tags)

    kept: list[tuple[float, tuple[int, ...], bool]] = [(1.0, (), False)]
    narrowest = 1.0
    for _ in range(limits.longest):
        grown = []
        for p, tags, done in kept:
            if done:
                grown.append((p, tags, True))
                continue
            grown += [
                (prefix_probability((*tags, n)), (*tags, n), False)
                for n in range(vocabulary)
                if limits.repeats or n not in tags
            ]
            if not limits.exact:
                grown.append((answers[tags].probability, tags, True))
        grown.sort(key=lambda entry: -entry[0])
        places = sorted({0, width - 1})
        narrowest = min([narrowest, *(1 - grown[k + 1][0] / grown[k][0] for k in places if k + 1 < len(grown))])
        kept = grown[:width]
    return kept[0][1], narrowest


@settings(max_examples=40, deadline=None)
@given(cases(), st.integers(1, 3))
def test_a_narrow_beam_is_the_textbooks(case: tuple[RankTagger, Tensor, Limits], width: int) -> None:
    model, x, limits = case
    stepper = Stepper(model, torch.float32)
    found = lists_and_scores(beam(stepper, stepper.initial_state(x), limits, width))
    for row, (tags, scores) in zip(x, found):
        answers = every_list(model, row, limits)
        expected, narrowest = naive_beam(answers, model.config.vocabulary, limits, width)
        if narrowest > 1e-4:
            assert tags == expected
            assert scores == pytest.approx(answers[tags].steps, rel=1e-4, abs=1e-7)
