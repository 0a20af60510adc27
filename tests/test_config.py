"""Settings: checked wherever they come from, and every one has a sentence."""

from __future__ import annotations

import dataclasses
import json
import math
import re
import types
import typing
from pathlib import Path
from typing import Any

import pytest

from ranktag import config, registry
from ranktag.config import Config, DecodingConfig, TrainingConfig, parse_seeds
from ranktag.errors import RanktagError

READERS = "ranktag.tags.readers"
CONFIGS = [
    *(c for c in vars(config).values() if isinstance(c, type) and issubclass(c, Config) and c is not Config),
    *{typing.get_type_hints(registry.load(READERS, name).read)["config"]: None for name in registry.names(READERS)},
]
# Settings that have to be given.
GIVEN = {"HwangGraumanConfig": {"words": "voc.mat"}}
FIELDS = [pytest.param(c, f, id=f"{c.__name__}.{f.name}") for c in CONFIGS for f in dataclasses.fields(c)]


@pytest.mark.parametrize("kind", CONFIGS)
def test_the_defaults_are_allowed_and_plain(kind: type[Config]) -> None:
    made = kind(**GIVEN.get(kind.__name__, {}))
    assert json.loads(json.dumps(made.to_dict())) == made.to_dict()
    assert made.replace() == made


@pytest.mark.parametrize(("kind", "field"), FIELDS)
def test_every_setting_says_what_it_is_and_what_none_stands_for(
    kind: type[Config], field: dataclasses.Field[Any]
) -> None:
    help_text = field.metadata["help"]
    assert help_text and not help_text.endswith(".")
    # The default is shown by itself; the word may be that of a choice.
    assert not re.search(r"by default|defaults? (is|to)|default:", help_text)
    assert (field.default is None) == (field.metadata["when_none"] is not None)
    if field.metadata["choices"] and field.default is not None:
        assert field.default in field.metadata["choices"]
    # A type that the commands can make an option of.
    hint = typing.get_type_hints(kind)[field.name]
    if isinstance(hint, types.UnionType):
        (hint,) = (t for t in typing.get_args(hint) if t is not type(None))
    assert hint in (bool, int, float, str, Path, tuple[int, ...])


@pytest.mark.parametrize(
    ("kind", "field"),
    [p for p in FIELDS if p.values[1].metadata["low"] is not None or p.values[1].metadata["high"] is not None],
)
def test_limits_are_inclusive_and_nothing_passes_them(kind: type[Config], field: dataclasses.Field[Any]) -> None:
    low, high = field.metadata["low"], field.metadata["high"]
    for limit, beyond in ((low, -1), (high, 1)):
        if limit is None:
            continue
        kind(**{field.name: limit})
        with pytest.raises(RanktagError, match=f"^{field.name}: .* is not "):
            kind(**{field.name: limit + beyond})
    with pytest.raises(RanktagError, match=f"^{field.name}: nan is not "):
        kind(**{field.name: math.nan})


def test_a_word_that_is_no_choice_is_refused() -> None:
    with pytest.raises(
        RanktagError,
        match="model: 'transformer' is not one of every-step, initial-state, knn, linear, logistic, mlp, popularity",
    ):
        TrainingConfig(model="transformer")
    with pytest.raises(RanktagError, match="decode: 'sample' is not one of mbr, greedy, beam"):
        DecodingConfig().replace(decode="sample")


def test_none_is_refused_where_it_stands_for_nothing() -> None:
    assert DecodingConfig(num_tags=None).num_tags is None
    with pytest.raises(RanktagError, match="beam_size: is None; give it a value"):
        DecodingConfig(beam_size=None)  # type: ignore[arg-type]


def test_a_limit_is_named_as_it_is() -> None:
    with pytest.raises(RanktagError, match="lr: 20.0 is not between 1e-12 and 10.0"):
        TrainingConfig(lr=20.0)
    with pytest.raises(RanktagError, match="epochs: 0 is not at least 1"):
        TrainingConfig(epochs=0)


def test_seeds_are_a_list_or_how_many() -> None:
    assert parse_seeds("5") == (0, 1, 2, 3, 4) and parse_seeds("1") == (0,)
    assert parse_seeds("7,3, 5") == (7, 3, 5) and parse_seeds("5,") == (5,)
    for text, words in (
        ("0,1,0", "0 stands there twice"),
        ("a", "neither a list"),
        ("", "neither"),
        ("-1,2", "neither"),
    ):
        with pytest.raises(RanktagError, match=words):
            parse_seeds(text)
    for text in ("0", "1001"):
        with pytest.raises(RanktagError, match=f"write --seeds {text},"):
            parse_seeds(text)
