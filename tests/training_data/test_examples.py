"""Features and lists as a model takes them."""

from __future__ import annotations

import math
from pathlib import Path
from random import Random

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from making import make_cache, make_data, tiny

from ranktag.compute.device import choose_device
from ranktag.feature_cache.store import open_features
from ranktag.tags.vocabulary import Vocabulary
from ranktag.training_data.examples import NO_TARGET, Examples, standardisation
from ranktag.training_data.load import load_training_data


def test_standardisation_is_that_of_the_training_rows(tmp_path: Path) -> None:
    cache, tags = make_data(tmp_path)
    features = np.array(open_features(cache).features, dtype=np.float64)
    features[:, 3] = 0.25  # never varies
    cache = make_cache(tmp_path / "flat.h5", [f"{n:03}.jpg" for n in range(30)], features, dtype="float32")
    data = load_training_data(cache, tags, tiny(), choose_device("cpu"))
    rows = features.astype(np.float32).astype(np.float64)[[n for n in range(30) if n % 10 < 7]]
    np.testing.assert_allclose(data.mean, rows.mean(0), rtol=1e-5, atol=1e-6)
    expected = rows.std(0)
    expected[3] = 1.0
    np.testing.assert_allclose(data.scale, expected, rtol=1e-5)


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("width", [1, 7, 255, 256, 300, 515, 1031])
def test_standardisation_is_to_the_bit_that_of_whole_blocks_of_512_rows(width: int, threads: int) -> None:
    # A run is resumed where these numbers are the same, by whichever version.
    features = torch.randn(1100, width, generator=torch.Generator().manual_seed(width)).mul(3).half()
    rows = torch.arange(1099, -1, -1)[:1050]
    training = Examples(features, rows, [[("dog",)]] * len(rows), Vocabulary(("dog",)))
    blocks = [features[part].float() for part in rows.split(512)]
    mean = sum(block.sum(0).double() for block in blocks) / len(rows)
    square = sum(block.square().sum(0).double() for block in blocks) / len(rows)
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(threads)
        ours = standardisation(training)
        assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)
    assert torch.equal(ours[0], mean.float())
    assert torch.equal(ours[1], (square - mean.square()).clamp(min=0).sqrt().float())


# x is not in it.
TAGS = Vocabulary(tuple("abcdef"))


@given(
    people=st.lists(st.lists(st.lists(st.sampled_from("abcdefx"), unique=True), max_size=3), min_size=1, max_size=9),
    multiple=st.integers(1, 5),
    random=st.randoms(use_true_random=False),
)
def test_lists_are_packed_step_by_step_the_longest_first(
    people: list[list[list[str]]], multiple: int, random: Random
) -> None:
    every = [(image, person) for image, lists in enumerate(people) for person in range(len(lists))]
    known = [["abcdef".index(tag) for tag in people[n][m] if tag != "x"] for n, m in every]
    learned = [k for k, numbers in enumerate(known) if numbers]
    if not learned:
        return
    features = torch.arange(len(people), dtype=torch.float16)[:, None]
    packing = Examples(
        features,
        torch.arange(len(people)),
        [[tuple(tags) for tags in lists] for lists in people],
        TAGS,
        [list(range(len(lists))) for lists in people],
    )
    chosen = random.sample(range(len(learned)), random.randint(1, len(learned)))
    x, packed = packing.pack(torch.tensor(chosen), multiple=multiple)
    # What is expected, as one would first write it.
    longest_first = sorted((learned[k] for k in chosen), key=lambda k: len(known[k]), reverse=True)
    previous, target, sizes = [], [], []
    for t in range(len(known[longest_first[0]]) + 1):
        reached = sum(len(known[k]) >= t for k in longest_first)
        sizes.append(min(math.ceil(reached / multiple) * multiple, len(chosen)))
        for k in longest_first[: sizes[-1]]:
            within = t <= len(known[k])
            previous.append([len(TAGS), *known[k]][t] if within else len(TAGS))
            target.append([*known[k], len(TAGS)][t] if within else NO_TARGET)
    assert (packed.previous.tolist(), packed.target.tolist(), packed.sizes) == (previous, target, sizes)
    assert packed.previous.dtype == packed.target.dtype == torch.int64
    assert x.flatten().tolist() == [every[k][0] for k in longest_first]
    assert packed.person is not None and packed.person.tolist() == [every[k][1] for k in longest_first]
