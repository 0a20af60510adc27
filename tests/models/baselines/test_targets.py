"""What baselines learn to predict, kept sparse: to the bit what sums over the whole matrix give."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ranktag.models.baselines._shared import sparse_targets, targets
from ranktag.tags.vocabulary import Vocabulary
from ranktag.training_data.examples import Examples


def dense(examples: Examples) -> tuple[torch.Tensor, torch.Tensor]:
    """Gain and presence (N, V), image by image and person by person."""
    gain = torch.zeros(len(examples.people), len(examples.known))
    presence = torch.zeros_like(gain)
    for n, lists in enumerate(examples.people):
        people = [tags for tags in lists if tags]
        for tags in people:
            numbers = examples.known.encode(tags)
            gain[n, numbers] += 1.0 / torch.log2(1.0 + torch.arange(1, len(numbers) + 1)) / len(people)
            presence[n, numbers] += 1.0 / len(people)
    return gain, presence


def examples_of(people: list[list[tuple[str, ...]]], known: int) -> Examples:
    vocabulary = Vocabulary(tuple(f"t{n}" for n in range(known)))
    return Examples(torch.zeros(len(people), 2), torch.arange(len(people)), people, vocabulary)


LISTS = st.lists(st.lists(st.lists(st.integers(0, 12), unique=True, max_size=9), min_size=1, max_size=4), min_size=1)


@settings(max_examples=60, deadline=None)
@given(LISTS)
def test_they_are_those_of_every_person(people: list[list[list[int]]]) -> None:
    # Of 13 tags the last three are not in the vocabulary; the first tag makes sure that there is one that is.
    lists = [[tuple(f"t{n}" for n in tags) for tags in several] for several in people] + [[("t0", "t11", "t1")]]
    examples = examples_of(lists, 10)
    expected = dense(examples)
    assert all(torch.equal(a, b) for a, b in zip(targets(examples), expected, strict=True))
    sparse = sparse_targets(examples)
    chosen = torch.randint(len(lists), (7,))
    assert torch.equal(sparse[chosen], torch.cat(expected, dim=1)[chosen])
    assert torch.equal(sparse[1:3], torch.cat(expected, dim=1)[1:3])


@pytest.mark.parametrize("known", [1, 7, 64, 65, 131])
def test_means_are_those_of_the_matrix(known: int) -> None:
    torch.manual_seed(known)
    lists = [
        [tuple(f"t{n}" for n in torch.randperm(known)[: 1 + k % 5].tolist()) for _ in range(1 + k % 3)]
        for k in range(1501)
    ]
    examples = examples_of(lists, known)
    gain, presence = dense(examples)
    assert torch.equal(sparse_targets(examples, presence=False).mean(), gain.mean(0))
    assert torch.equal(sparse_targets(examples, gain=False).mean(), presence.mean(0))
    assert torch.equal(sparse_targets(examples).mean(), torch.cat([gain, presence], dim=1).mean(0))
