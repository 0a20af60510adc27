"""Suggestions while a list is typed, held to decoding from scratch."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from enumeration import CPU
from hypothesis import given, settings
from hypothesis import strategies as st
from making import TAGS, make_data, tiny

from ranktag import Suggester
from ranktag.config import DecodingConfig
from ranktag.decoding.given import padded
from ranktag.decoding.rank import rank_tags
from ranktag.errors import RanktagError
from ranktag.feature_cache.store import open_features
from ranktag.models.checkpoint import load_checkpoint
from ranktag.training.train import train

CONFIG = DecodingConfig(device="cpu", precision="fp32", samples=16)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("suggest")
    cache, tags = make_data(folder)
    train(cache, tags, folder / "every-step", tiny(members=2, head=0.2))
    for model in ("initial-state", "popularity"):
        train(cache, tags, folder / model, tiny(model=model, head=0.2))
    return folder


# A tag is typed (one in seven is not known), or None: the last one is taken back.
typed = st.lists(st.none() | st.sampled_from([*TAGS, "unicorn"]), max_size=8)


@settings(max_examples=25)
@given(st.sampled_from(["every-step", "initial-state", "popularity"]), st.sampled_from(["list", "none"]), typed)
def test_after_any_typing_it_says_what_decoding_from_scratch_says(
    folder: Path, run: str, order: str, keys: list[str | None]
) -> None:
    config = CONFIG.replace(given_order=order)
    checkpoint, store = load_checkpoint(folder / run), open_features(folder / "cache.h5")
    suggester = Suggester([checkpoint], store.features[3], config)
    expected: list[str] = []
    for key in keys:
        if key is None and expected:
            assert suggester.undo() == expected.pop()
        elif key is not None and key not in expected:
            suggester.add(key)
            expected.append(key)
        assert suggester.tags == tuple(expected)
        known = [next(iter(checkpoint.vocabulary.encode([tag])), len(TAGS)) for tag in expected]
        left = len(TAGS) - sum(number < len(TAGS) for number in known)
        found = suggester.suggest(4)
        assert len(found) == min(4, left)
        if found:
            x = torch.from_numpy(store.features[3:4].copy())
            begun = padded([known]) if known else None
            exactly = config.replace(num_tags=len(found))
            scratch = rank_tags(checkpoint.model, x, checkpoint.longest, exactly, CPU, given=begun)
            assert [tag for tag, _ in found] == list(checkpoint.vocabulary.decode(scratch.lists()[0]))
            np.testing.assert_allclose([p for _, p in found], scratch.scores[0], rtol=1e-4, atol=1e-6)


def test_it_opens_an_image_of_a_cache_with_several_runs(folder: Path) -> None:
    runs = [folder / "every-step", folder / "initial-state"]
    suggester = Suggester.open(folder / "cache.h5", runs, "004.jpg", CONFIG, given=["Dog"])
    assert suggester.tags == ("dog",) and "dog" not in [tag for tag, _ in suggester.suggest(6)]
    assert len(suggester.suggest(6)) == 5
    with pytest.raises(RanktagError, match="'dog': is in the list already; add another"):
        suggester.add("dog")
    suggester.undo()
    with pytest.raises(RanktagError, match="the list is empty"):
        suggester.undo()
    with pytest.raises(RanktagError, match="has no feature of 'none.jpg'"):
        Suggester.open(folder / "cache.h5", runs, "none.jpg", CONFIG)
    with pytest.raises(RanktagError, match="suggestions need mbr"):
        Suggester.open(folder / "cache.h5", runs, "004.jpg", CONFIG.replace(decode="beam"))
    with pytest.raises(RanktagError, match="a feature of 4096 finite numbers is expected"):
        Suggester([load_checkpoint(runs[0])], np.zeros(7, np.float32), CONFIG)
