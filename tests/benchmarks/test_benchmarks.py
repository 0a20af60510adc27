"""The benchmarks compare like with like: the textbook's loops give the lists that ours give."""

from __future__ import annotations

import json
from collections.abc import Callable


def test_training_is_timed_against_the_textbook(ranktag: Callable) -> None:
    sizes = ("--images", 40, "--vocabulary", 12, "--hidden", 16, "--projection", 16, "--rounds", 1)
    outcome = ranktag("benchmark", "train", *sizes, "--json")
    assert outcome.code == 0, outcome
    found = json.loads(outcome.out)
    assert found["images"] == 40
    assert {name: len(seconds) for name, seconds in found["seconds"].items()} == dict.fromkeys(
        ("ours", "ours_fp32", "textbook", "textbook_h5py", "validation"), 1
    )
    assert "times it" in ranktag("benchmark", "train", *sizes).out


def test_decoding_is_timed_against_loops_that_write_the_same_lists(ranktag: Callable) -> None:
    outcome = ranktag("benchmark", "decode", "--images", 100, "--vocabulary", 12, "--rounds", 1, "--json")
    assert outcome.code == 0, outcome
    found = json.loads(outcome.out)
    assert found["textbook_images"] == 10
    assert found["same"]["greedy_fp32"] == found["same"]["beam_fp32"] == 1.0
