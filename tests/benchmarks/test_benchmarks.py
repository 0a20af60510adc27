"""The benchmarks compare like with like: the textbook's loops give the lists that ours give."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from enumeration import ensemble, images

from ranktag.benchmarks.decoding import TextbookDecoder, textbook_gain
from ranktag.benchmarks.scale import COMMANDS, _calls, _measure
from ranktag.benchmarks.timing import ratio
from ranktag.decoding.beginnings import Effort
from ranktag.decoding.follow import Following
from ranktag.decoding.stepper import Stepper
from ranktag.errors import RanktagError
from ranktag.models.ranking import Limits


def test_training_is_timed_against_the_textbook(ranktag: Callable) -> None:
    sizes = ("--images", 40, "--vocabulary", 12, "--hidden", 16, "--projection", 16, "--rounds", 1)
    outcome = ranktag("benchmark", "train", *sizes, "--json")
    assert outcome.code == 0, outcome
    found = json.loads(outcome.out)
    assert found["images"] == 40
    assert {name: len(seconds) for name, seconds in found["seconds"].items()} == dict.fromkeys(
        ("ours", "ours_fp32", "textbook", "textbook_h5py", "default", "textbook_default", "validation"), 1
    )
    assert "times it" in ranktag("benchmark", "train", *sizes).out


def test_decoding_is_timed_against_loops_that_write_the_same_lists(ranktag: Callable) -> None:
    outcome = ranktag("benchmark", "decode", "--images", 100, "--vocabulary", 12, "--rounds", 1, "--json")
    assert outcome.code == 0, outcome
    found = json.loads(outcome.out)
    assert found["textbook_images"] == 4
    assert found["same"]["greedy_fp32"] == found["same"]["beam_fp32"] == 1.0
    assert found["drawn_images"] == 1


def test_the_textbooks_drawn_gains_are_what_ours_come_to() -> None:
    several, x = ensemble("every-step", 5, 1, 2), images(1, seed=3)
    cells = [TextbookDecoder(member) for member in several.members]
    stepper = Stepper(several, torch.float32)
    ours = Following(stepper, stepper.initial_state(x), Limits(5), "log", Effort(0.0, 0.0, 0.0, 0.0)).run().gain[0]
    generator = torch.Generator().manual_seed(0)
    drawn = torch.stack([textbook_gain(cells, x[0], 5, generator) for _ in range(40)])
    # 2,560 lists: five standard errors of what is at most 1.
    torch.testing.assert_close(drawn.mean(0), ours, rtol=0, atol=5 * float(drawn.std(0).max()) / 40**0.5)


def test_a_round_is_compared_with_itself() -> None:
    # The machine is half as fast in the second round, and loses one of three.
    assert ratio([1.0, 2.0, 9.0], [2.0, 4.0, 2.0]) == 0.5


def test_every_command_is_measured_in_a_process_of_its_own(
    ranktag: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A checkout's folder of that name is not the package.
    (tmp_path / "here" / "ranktag").mkdir(parents=True)
    (tmp_path / "there").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    sizes = ("--images", 40, "--width", 8, "--vocabulary", 12, "--folder", tmp_path / "there")
    outcome = ranktag("benchmark", "scale", *sizes, "--json")
    assert outcome.code == 0, outcome
    found = json.loads(outcome.out)["commands"]
    assert [one["command"] for one in found] == list(COMMANDS)
    for one in found:
        # Python alone takes some megabytes; and nothing here takes four gigabytes, where a GPU's driver takes one.
        assert one["images"] == 40 and one["seconds"] > 0 and one["processor_seconds"] > 0
        assert math.isnan(one["gibibytes"] or math.nan) or 0.003 < one["gibibytes"] < 4, one
    assert not list((tmp_path / "there").iterdir())
    with pytest.raises(RanktagError, match="inspect on 5 images failed .*no such feature cache"):
        _measure("inspect", 5, [*_calls(tmp_path, 5, 8, 12)["inspect"]], str(tmp_path))
