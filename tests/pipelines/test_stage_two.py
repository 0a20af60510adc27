"""From a cache and a tag file to predictions, through the commands."""

from __future__ import annotations

import csv
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from making import TAGS, features_of, make_cache, make_data, make_tags, tiny
from outcome import Outcome

from ranktag.feature_cache.store import open_features
from ranktag.tags.lists import read_tag_lists
from ranktag.tags.predictions import read_predictions
from ranktag.training import run as training
from ranktag.training.history import write_history
from ranktag.training.sweep import best_runs, read_sweep, read_trainings, sweep

Command = Callable[..., Outcome]
SMALL = (
    "--head",
    0,
    "--projection",
    8,
    "--hidden",
    8,
    "--embedding",
    4,
    "--epochs",
    2,
    "--batch-size",
    8,
    "--precision",
    "fp32",
    "--device",
    "cpu",
)
# A baseline has none of an LSTM's settings.
BASELINE = ("--device", "cpu")
POPULARITY = ("--model", "popularity", *BASELINE)
MODELS = ("every-step", "initial-state", "linear", "knn", "logistic", "mlp", "popularity")


@pytest.fixture(autouse=True)
def _no_curves(monkeypatch: pytest.MonkeyPatch) -> None:
    # Drawing them takes longer than the training; test_training looks at them.
    monkeypatch.setattr(training, "plot_history", lambda path, epochs, kept: None)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a cache, a tag file and a trained run, which no test changes."""
    from ranktag.config import TrainingConfig
    from ranktag.training.train import train

    folder = tmp_path_factory.mktemp("made")
    cache, tags = make_data(folder)
    config = TrainingConfig(
        head=0.0, projection=8, hidden=8, embedding=4, epochs=2, batch_size=8, precision="fp32", device="cpu"
    )
    train(cache, tags, folder / "run", config)
    return folder


def export(ranktag: Command, made: Path, output: Path, *options: object) -> Outcome:
    return ranktag("export-tags", made / "cache.h5", "--model", made / "run", "-o", output, "--device", "cpu", *options)


@pytest.mark.parametrize("model", MODELS)
def test_train_export_evaluate(ranktag: Command, tmp_path: Path, model: str) -> None:
    cache, tags = make_data(tmp_path)
    settings = SMALL if model in MODELS[:2] else BASELINE
    trained = ranktag("train-from-cache", cache, tags, "-o", tmp_path / "run", "--model", model, *settings)
    lines = trained.err.splitlines()
    assert trained.code == 0 and lines[0] == f"{model} on 21 train, 6 val, 3 test images, 21 training lists, 6 tags"
    assert trained.out.startswith("validation NDCG@5 0.") and trained.out.endswith(f"{tmp_path / 'run'}\n")
    assert (
        len(lines) - 1
        == len([line for line in lines if line.startswith("epoch ")])
        == (2 if model in MODELS[:2] else 0)
    )

    output = tmp_path / "predictions.csv"
    exported = ranktag(
        "export-tags", cache, "--model", tmp_path / "run", "-o", output, "--split", "test", "--device", "cpu"
    )
    assert (exported.code, exported.err) == (0, "") and exported.out.startswith("3 images, ")
    predictions = read_predictions(output)
    assert list(predictions) == ["009.jpg", "019.jpg", "029.jpg"]
    for ranked in predictions.values():
        names = [tag for tag, _ in ranked]
        assert len(set(names)) == len(names) and set(names) <= set(TAGS)

    evaluated = ranktag("evaluate", output, tags, "-o", tmp_path / "report")
    assert evaluated.code == 0, evaluated


def test_a_line_an_epoch_says_how_it_goes(ranktag: Command, tmp_path: Path) -> None:
    cache, tags = make_data(tmp_path)
    out = ranktag("train-from-cache", cache, tags, "-o", tmp_path / "run", *SMALL).err
    (first, _) = [line for line in out.splitlines() if line.startswith("epoch ")]
    for word in ("loss", "validation loss", "NDCG@5", "images/s", "s left"):
        assert word in first


def test_quiet_prints_nothing(ranktag: Command, tmp_path: Path) -> None:
    cache, tags = make_data(tmp_path)
    assert ranktag("train-from-cache", cache, tags, "-o", tmp_path / "run", "--quiet", *SMALL) == Outcome(0, "", "")
    assert ranktag("export-tags", cache, "--model", tmp_path / "run", "-o", tmp_path / "p.csv", "--quiet") == Outcome(
        0, "", ""
    )


@pytest.mark.parametrize("decode", ["greedy", "beam", "mbr"])
def test_long_and_wide_hold_the_same_and_wide_is_a_tag_list_file(
    ranktag: Command, made: Path, tmp_path: Path, decode: str
) -> None:
    for form in ("long", "wide"):
        assert export(ranktag, made, tmp_path / f"{form}.csv", "--format", form, "--decode", decode).code == 0
    long, wide = read_predictions(tmp_path / "long.csv"), read_predictions(tmp_path / "wide.csv")
    assert long == wide
    # Every image of the cache, in its order.
    assert list(long) == list(open_features(made / "cache.h5").image_id)
    assert all(0 <= p <= 1 for tags in long.values() for _, p in tags)
    assert read_tag_lists(tmp_path / "wide.csv").lists == {
        i: [tuple(tag for tag, _ in tags)] for i, tags in wide.items()
    }


def test_the_files_look_as_the_contract_says(ranktag: Command, made: Path, tmp_path: Path) -> None:
    export(ranktag, made, tmp_path / "long.csv", "--num-tags", 2)
    with open(tmp_path / "long.csv", newline="", encoding="utf-8") as file:
        header, *rows = csv.reader(file)
    assert header == ["image_id", "rank", "tag", "probability", "split"]
    # The made lists of making.py: of every ten images the eighth and ninth are val, the tenth is test.
    assert [row[4] for row in rows[::2]] == (["train"] * 7 + ["val"] * 2 + ["test"]) * 3
    assert [row[0] for row in rows] == [i for n in range(30) for i in [f"{n:03}.jpg"] * 2]
    assert [row[1] for row in rows] == ["1", "2"] * 30
    export(ranktag, made, tmp_path / "wide.csv", "--num-tags", 2, "--format", "wide")
    assert (tmp_path / "wide.csv").read_text().startswith("image_id,tags,probabilities,split\n000.jpg,")


@pytest.mark.parametrize("decode", ["greedy", "beam", "mbr"])
def test_the_number_of_tags_is_exact_or_a_limit(ranktag: Command, made: Path, tmp_path: Path, decode: str) -> None:
    export(ranktag, made, tmp_path / "exact.csv", "--decode", decode, "--num-tags", 6)
    assert {len(tags) for tags in read_predictions(tmp_path / "exact.csv").values()} == {6}
    export(ranktag, made, tmp_path / "most.csv", "--decode", decode, "--max-tags", 1)
    assert {len(tags) for tags in read_predictions(tmp_path / "most.csv").values()} <= {0, 1}
    export(ranktag, made, tmp_path / "none.csv", "--decode", decode, "--num-tags", 7).assert_refused(
        "--num-tags 7", "6 tags"
    )
    assert not (tmp_path / "none.csv").exists()


@pytest.mark.parametrize("model", ["popularity", "knn", "linear"])
def test_a_baseline_takes_the_same_options(ranktag: Command, tmp_path: Path, model: str) -> None:
    cache, tags = make_data(tmp_path)
    ranktag("train-from-cache", cache, tags, "-o", tmp_path / "run", "--model", model, *BASELINE)
    for options, lengths in (
        (("--num-tags", 5), {5}),
        (("--max-tags", 1), {0, 1}),
    ):
        output = tmp_path / f"{lengths}.csv"
        assert ranktag("export-tags", cache, "--model", tmp_path / "run", "-o", output, *options).code == 0
        assert {len(ranked) for ranked in read_predictions(output).values()} <= lengths
    too_many = ranktag("export-tags", cache, "--model", tmp_path / "run", "-o", tmp_path / "p.csv", "--num-tags", 7)
    too_many.assert_refused("--num-tags 7", "6 tags")


@pytest.mark.parametrize("decode", ["greedy", "beam", "mbr"])
def test_the_same_export_gives_the_same_file(ranktag: Command, made: Path, tmp_path: Path, decode: str) -> None:
    for name in ("a", "b"):
        export(ranktag, made, tmp_path / name, "--decode", decode)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_a_split_is_the_one_the_model_was_trained_with(ranktag: Command, made: Path, tmp_path: Path) -> None:
    truth = read_tag_lists(made / "tags.csv")
    assert truth.split is not None
    for split in ("train", "val", "test"):
        assert export(ranktag, made, tmp_path / f"{split}.csv", "--split", split).code == 0
        assert list(read_predictions(tmp_path / f"{split}.csv")) == [
            i for i, part in truth.split.items() if part == split
        ]


def test_a_split_without_images_is_refused(ranktag: Command, made: Path, tmp_path: Path) -> None:
    other = make_cache(tmp_path / "other.h5", ["new.jpg"])
    outcome = ranktag("export-tags", other, "--model", made / "run", "-o", tmp_path / "p.csv", "--split", "test")
    outcome.assert_refused("no image of split 'test'", "leave out --split")


def test_an_output_that_exists_is_kept_unless_it_may_be_replaced(ranktag: Command, made: Path, tmp_path: Path) -> None:
    output = tmp_path / "p.csv"
    output.write_text("mine")
    export(ranktag, made, output).assert_refused(str(output), "exists already", "--overwrite")
    assert output.read_text() == "mine"
    assert export(ranktag, made, output, "--overwrite").code == 0
    assert len(read_predictions(output)) == 30
    export(ranktag, made, tmp_path, "--overwrite").assert_refused("is a folder")


def test_a_run_that_exists_is_kept_unless_it_may_be_replaced(ranktag: Command, made: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(made / "run", run)
    before = (run / "model.pt").read_bytes()
    train = ("train-from-cache", made / "cache.h5", made / "tags.csv", "-o", run, *SMALL)
    ranktag(*train).assert_refused(str(run), "holds a run already", "--resume", "--overwrite")
    ranktag(*train, "--resume", "--lr", 0.5, "--quiet").assert_refused("lr 0.001, not 0.5")
    assert (run / "model.pt").read_bytes() == before
    # The same settings: there is nothing left to do.
    assert ranktag(*train, "--resume").code == 0
    assert (run / "model.pt").read_bytes() == before
    assert ranktag(*train, "--overwrite", "--seed", 1).code == 0
    assert (run / "model.pt").read_bytes() != before


def test_features_of_another_making_need_force(ranktag: Command, made: Path, tmp_path: Path) -> None:
    other = make_cache(tmp_path / "other.h5", ["a.jpg", "b.jpg"], source="my-resnet")
    output = tmp_path / "p.csv"
    refused = ranktag("export-tags", other, "--model", made / "run", "-o", output)
    refused.assert_refused("backbone: 'bring-your-own' / 'my-resnet'", "--force")
    assert not output.exists()
    assert ranktag("export-tags", other, "--model", made / "run", "-o", output, "--force").code == 0
    assert list(read_predictions(output)) == ["a.jpg", "b.jpg"]


def test_images_without_a_feature_are_left_out_and_counted(ranktag: Command, made: Path, tmp_path: Path) -> None:
    features = features_of(4)
    features[2] = np.nan
    cache = make_cache(tmp_path / "c.h5", list("abcd"), features)
    outcome = ranktag("export-tags", cache, "--model", made / "run", "-o", tmp_path / "p.csv")
    assert outcome.code == 0 and outcome.err == "Note: 1 image without a feature is left out\n"
    assert list(read_predictions(tmp_path / "p.csv")) == list("abd")


@pytest.mark.parametrize("decode", ["greedy", "beam", "mbr"])
@pytest.mark.parametrize("number", ["nan", "inf", "-inf"])
def test_a_feature_that_is_not_finite_is_refused(
    ranktag: Command, made: Path, tmp_path: Path, decode: str, number: str
) -> None:
    cache = tmp_path / "c.h5"
    shutil.copy(made / "cache.h5", cache)
    features = open_features(cache).features
    with open(cache, "r+b") as file:
        file.seek(features.offset + (5 * features.shape[1] + 77) * features.itemsize)
        file.write(np.float16(number).tobytes())
    outcome = ranktag("export-tags", cache, "--model", made / "run", "-o", tmp_path / "p.csv", "--decode", decode)
    outcome.assert_refused("'005.jpg'", "not finite", "ranktag inspect")
    assert not (tmp_path / "p.csv").exists()


def test_tagged_images_that_are_not_in_the_cache_are_noted(ranktag: Command, tmp_path: Path) -> None:
    cache, tags = make_data(tmp_path)
    tags.write_text(tags.read_text() + "".join(f"no{n}.jpg,train,dog\n" for n in range(4)))
    outcome = ranktag("train-from-cache", cache, tags, "-o", tmp_path / "run", *POPULARITY)
    listed = tmp_path / "run" / "missing.csv"
    note = "Note: 4 of 34 tagged images are not in the cache: 'no0.jpg', 'no1.jpg', 'no2.jpg', ...\n"
    note += "popularity on 21 train, 6 val, 3 test images, 21 training lists, 6 tags\n"
    lost = f"4 tagged images have no feature and were left out, no0.jpg among them: all are in {listed}"
    assert (outcome.code, outcome.err) == (1, f"{note}{lost}; mend the ids or the photos, or pass --allow-missing\n")
    rows = "".join(f"no{n}.jpg,train,not in the cache\n" for n in range(4))
    assert listed.read_text() == "image_id,split,reason\n" + rows
    call = ("train-from-cache", cache, tags, "-o", tmp_path / "run", "--overwrite", *POPULARITY)
    # Who wants to hear nothing still hears that lists are lost, unless they are said to be.
    quiet = ranktag(*call, "--quiet")
    assert (quiet.code, quiet.out) == (1, "") and quiet.err.startswith(lost) and quiet.err.count("\n") == 1
    assert ranktag(*call, "--quiet", "--allow-missing") == Outcome(0, "", "")
    allowed = ranktag(*call, "--allow-missing")
    assert (allowed.code, allowed.err) == (0, f"{note}{lost}\n")
    # A sweep says so, too, and a run that loses nothing takes the list away.
    swept = ranktag(*call, "--seeds", "0,1")
    assert swept.code == 1 and listed.read_text().count("\n") == 5
    whole = tags.read_text().partition("no0.jpg")[0]
    tags.write_text(whole)
    assert ranktag(*call).code == 0 and not listed.exists()


def test_ids_that_nearly_join_are_told_how(ranktag: Command, tmp_path: Path) -> None:
    cache, tags = make_data(tmp_path)
    text = tags.read_text()
    tags.write_text(text.replace("\n0", "\nphotos/0").replace(".jpg", ".JPG"))
    call = ("train-from-cache", cache, tags, "-o", tmp_path / "run", *SMALL)
    ranktag(*call).assert_refused("30 of them differ only in", "--match path")
    tags.write_text(text.replace("\n02", "\nphotos/02"))
    outcome = ranktag(*call)
    assert outcome.code == 1 and "Note: 10 of 30 tagged images are not in the cache" in outcome.err
    assert "10 of them differ only in a leading folder ('photos/020.jpg' here, '020.jpg' there)" in outcome.err


def test_a_score_on_few_images_says_so_and_has_an_interval(ranktag: Command, tmp_path: Path) -> None:
    cache, tags = make_data(tmp_path)
    call = ("train-from-cache", cache, tags, "-o", tmp_path / "run", "--model", "knn", "--device", "cpu")
    few = ranktag(*call).out.splitlines()[-1]
    assert re.match(r"validation NDCG@5 0\.\d{4} \[0\.\d{4}, [01]\.\d{4}\] on only 6 images, too few to tell", few), few
    (tmp_path / "many").mkdir()
    cache, tags = make_data(tmp_path / "many", images=250)
    many = ranktag("train-from-cache", cache, tags, *call[3:], "--overwrite").out.splitlines()[-1]
    assert re.match(r"validation NDCG@5 0\.\d{4} \[0\.\d{4}, 0\.\d{4}\], \d", many), many


def test_what_cannot_be_read_is_one_line_and_leaves_nothing(ranktag: Command, made: Path, tmp_path: Path) -> None:
    (tmp_path / "text.h5").write_text("not a cache")
    (tmp_path / "columns.csv").write_text("image,label\na,dog\n")
    (tmp_path / "empty.csv").touch()
    (tmp_path / "latin.csv").write_bytes(b"image_id,tags\n\x81\xe9\x8f\x9d,dog\n")
    run, cache, tags = tmp_path / "run", made / "cache.h5", made / "tags.csv"
    for arguments, words in (
        ((tmp_path / "text.h5", tags), ("text.h5", "not a feature cache")),
        ((made, tags), ("is a folder",)),
        ((cache, tmp_path / "columns.csv"), ("columns.csv", "no column 'image_id'", "'image', 'label'")),
        ((cache, tmp_path / "empty.csv"), ("empty.csv", "is empty")),
        ((cache, tmp_path / "latin.csv"), ("latin.csv", "UTF-8")),
        ((cache, tmp_path / "missing.csv"), ("missing.csv", "no such file")),
        ((cache, tmp_path), ("is a folder",)),
        ((tags, cache), ("tags.csv", "not a feature cache")),
    ):
        ranktag("train-from-cache", *arguments, "-o", run, *SMALL).assert_refused(*words)
        assert not run.exists()
    for model, words in (
        (tmp_path / "text.h5", ("not a model",)),
        (cache, ("not a model",)),
        (tmp_path, ("holds no model.pt",)),
    ):
        ranktag("export-tags", cache, "--model", model, "-o", tmp_path / "p.csv").assert_refused(*words)
    assert not (tmp_path / "p.csv").exists()


def test_a_model_file_can_be_named_in_place_of_its_folder(ranktag: Command, made: Path, tmp_path: Path) -> None:
    outcome = ranktag("export-tags", made / "cache.h5", "--model", made / "run/model.pt", "-o", tmp_path / "p.csv")
    assert outcome.code == 0 and len(read_predictions(tmp_path / "p.csv")) == 30


def test_a_run_and_a_cache_are_all_that_decoding_needs(ranktag: Command, made: Path, tmp_path: Path) -> None:
    (tmp_path / "moved").mkdir()
    shutil.copy(made / "run/model.pt", tmp_path / "moved/model.pt")
    outcome = ranktag(
        "export-tags", made / "cache.h5", "--model", tmp_path / "moved", "-o", tmp_path / "p.csv", "--device", "cpu"
    )
    assert outcome.code == 0
    export(ranktag, made, tmp_path / "same.csv")
    assert (tmp_path / "p.csv").read_bytes() == (tmp_path / "same.csv").read_bytes()


def test_tags_and_ids_of_any_kind_survive_the_whole_path(ranktag: Command, tmp_path: Path) -> None:
    ids = ["=1+1.jpg", "a, b.jpg", 'with "quotes".jpg', "日本/é.jpg", "new\nline.jpg", "-x", "@y", "'z"]
    tags = ["=cmd", "+1", "tag, with comma", 'say "x"', "né", "two\nlines"]
    cache = make_cache(tmp_path / "c.h5", ids)
    lists = {i: [tags[n % 6 :] + tags[: n % 6]] for n, i in enumerate(ids)}
    table = make_tags(tmp_path / "t.csv", lists, {i: "val" if n > 5 else "train" for n, i in enumerate(ids)})
    assert ranktag("train-from-cache", cache, table, "-o", tmp_path / "run", "--model", "knn").code == 0
    for form in ("long", "wide"):
        output = tmp_path / f"{form}.csv"
        assert (
            ranktag(
                "export-tags", cache, "--model", tmp_path / "run", "-o", output, "--format", form, "--num-tags", 6
            ).code
            == 0
        )
        read = read_predictions(output)
        assert list(read) == ids and all({tag for tag, _ in ranked} == set(tags) for ranked in read.values())


def test_several_seeds_and_a_grid(ranktag: Command, tmp_path: Path) -> None:
    cache, tags = make_data(tmp_path)
    train = (
        "train-from-cache",
        cache,
        tags,
        "-o",
        tmp_path / "run",
        *SMALL,
        "--seeds",
        "0,1",
        "--grid",
        "lr=1e-3,0.01",
    )
    outcome = ranktag(*train)
    assert outcome.code == 0, outcome
    points = {path.name for path in (tmp_path / "run/points").iterdir()}
    assert points == {f"lr={lr},seed={seed}" for lr in ("0.001", "0.01") for seed in (0, 1)}
    with open(tmp_path / "run/sweep.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert {row["lr"] for row in rows} == {"0.001", "0.01"}
    assert float(rows[0]["ndcg5_mean"]) >= float(rows[1]["ndcg5_mean"])
    table = read_sweep(tmp_path / "run")
    assert list(table.columns) == ["lr", "seeds", "ndcg5_mean", "ndcg5_std", "epochs"]
    assert set(table["lr"]) == {0.001, 0.01} and table["epochs"].tolist() == [row["epochs"] for row in rows]
    trainings = read_trainings(tmp_path / "run")
    assert list(trainings.columns) == [
        *("lr", "seed", "ndcg5", "low", "high", "epoch", "epochs", "seconds", "winner", "run")
    ]
    assert set(trainings["run"]) == {f"points/lr={lr},seed={seed}" for lr in ("0.001", "0.01") for seed in (0, 1)}
    assert trainings["lr"].tolist() == [table["lr"][0]] * 2 + [table["lr"][1]] * 2
    assert trainings["ndcg5"][:2].mean() == pytest.approx(table["ndcg5_mean"][0], abs=2e-6)
    (winner,) = trainings[trainings["winner"]].index
    assert winner == trainings["ndcg5"][:2].idxmax()
    place = tmp_path / "run" / trainings["run"][winner]
    assert (tmp_path / "run/model.pt").read_bytes() == (place / "model.pt").read_bytes()
    assert f"the winner is {place}, validation NDCG@5 {trainings['ndcg5'][winner]:.4f}" in outcome.out
    assert best_runs(tmp_path / "run") == {
        seed: tmp_path / f"run/points/lr={table['lr'][0]},seed={seed}" for seed in (0, 1)
    }
    # Its seeds are exported into one folder, which is one row when it is evaluated.
    assert ranktag("export-tags", cache, "--model", tmp_path / "run", "--every-seed", "-o", tmp_path / "p").code == 0
    assert sorted(os.listdir(tmp_path / "p")) == ["seed-0.csv", "seed-1.csv"]
    assert ranktag("evaluate", tmp_path / "p", tags, "-o", tmp_path / "report").code == 0
    with open(tmp_path / "report/metrics.csv", newline="") as file:
        (row,) = csv.DictReader(file)
    assert float(row["ndcg@5_seed_std"]) >= 0
    one = tmp_path / f"run/points/lr={table['lr'][0]},seed=1"
    assert ranktag("export-tags", cache, "--model", one, "-o", tmp_path / "one.csv").code == 0
    assert (tmp_path / "p/seed-1.csv").read_bytes() == (tmp_path / "one.csv").read_bytes()
    ranktag("export-tags", cache, "--model", one, "--every-seed", "-o", tmp_path / "q").assert_refused("trainings.csv")
    # The best is an ordinary run folder; each is its own single run.
    assert ranktag("export-tags", cache, "--model", tmp_path / "run", "-o", tmp_path / "p.csv").code == 0
    single = ranktag("train-from-cache", cache, tags, "-o", tmp_path / "single", *SMALL, "--seed", 1, "--lr", 0.01)
    assert single.code == 0
    assert (tmp_path / "single/model.pt").read_bytes() == (tmp_path / "run/points/lr=0.01,seed=1/model.pt").read_bytes()

    before = (tmp_path / "run/sweep.csv").read_bytes()
    ranktag(*train).assert_refused("holds a run already", "--resume")
    shutil.rmtree(tmp_path / "run/points/lr=0.01,seed=1")  # as if it was killed
    alone = ranktag(*train[: train.index("--seeds")], "--resume")
    alone.assert_refused("holds a sweep", "--seeds 0,1 --grid lr=0.001,0.01")
    again = ranktag(*train, "--resume")
    assert again.code == 0 and (tmp_path / "run/sweep.csv").read_bytes() == before
    listed = ranktag("runs", tmp_path).out.splitlines()
    assert len(listed) == 7 and listed[0].split()[:3] == ["run", "model", "NDCG@5"]
    sides = ranktag("runs", *sorted((tmp_path / "run/points").iterdir())[:2]).out
    assert re.search(r"^seed +0 +1$", sides, re.MULTILINE) and "\nlr " not in sides
    # A single training that takes the sweep's place leaves nothing of it.
    single = ranktag(*train[: train.index("--seeds")], "--overwrite")
    assert single.code == 0 and not {"points", "sweep.csv", "sweep.json", "trainings.csv"} & set(
        os.listdir(tmp_path / "run")
    )


def test_values_that_hardly_differ_are_trained_apart(ranktag: Command, tmp_path: Path) -> None:
    cache, tags = make_data(tmp_path)
    outcome = ranktag(
        "train-from-cache",
        cache,
        tags,
        "-o",
        tmp_path / "run",
        *SMALL,
        "--grid",
        "lr=0.001,0.0010000001",
        "--grid",
        "clip=5,0.1",
    )
    assert outcome.code == 0, outcome
    names = {f"lr={lr},clip={clip},seed=0" for lr in ("0.001", "0.0010000001") for clip in ("5.0", "0.1")}
    assert {path.name for path in (tmp_path / "run/points").iterdir()} == names
    with open(tmp_path / "run/sweep.csv", newline="") as file:
        assert {(row["lr"], row["clip"]) for row in csv.DictReader(file)} == {
            (lr, clip) for lr in ("0.001", "0.0010000001") for clip in ("5.0", "0.1")
        }


def test_a_sweep_over_another_folder(ranktag: Command, tmp_path: Path) -> None:
    cache, tags = make_data(tmp_path)
    run = tmp_path / "run"
    train = ("train-from-cache", cache, tags, "-o", run, *SMALL, "--seeds", "0,1")
    # Somebody's own folder, though it is called as one of ours.
    (run / "points/north").mkdir(parents=True)
    for option in ((), ("--resume",), ("--overwrite",)):
        ranktag(*train, *option).assert_refused(str(run), "other things in it")
    assert [path.name for path in run.rglob("*")] == ["points", "north"]
    (run / "points/north").rmdir()
    (run / "points").rmdir()
    # A single run, and a sweep in its place.
    assert ranktag("train-from-cache", cache, tags, "-o", run, *SMALL).code == 0
    ranktag(*train).assert_refused(str(run), "holds a run already", "--overwrite")
    assert ranktag(*train, "--overwrite").code == 0
    assert {path.name for path in run.iterdir()} >= {"points", "sweep.csv", "model.pt"}


@pytest.mark.parametrize("kind", [OSError, KeyboardInterrupt])
def test_a_sweep_that_fails_in_its_first_training_brings_the_old_one_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: type[BaseException]
) -> None:
    cache, tags = make_data(tmp_path)
    run = tmp_path / "run"
    sweep(cache, tags, run, tiny(epochs=1), {}, [0, 1])
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}

    def fails(epoch: int) -> Callable[..., None]:
        def write(path: Path, rows: object) -> None:
            if f"seed={epoch}" in str(path):
                raise kind
            write_history(path, rows)

        return write

    for seed in (2, 3):
        monkeypatch.setattr("ranktag.training.run.write_history", fails(seed))
        with pytest.raises(kind):
            sweep(cache, tags, run, tiny(epochs=1), {"hidden": [4, 8]}, [2, 3], overwrite=True)
        if seed == 2:
            assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == before
    # One training of the new sweep is finished; it goes on.
    assert not (run / "model.pt").exists() and not (run / ".new").exists()
    monkeypatch.undo()
    trained: list[str] = []
    sweep(
        cache,
        tags,
        run,
        tiny(epochs=1),
        {"hidden": [4, 8]},
        [2, 3],
        resume=True,
        report=lambda name, report: trained.append(name),
    )
    assert len(trained) == 4 and (run / "model.pt").exists()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--seeds", "0,one"), ["--seeds 0,one", "0,1,2"]),
        (("--seeds", "-1"), ["seed", "-1"]),
        (("--grid", "lr"), ["--grid lr", "SETTING=VALUE"]),
        (("--grid", "colour=red"), ["--grid colour=red", "lr"]),
        (("--grid", "lr=fast"), ["--grid lr=fast"]),
        (("--grid", "lr=99"), ["lr", "99"]),
        (("--grid", "lr=0.1", "--grid", "lr=0.2"), ["twice"]),
        (("--grid", "hidden="), ["--grid hidden="]),
        (("--seeds", "0,1", "--tensorboard"), ["--tensorboard"]),
        (("--model", "linear"), ["--projection, --hidden, ", "--model linear makes no use of this; leave them out"]),
    ],
)
def test_a_sweep_that_makes_no_sense_is_refused(
    ranktag: Command, made: Path, tmp_path: Path, options: tuple[str, ...], words: list[str]
) -> None:
    outcome = ranktag(
        "train-from-cache", made / "cache.h5", made / "tags.csv", "-o", tmp_path / "run", *SMALL, *options
    )
    outcome.assert_refused(*words)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--model", "linear", "--hidden", "512"), ["--hidden: --model linear makes no use of this; leave it out"]),
        (("--model", "knn", "--tensorboard"), ["--tensorboard: --model knn makes no use"]),
        (("--model", "knn", "--grid", "hidden=4,8"), ["--grid hidden: --model knn makes no use"]),
    ],
)
def test_a_training_option_that_does_nothing_is_refused(
    ranktag: Command, made: Path, tmp_path: Path, options: tuple[str, ...], words: list[str]
) -> None:
    call = ("train-from-cache", made / "cache.h5", made / "tags.csv", "-o", tmp_path / "run")
    ranktag(*call, *options).assert_refused(*words)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--num-tags", 5, "--max-tags", 3), ["--num-tags 5 --max-tags 3", "leave one out"]),
        (("--decode", "greedy", "--samples", 8), ["--samples: --decode greedy makes no use of this"]),
        (("--decode", "beam", "--gain", "log", "--seed", 1), ["--gain, --seed: --decode beam"]),
        (("--beam-size", 5), ["--beam-size: --decode mbr"]),
        (("--seed", 1), ["--seed: nothing is drawn without --samples; leave it out"]),
        (("--allow-repeats",), ["--allow-repeats: --decode mbr"]),
    ],
)
def test_a_decoding_option_that_does_nothing_is_refused(
    ranktag: Command, made: Path, tmp_path: Path, options: tuple[object, ...], words: list[str]
) -> None:
    export(ranktag, made, tmp_path / "p.csv", *options).assert_refused(*words)
    assert not (tmp_path / "p.csv").exists()
    ranktag("tag", tmp_path, "--model", made / "run", *options).assert_refused(*words)


@pytest.mark.parametrize("option", [("--decode", "mbr"), ("--decode", "beam", "--beam-size", 3), ("--samples", 8)])
def test_a_baseline_has_no_decoder(ranktag: Command, tmp_path: Path, option: tuple[object, ...]) -> None:
    cache, tags = make_data(tmp_path)
    assert ranktag("train-from-cache", cache, tags, "-o", tmp_path / "run", *POPULARITY).code == 0
    call = ("export-tags", cache, "--model", tmp_path / "run", "-o", tmp_path / "p.csv", *option)
    ranktag(*call).assert_refused(str(option[0]), "--model popularity", "makes no use of this", "leave")
    assert not (tmp_path / "p.csv").exists()
    ranktag("tag", cache, "--model", tmp_path / "run", *option).assert_refused("--model popularity")
