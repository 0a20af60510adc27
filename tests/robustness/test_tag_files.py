"""Broken and odd tag and prediction files over every command that reads one. The tables are in ``faults``."""

from __future__ import annotations

import csv
import dataclasses
import resource

import pytest
import torch
from faults import (
    CELLS,
    DAMAGED,
    FINE,
    PREDICTION_FAULTS,
    REFUSED,
    SMALL,
    TAG_COMMANDS,
    TAG_FAULTS,
    Cell,
    Fault,
    Place,
)
from making import make_cache, tiny

from ranktag.models.checkpoint import load_checkpoint
from ranktag.models.lstm import FORMS
from ranktag.tags.lists import read_tag_lists
from ranktag.tags.predictions import read_predictions
from ranktag.training.train import train
from ranktag.training_data.examples import Examples
from ranktag.training_data.load import load_training_data


@pytest.mark.parametrize("command", TAG_COMMANDS)
@pytest.mark.parametrize("fault", TAG_FAULTS, ids=str)
def test_fault(place: Place, fault: Fault, command: str) -> None:
    fault.make(place.tags)
    code = fault.codes.get(command, REFUSED) or FINE
    if code != DAMAGED:
        place.does(command, code, place.tags, *fault.words)
        return
    # A reader lists what it skips, and goes on.
    listed = place.run(*place.command(command))
    assert listed.code == DAMAGED and listed.err.startswith("rows skipped: 1\n  tags.csv: line "), listed
    assert "Traceback" not in listed.err
    assert all(word in listed.err for word in fault.words), listed


@pytest.mark.parametrize("fault", PREDICTION_FAULTS, ids=str)
def test_fault_of_predictions(place: Place, fault: Fault) -> None:
    fault.make(place.predictions)
    code = fault.codes.get("evaluate", REFUSED)
    if code == 1:
        # A report is written, and says what the file lacks.
        outcome = place.run(*place.command("evaluate"))
        assert (
            outcome.code == 1
            and outcome.err == ""
            and "lack" in outcome.out + (place.folder / "report/report.html").read_text()
        ), outcome
        return
    place.does("evaluate", code or FINE, place.predictions, *fault.words)


@pytest.mark.parametrize("cell", CELLS, ids=str)
def test_tags_survive_the_whole_path(place: Place, cell: Cell) -> None:
    """Every image has the one list: the model learns its tags, says them, and they are found, spelt alike."""
    place.tags.write_text(
        "image_id,split,tags\n"
        + "".join(f"{n:03}.jpg,{split},{cell.cell}\n" for n, split in enumerate(["train"] * 14 + ["val"] * 6)),
        newline="",
    )
    assert read_tag_lists(place.tags).lists["000.jpg"] == [cell.tags]
    trained = place.run(
        "train-from-cache", place.cache, place.tags, "-o", place.folder / "new", "--model", "popularity", "--quiet",
        "--keep-case",
    )  # fmt: skip
    assert (trained.code, trained.err) == (0, ""), trained
    assert set(load_checkpoint(place.folder / "new").vocabulary.tags) == set(cell.tags)
    for format in ("long", "wide"):
        predictions = place.folder / f"{format}.csv"
        exported = place.run(
            "export-tags",
            place.cache,
            "--model",
            place.folder / "new",
            "-o",
            predictions,
            "--format",
            format,
            "--num-tags",
            len(cell.tags),
            "--quiet",
        )
        assert (exported.code, exported.err) == (0, ""), exported
        said = read_predictions(predictions)
        assert len(said) == 20 and {tag for tag, _ in said["000.jpg"]} == set(cell.tags)
        with open(predictions, encoding="utf-8", newline="") as file:
            csv.field_size_limit(2**31 - 1)
            assert not any(
                value.startswith(("=", "+", "-", "@", "\t", "\r")) for row in csv.reader(file) for value in row
            ), "a spreadsheet would run it"
    evaluated = place.run(
        "evaluate",
        place.folder / "long.csv",
        place.folder / "wide.csv",
        place.tags,
        "-o",
        place.folder / "report",
        "--resamples",
        0,
        "--split",
        "all",
        "--keep-case",
    )
    assert (evaluated.code, evaluated.err) == (0, ""), evaluated.err[:1000]
    with open(place.folder / "report/metrics.csv", encoding="utf-8", newline="") as file:
        # All tags that are in the lists are said, and no other.
        assert [(row["precision@1"], row["images"]) for row in csv.DictReader(file)] == [("1", "20")] * 2
    assert "<script>alert(1)" not in (place.folder / "report/report.html").read_text()
    assert "\x1b" not in evaluated.out


def test_a_vocabulary_of_100_000_words(place: Place) -> None:
    """Training, exporting and evaluating in bounded memory: there is no table of lists by words, or words by words."""
    words = [f"word {n}" for n in range(100_000)]
    rows = [f"{n:03}.jpg,train,{'|'.join(words[n::14])}\n" for n in range(14)] + [
        f"{n:03}.jpg,val,word {n}\n" for n in range(14, 20)
    ]
    place.tags.write_text("image_id,split,tags\n" + "".join(rows))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    config = tiny(epochs=1)
    data = load_training_data(place.cache, place.tags, config, torch.device("cpu"))
    assert len(data.vocabulary) == 100_000
    # A whole epoch over such lists takes minutes: the vocabulary is all of it, the lists are a few.
    few = Examples(
        data.training.features, data.training.row[:4], [[words[n : n + 5]] for n in range(4)], data.vocabulary
    )
    train(place.cache, place.tags, place.folder / "new", config, data=dataclasses.replace(data, training=few))
    for model in ("new", "popular"):
        run, predictions = place.folder / model, place.folder / f"{model}.csv"
        if model == "popular":
            trained = place.run(
                "train-from-cache", place.cache, place.tags, "-o", run, "--model", "popularity", "--quiet"
            )
            assert (trained.code, trained.err) == (0, ""), trained
        exported = place.run(
            "export-tags",
            place.cache,
            "--model",
            run,
            "-o",
            predictions,
            "--num-tags",
            5,
            *(("--samples", 4) if model == "new" else ()),
            "--device",
            "cpu",
            "--quiet",
        )
        assert (exported.code, exported.err) == (0, ""), exported
        assert [len(tags) for tags in read_predictions(predictions).values()] == [5] * 20
        evaluated = place.run("evaluate", predictions, place.tags, "--resamples", 10, "--split", "all")
        assert (evaluated.code, evaluated.err) == (0, ""), evaluated
    # In KiB; a table of words by words would take 40 GB.
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 2 * 2**20


def test_one_image_in_each_split_and_one_tag(place: Place) -> None:
    make_cache(place.folder / "two.h5", ["a", "b"])
    place.tags.write_text("image_id,split,tags\na,train,dog\nb,val,dog\n")
    for model in ("every-step", "initial-state", "linear", "knn", "popularity"):
        run, predictions = place.folder / model, place.folder / f"{model}.csv"
        trained = place.run(
            "train-from-cache",
            place.folder / "two.h5",
            place.tags,
            "-o",
            run,
            "--model",
            model,
            *(SMALL if model in FORMS else ("--quiet",)),
        )
        assert (trained.code, trained.err) == (0, ""), trained
        exported = place.run(
            "export-tags",
            place.folder / "two.h5",
            "--model",
            run,
            "-o",
            predictions,
            "--num-tags",
            1,
            "--device",
            "cpu",
        )
        assert exported.code == 0, exported
        assert [[tag for tag, _ in tags] for tags in read_predictions(predictions).values()] == [["dog"], ["dog"]]
        refused = place.run(
            "export-tags",
            place.folder / "two.h5",
            "--model",
            run,
            "-o",
            place.folder / "more.csv",
            "--num-tags",
            2,
            "--device",
            "cpu",
        )
        refused.assert_refused("--num-tags 2", "knows 1 tags")
