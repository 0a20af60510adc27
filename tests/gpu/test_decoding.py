"""Decoding on a GPU: every decoder and model gives the lists that it gives on the processor."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from making import TAGS, features_of, make_data, tiny

from ranktag.config import DecodingConfig
from ranktag.decoding.decode import decode
from ranktag.decoding.suggest import Suggester
from ranktag.feature_cache.write import cache_features
from ranktag.tags.predictions import Predictions
from ranktag.training import run
from ranktag.training.train import train

BASELINES = ("popularity", "linear", "knn", "logistic", "mlp")
DECODERS = {
    "greedy": DecodingConfig(decode="greedy"),
    "greedy, repeats": DecodingConfig(decode="greedy", num_tags=4, allow_repeats=True),
    "beam": DecodingConfig(decode="beam", beam_size=3),
    "followed": DecodingConfig(),
    "drawn": DecodingConfig(samples=8, seed=2),
    "linear gain": DecodingConfig(gain="linear", num_tags=3),
    "binary gain": DecodingConfig(gain="binary"),
}
GIVEN = {"000.jpg": [TAGS[0]], "001.jpg": [TAGS[2], "a tag that is not known", TAGS[1]], "002.jpg": list(TAGS[3:])}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache, and runs of every model, trained on the processor."""
    folder = tmp_path_factory.mktemp("made")
    cache, tags = make_data(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run, "plot_history", lambda path, epochs, kept: None)
        patch.setattr("ranktag.models.baselines._descent.DROPOUT", (0.5,))
        for model in ("every-step", "initial-state"):
            train(cache, tags, folder / model, tiny(model=model, members=2, head=0.5, epochs=8))
        train(cache, tags, folder / "one", tiny(epochs=8))
        for model in BASELINES:
            train(cache, tags, folder / model, tiny().replace(model=model))
    return folder


def test_more_images_than_are_computed_for_at_once(made: Path, tmp_path: Path, device: str) -> None:
    # On a processor a batch is no larger than the rows of one product; on a GPU it is as large as fits.
    features = np.random.default_rng(0).random((600, 4096), dtype=np.float32)
    cache = cache_features(features, [f"{n:03}" for n in range(600)], tmp_path / "many.h5")
    found = {}
    for where in ("cpu", device):
        config = DecodingConfig(device=where, precision="fp32", num_tags=3)
        found[where] = decode(cache, made / "every-step", tmp_path / f"{where}.csv", config, force=True).predictions
    assert len(found[device]) == 600
    assert_alike(found["cpu"], found[device])


def decoded(made: Path, run: str, config: DecodingConfig, device: str, output: Path, **options: object) -> Predictions:
    config = config.replace(device=device, precision="fp32")
    cache, run_folder = made / "cache.h5", made / run
    return decode(cache, run_folder, output, config, overwrite=True, **options).predictions  # type: ignore[arg-type]


def assert_alike(one: Predictions, other: Predictions) -> None:
    """The same tags in the same order, with the same scores to rounding."""
    assert any(one.values()) and list(one) == list(other)
    for image_id, tags in one.items():
        assert [tag for tag, _ in tags] == [tag for tag, _ in other[image_id]], image_id
        assert [p for _, p in tags] == pytest.approx([p for _, p in other[image_id]], abs=1e-5)


@pytest.mark.parametrize("given", [None, "list", "none"])
@pytest.mark.parametrize("name", DECODERS)
def test_an_lstm_writes_the_lists_that_it_writes_on_the_processor(
    made: Path, tmp_path: Path, device: str, name: str, given: str | None
) -> None:
    config = DECODERS[name].replace(given_order=given or "list")
    runs = ("one",) if config.decode != "mbr" else ("every-step", "initial-state")
    for run_ in runs:
        here, there = (
            decoded(made, run_, config, where, tmp_path / "p.csv", given=GIVEN if given else None)
            for where in ("cpu", device)
        )
        assert_alike(here, there)


@pytest.mark.parametrize("model", BASELINES)
def test_a_baseline_ranks_as_it_ranks_on_the_processor(made: Path, tmp_path: Path, device: str, model: str) -> None:
    for given in (None, GIVEN):
        here, there = (
            decoded(made, model, DecodingConfig(), where, tmp_path / "p.csv", given=given) for where in ("cpu", device)
        )
        assert_alike(here, there)


@pytest.mark.parametrize("order", ["list", "none"])
@pytest.mark.parametrize("samples", [8, None])
def test_suggestions_are_the_processor_s(made: Path, device: str, order: str, samples: int | None) -> None:
    found = {}
    for where in ("cpu", device):
        config = DecodingConfig(samples=samples, precision="fp32", given_order=order, device=where)
        suggester = Suggester.open(
            made / "cache.h5", [made / "every-step", made / "initial-state", made / "mlp"], "003.jpg", config
        )
        answers = [suggester.suggest(3)]
        for tag in (TAGS[1], "nobody knows it", TAGS[4]):
            suggester.add(tag)
            answers.append(suggester.suggest(3))
        suggester.undo()
        found[where] = [*answers, suggester.suggest(3)]
    for ours, theirs in zip(found["cpu"], found[device], strict=True):
        assert_alike({"": ours}, {"": theirs})


def test_features_in_memory_are_ranked_where_they_are_asked_to_be(made: Path, device: str) -> None:
    from ranktag.decoding.rank import rank_tags
    from ranktag.models.checkpoint import load_checkpoint

    model, x = load_checkpoint(made / "one").model, torch.from_numpy(features_of(5, seed=3))
    here = rank_tags(model, x, 4, DecodingConfig(precision="fp32"), torch.device("cpu"))
    there = rank_tags(model, x, 4, DecodingConfig(precision="fp32"), torch.device(device))
    assert here.lists() == there.lists()
    assert next(model.parameters()).device == torch.device(device)
