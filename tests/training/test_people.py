"""Two people who order the same tags oppositely: only a model that tells them apart can write both lists."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from making import make_cache, tiny
from outcome import Outcome

from ranktag.config import DecodingConfig
from ranktag.decoding.complete import complete
from ranktag.decoding.decode import decode
from ranktag.decoding.suggest import SUGGESTING, Suggester
from ranktag.errors import Mismatch, RanktagWarning, Usage
from ranktag.evaluation.metrics.ndcg import ndcg
from ranktag.models.checkpoint import load_checkpoint
from ranktag.tags.lists import TagLists, write_tag_lists
from ranktag.training.sweep import sweep
from ranktag.training.train import train

# The first of these tags says what kind of image it is; ann goes down the list, bob up.
KINDS = (("sea", "beach", "boat"), ("dog", "grass", "ball"))
DECODERS = ("mbr", "greedy", "beam")
SETTINGS = tiny(
    person_embedding=True,
    dropout_features=0.0,
    dropout_embedding=0.0,
    dropout_output=0.0,
    lr=0.03,
    epochs=72,
    patience=72,
)


def opposites(folder: Path, images: int = 40, names: tuple[str, str] = ("ann", "bob")) -> tuple[Path, Path]:
    random = np.random.default_rng(0)
    ids = [f"{n:02}" for n in range(images)]
    features = 0.1 * random.normal(size=(images, 16)).astype(np.float32)
    features[np.arange(images), np.arange(images) % 2] += 3.0
    lists = {i: (KINDS[n % 2], KINDS[n % 2][::-1]) for n, i in enumerate(ids)}
    split = {i: ("train", "train", "train", "val", "test")[n // 2 % 5] for n, i in enumerate(ids)}
    write_tag_lists(folder / "tags.csv", TagLists(lists, split, dict.fromkeys(ids, names)))
    return make_cache(folder / "cache.h5", ids, features), folder / "tags.csv"


@pytest.fixture(scope="module", params=["every-step", "initial-state"])
def trained(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Path]:
    folder = tmp_path_factory.mktemp("people")
    cache, tags = opposites(folder)
    report = train(cache, tags, folder / "run", SETTINGS.replace(model=request.param, members=2))
    # Each list is validated as its writer's; without the names no list is nearer than 0.8 to both.
    assert report.ndcg5 > 0.95
    return cache, tags, folder / "run"


def ranked(cache: Path, run: Path, output: Path, **config: Any) -> dict[str, list[str]]:
    report = decode(
        cache, run, output, DecodingConfig(device="cpu", num_tags=3, **config), split="test", overwrite=True
    )
    return {i: [tag for tag, _ in tags] for i, tags in report.predictions.items()}


@pytest.mark.parametrize("decoder", DECODERS)
def test_each_gets_their_own_order(trained: tuple[Path, Path, Path], decoder: str, tmp_path: Path) -> None:
    cache, _, run = trained
    for person, step in (("ann", 1), ("bob", -1)):
        found = ranked(cache, run, tmp_path / "p.csv", decode=decoder, person=person)
        own = [list(KINDS[n % 2][::step]) for n in range(len(found))]
        assert [tags[0] for tags in found.values()] == [tags[0] for tags in own]
        # By expected gain the middle tag may come last, where the model is not quite sure of who comes first.
        assert decoder == "mbr" or list(found.values()) == own


def test_it_is_better_than_not_knowing(trained: tuple[Path, Path, Path], tmp_path: Path) -> None:
    cache, _, run = trained
    own = {"ann": [[KINDS[n % 2]] for n in range(8)], "bob": [[KINDS[n % 2][::-1]] for n in range(8)]}
    nobody = list(ranked(cache, run, tmp_path / "nobody.csv").values())
    for person, truth in own.items():
        known = ndcg(truth, list(ranked(cache, run, tmp_path / f"{person}.csv", person=person).values()), 5)
        assert known.min() > 0.97
    # No order is nearer than 0.94 to both of two that are each other's reverse.
    assert np.mean([ndcg(truth, nobody, 5) for truth in own.values()]) < 0.94


@pytest.mark.parametrize("decoder", DECODERS)
def test_one_who_is_not_known_is_nobody(trained: tuple[Path, Path, Path], decoder: str, tmp_path: Path) -> None:
    cache, _, run = trained
    nobody, other = (
        decode(cache, run, tmp_path / f"{name}.csv", DecodingConfig(device="cpu", decode=decoder, person=person))
        for name, person in (("a", None), ("b", "eve"))
    )
    assert nobody.predictions == other.predictions and not nobody.notes
    assert other.notes == [
        f"{run} does not know 'eve', who is taken as the mean of the 2 people that it knows: 'ann', 'bob'"
    ]


def test_begun_lists_go_on_as_the_person_would(trained: tuple[Path, Path, Path], tmp_path: Path) -> None:
    cache, _, run = trained
    lists = TagLists({"08": [("boat", "sea")]})
    for person, following in (("ann", "sea"), ("bob", "beach")):
        config = DecodingConfig(device="cpu", person=person)
        report = complete(cache, run, lists, 1, tmp_path / f"{person}.csv", config)
        suggester = Suggester.open(cache, run, "08", SUGGESTING.replace(person=person, device="cpu"))
        # After the last of the three ann has nothing left to say; bob's list goes on with the middle one.
        first = [tag for tag, _ in report.completions["08"][("boat",)]][:1]
        assert person == "ann" or first == [following]
        assert suggester.suggest(3)[0][0] == KINDS[0][:: 1 if person == "ann" else -1][0]


def test_suggestions_say_whom_they_do_not_know(trained: tuple[Path, Path, Path]) -> None:
    cache, _, run = trained
    with pytest.warns(RanktagWarning, match="does not know 'eve'"):
        Suggester.open(cache, run, "08", SUGGESTING.replace(person="eve", device="cpu"))


def test_what_people_add_is_zero_on_average_and_for_one_who_is_not_known(trained: tuple[Path, Path, Path]) -> None:
    model = load_checkpoint(trained[2]).model
    assert model.people == ("ann", "bob") and model.config.people == 2
    for member in model.members:
        shares = member.person_shares()
        assert shares.shape == (3, 8) and shares[:2].abs().max() > 0.1
        assert torch.equal(shares[2], torch.zeros(8)) and shares.mean(0).abs().max() < 1e-6


def test_v_is_the_sum_of_the_image_s_and_the_person_s(trained: tuple[Path, Path, Path]) -> None:
    member = next(iter(load_checkpoint(trained[2]).model.members))
    x = torch.randn(2, 16)
    ann, nobody = (
        member.image_state(x, torch.float32, person=torch.tensor([0, 2])),
        member.image_state(x, torch.float32),
    )
    v = x.sub(member.mean).div(member.scale) @ member.project.weight.t() + member.project.bias
    v[0] += member.person[0] - (member.person[0] + member.person[1]) / 2
    if member.config.form == "every-step":
        assert torch.allclose(ann.gates, v @ member.image_gates.t() + member.bias, atol=1e-5)
        assert torch.allclose(ann.gates[1], nobody.gates[1], atol=1e-6)
    else:
        assert torch.allclose(
            ann.start[0], torch.tanh(v @ member.start.weight[:8].t() + member.start.bias[:8]), atol=1e-5
        )


def test_training_goes_on_from_where_it_was(tmp_path: Path) -> None:
    cache, tags = opposites(tmp_path)
    config = SETTINGS.replace(epochs=4, model="every-step")

    class Killed(Exception):
        pass

    def killed(row: Any) -> None:
        if row.epoch == 2:
            raise Killed

    train(cache, tags, tmp_path / "whole", config)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("ranktag.training.run.SECONDS_BETWEEN_STATES", 0.0)
        with pytest.raises(Killed):
            train(cache, tags, tmp_path / "run", config, report=killed)
    train(cache, tags, tmp_path / "run", config, resume=True)
    whole, resumed = (load_checkpoint(tmp_path / name).model.state_dict() for name in ("whole", "run"))
    assert all(torch.equal(whole[name], resumed[name]) for name in whole) and whole["person"].any()
    with pytest.raises(Mismatch, match="person_embedding True, not False"):
        train(cache, tags, tmp_path / "run", config.replace(person_embedding=False), resume=True)


def test_people_with_few_lists_are_not_told_apart(tmp_path: Path) -> None:
    cache, _ = opposites(tmp_path)
    ids = [f"{n:02}" for n in range(40)]
    # Cid writes two training lists, the others nineteen or more.
    people = {i: ("cid" if n in (0, 1) else "ann", "bob") for n, i in enumerate(ids)}
    lists = {i: (KINDS[n % 2], KINDS[n % 2][::-1]) for n, i in enumerate(ids)}
    split = {i: "val" if n % 5 == 4 else "train" for n, i in enumerate(ids)}
    tags = TagLists(lists, split, people)
    train(cache, tags, tmp_path / "run", SETTINGS.replace(epochs=1, person_min_lists=3))
    assert load_checkpoint(tmp_path / "run").model.people == ("ann", "bob")
    train(cache, tags, tmp_path / "all", SETTINGS.replace(epochs=1, person_min_lists=2))
    assert load_checkpoint(tmp_path / "all").model.people == ("ann", "bob", "cid")
    with pytest.raises(Usage, match="fewer than two people wrote 100 training lists or more .'bob' 32, 'ann' 30."):
        train(cache, tags, tmp_path / "none", SETTINGS.replace(person_min_lists=100))


def test_lists_of_nobody_are_refused_and_models_that_know_nobody_by_name(
    tmp_path: Path, ranktag: Callable[..., Outcome]
) -> None:
    cache, tags = opposites(tmp_path)
    nameless = tmp_path / "nameless.csv"
    nameless.write_text("image_id,tags\n" + "".join(f"{n:02},a\n" for n in range(40)))
    outcome = ranktag("train-from-cache", cache, nameless, "-o", tmp_path / "x", "--person-embedding")
    assert outcome.code == 2 and "has no column 'person'" in outcome.err and "Traceback" not in outcome.err
    train(cache, tags, tmp_path / "plain", SETTINGS.replace(epochs=1, person_embedding=False))
    train(cache, tags, tmp_path / "knn", tiny(model="knn"))
    for run in ("plain", "knn"):
        outcome = ranktag("export-tags", cache, "--model", tmp_path / run, "-o", tmp_path / "p.csv", "--person", "ann")
        assert outcome.code == 2 and f"{run} tells no people apart" in outcome.err and not (tmp_path / "p.csv").exists()


def test_the_command_says_whom_it_does_not_know(
    trained: tuple[Path, Path, Path], tmp_path: Path, ranktag: Callable[..., Outcome]
) -> None:
    cache, _, run = trained
    outcome = ranktag("export-tags", cache, "--model", run, "-o", tmp_path / "p.csv", "--person", "eve")
    assert outcome.code == 0 and outcome.err.count("does not know 'eve'") == 1


def test_a_sweep_tries_with_and_without(tmp_path: Path) -> None:
    cache, tags = opposites(tmp_path)
    settings = SETTINGS.replace(epochs=1, person_embedding=False)
    sweep(cache, tags, tmp_path / "sweep", settings, {"person_embedding": [False, True]}, [0])
    people = [
        load_checkpoint(tmp_path / "sweep" / "points" / f"person_embedding={on},seed=0").model.people
        for on in (False, True)
    ]
    assert people == [(), ("ann", "bob")]
