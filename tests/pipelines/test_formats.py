"""``--format`` of ``export-tags`` and ``ranktag tag``: the modules in ``ranktag.tags.writers``, the same for both."""

from __future__ import annotations

import csv
import importlib
import io
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from added import of_readme
from making import make_cache, make_tags
from outcome import Outcome

from ranktag import registry
from ranktag.tagging import TaggedImage
from ranktag.tags.formats import Format
from ranktag.tags.lists import read_tag_lists
from ranktag.tags.predictions import WRITERS, read_predictions

Ranktag = Callable[..., Outcome]
FORMATS = tuple(name for name in registry.names(WRITERS) if Format.of(name).kind == "write")

# The whole of a format: this is what README shows under "Extending".
WRITER = of_readme("ranktag/tags/writers/sentences.py")


@pytest.fixture
def run(ranktag: Ranktag, tmp_path: Path) -> Path:
    """A folder with a cache, ``cache.h5``, and a run of a model that says two tags of every image, ``run``."""
    ids = [f"{number}.jpg" for number in range(4)]
    cache = make_cache(tmp_path / "cache.h5", ids)
    split = {image_id: "val" if image_id == "3.jpg" else "train" for image_id in ids}
    tags = make_tags(tmp_path / "tags.csv", {image_id: [["dog", "grass"]] for image_id in ids}, split)
    trained = ranktag("train-from-cache", cache, tags, "-o", tmp_path / "run", "--model", "popularity", "--quiet")
    assert trained.code == 0, trained
    return tmp_path


@pytest.fixture
def tagged(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """``ranktag tag`` says of every photo what ``export-tags`` says of the cache's images, without a network."""

    def tag_images(images: Any, folder: Path, config: Any, **others: Any) -> Iterator[TaggedImage]:
        from ranktag import decode

        decode(run / "cache.h5", folder, run / "said.csv", config, choice=others["choice"], overwrite=True)
        for image_id, tags in read_predictions(run / "said.csv").items():
            yield TaggedImage(image_id, tags, "", Path(image_id), image_id)
        yield TaggedImage("broken.jpg", [], "is no image")

    monkeypatch.setattr("ranktag.tagging.tag_images", tag_images)


def said_by_both(ranktag: Ranktag, run: Path, name: str) -> str:
    """What both commands write in a format: the same."""
    output = run / f"out.{name}"
    exported = ranktag("export-tags", run / "cache.h5", "--model", run / "run", "-o", output, "--format", name)
    assert exported.code == 0 and str(output) in exported.out, exported
    tagged = ranktag("tag", run / "photo.jpg", "--model", run / "run", "--format", name)
    assert (tagged.code, tagged.err) == (1, "Error: broken.jpg: is no image\n")
    with open(output, encoding="utf-8", newline="") as file:
        text = file.read()
    if name in ("csv", "long", "wide"):
        # The model says of the cache's images in which split it saw them; of photos nobody knows.
        rows = list(csv.reader(io.StringIO(text)))
        assert rows[0][-1] == "split"
        assert [row[:-1] for row in rows] == list(csv.reader(io.StringIO(tagged.out)))
    else:
        assert text == tagged.out
    return tagged.out


@pytest.mark.usefixtures("tagged")
@pytest.mark.parametrize("name", FORMATS)
def test_both_commands_write_the_same_in_every_format(ranktag: Ranktag, run: Path, name: str) -> None:
    text = said_by_both(ranktag, run, name)
    assert all(word in text for word in ("dog", "grass", "0.jpg", "3.jpg")) and "broken" not in text


@pytest.mark.usefixtures("tagged")
def test_a_module_in_the_folder_is_a_format_of_both_commands(
    ranktag: Ranktag, run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = run / "writers"
    folder.mkdir()
    (folder / "sentences.py").write_text(WRITER, encoding="utf-8")
    package = importlib.import_module(WRITERS)
    monkeypatch.setattr(package, "__path__", [*package.__path__, str(folder)])
    monkeypatch.setitem(sys.modules, f"{WRITERS}.sentences", None)
    monkeypatch.delitem(sys.modules, f"{WRITERS}.sentences")
    # The commands list the formats when they are imported, as a new process does.
    for command in ("export_tags", "tag"):
        monkeypatch.delitem(sys.modules, f"ranktag.pipelines.{command}", raising=False)
    for command in ("export-tags", "tag"):
        assert "sentences: a sentence an image;" in " ".join(ranktag(command, "--help").out.split())
    assert said_by_both(ranktag, run, "sentences") == "".join(f"{n}.jpg shows dog, grass.\n" for n in range(4))


@pytest.mark.parametrize(("command", "default"), [("export-tags", "long"), ("tag", "table")])
def test_help_names_every_format_and_the_default(ranktag: Ranktag, command: str, default: str) -> None:
    words = " ".join(ranktag(command, "--help").out.split())
    assert "csv: the same as long;" in words and "lines: path, tab, tags joined by |; long: a row a tag;" in words
    assert "wide: a row an image, tags joined by |;" in words and f". [default: {default}]" in words
    names = [words.index(f" {name}: ") for name in registry.names(WRITERS)]
    assert names == sorted(names)


def test_a_format_that_is_none_is_refused(ranktag: Ranktag, tmp_path: Path) -> None:
    for command in (("export-tags", "c.h5", "-o", tmp_path / "p"), ("tag", "a.jpg")):
        ranktag(*command, "--model", "run", "--format", "xml").assert_refused("'xml' is not one of ")
    assert not any(tmp_path.iterdir())


def export(ranktag: Ranktag, run: Path, *options: object) -> Outcome:
    return ranktag("export-tags", run / "cache.h5", "--model", run / "run", *options)


def test_the_same_tags_are_chosen_in_every_format(ranktag: Ranktag, run: Path, tmp_path: Path) -> None:
    (tmp_path / "replace.csv").write_text("old,new\ndog,=puppy\n")
    (tmp_path / "exclude.txt").write_text("grass\ngras\n")
    options = ("--replace", tmp_path / "replace.csv", "--exclude", tmp_path / "exclude.txt", "--top", 1)
    outcome = export(ranktag, run, "-o", tmp_path / "wide.csv", "--format", "wide", *options)
    assert outcome.code == 0 and "exclude.txt: 1 of its 2 tags are none of the model's ('gras' first)" in outcome.err
    # A wide file is a tag-list file.
    assert read_tag_lists(tmp_path / "wide.csv").lists == {f"{n}.jpg": [("=puppy",)] for n in range(4)}
    assert export(ranktag, run, "-o", tmp_path / "out", "--format", "txt", *options).code == 0
    assert [path.read_text() for path in sorted((tmp_path / "out").iterdir())] == ["=puppy\n"] * 4
    none = export(ranktag, run, "-o", tmp_path / "none.csv", "--exclude", tmp_path / "exclude.txt", "--replace", "none")
    none.assert_refused("none: no such file")


def test_update_remembers_which_tags_are_written(ranktag: Ranktag, run: Path, tmp_path: Path) -> None:
    exclude = tmp_path / "exclude.txt"
    exclude.write_text("grass\n")
    call = ("-o", tmp_path / "p.csv", "--update", "--exclude", exclude)
    assert export(ranktag, run, *call).code == 0
    again = export(ranktag, run, *call)
    assert again.code == 0 and "(4 were there already)" in again.out
    export(ranktag, run, *call, "--top", 1).assert_refused("was made otherwise", "top: 1 / None")
    exclude.write_text("dog\n")
    export(ranktag, run, *call).assert_refused("exclude: ['dog'] / ['grass']")
    assert [tag for tags in read_predictions(tmp_path / "p.csv").values() for tag, _ in tags] == ["dog"] * 4


def test_images_that_a_format_cannot_hold_are_listed_and_the_exit_code_is_1(
    ranktag: Ranktag, run: Path, tmp_path: Path
) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    for number in range(3):
        (photos / f"{number}.jpg").write_text("")
    (photos / "1.jpg.txt").write_text("mine")
    outcome = export(ranktag, run, "--format", "txt", "--photos", photos)
    assert outcome.code == 1 and outcome.err.count("Error: ") == 2, outcome
    assert "Error: 1.jpg: " in outcome.err and "exists already" in outcome.err
    assert f"Error: 3.jpg: there is no photo {photos / '3.jpg'}" in outcome.err
    assert "2 images could not be written as --format txt" in outcome.err and "2 of 4 images" in outcome.out
    assert (photos / "0.jpg.txt").read_text() == "dog, grass\n" and (photos / "1.jpg.txt").read_text() == "mine"
    outcome = export(ranktag, run, "--format", "txt", "--photos", photos, "--overwrite", "--one-a-line")
    assert outcome.code == 1 and (photos / "1.jpg.txt").read_text() == "dog\ngrass\n"


def test_options_of_another_format_are_refused(ranktag: Ranktag, run: Path, tmp_path: Path) -> None:
    output = ("-o", tmp_path / "p")
    export(ranktag, run, *output, "--one-a-line").assert_refused("--one-a-line: --format long makes no use of this")
    export(ranktag, run, *output, "--photos", run).assert_refused("--format long: makes no use of --photos")
    export(ranktag, run).assert_refused("--format long: nothing says where to write; name it with -o")
    export(ranktag, run, "--format", "label-studio").assert_refused("writes a folder; name it with -o")
    export(ranktag, run, *output, "--format", "txt", "--update").assert_refused("--update reads the file again")
    assert not (tmp_path / "p").exists()


@pytest.mark.usefixtures("tagged")
def test_tag_writes_files_too(ranktag: Ranktag, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    tagged = ("tag", run / "photo.jpg", "--model", run / "run", "--format")
    assert ranktag(*tagged, "long", "-o", tmp_path / "p.csv").out == ""
    assert list(read_predictions(tmp_path / "p.csv")) == [f"{number}.jpg" for number in range(4)]
    ranktag(*tagged, "long", "-o", tmp_path / "p.csv").assert_refused("p.csv: exists already")
    # Without -o, beside the photos: these are where the command runs.
    assert ranktag(*tagged, "txt").err == "Error: broken.jpg: is no image\n"
    assert (tmp_path / "3.jpg.txt").read_text() == "dog, grass\n"
    assert ranktag(*tagged, "label-studio", "-o", tmp_path / "made").code == 1
    assert {path.name for path in (tmp_path / "made").iterdir()} == {"tasks.json", "labeling-config.xml"}


READ_AGAIN = {
    "fiftyone": ("labels.json", ("fiftyone", "labels.json", "--match", "stem")),
    "adobe-stock": ("", ("adobe-stock", "adobe-stock-001.csv")),
    "jsonl": ("metadata.jsonl", ("csv", "metadata.jsonl", "--image-column", "file_name")),
    "parquet": ("tags.parquet", ("csv", "tags.parquet")),
}


@pytest.mark.parametrize("name", READ_AGAIN)
def test_what_is_written_for_a_tool_is_read_as_its_own(ranktag: Ranktag, run: Path, tmp_path: Path, name: str) -> None:
    if name == "parquet":
        pytest.importorskip("pyarrow")
    photos = tmp_path / "photos"
    photos.mkdir()
    for number in range(4):
        (photos / f"{number}.jpg").write_text("")
    written, (reader, source, *options) = READ_AGAIN[name]
    made = tmp_path / "made"
    made.mkdir()
    assert export(ranktag, run, "-o", made / written, "--format", name).code == 0
    tags = tmp_path / "read.csv"
    prepared = ranktag("prepare", reader, made / source, "-o", tags, "--images", photos, *options)
    assert prepared.code == 0, prepared
    assert read_tag_lists(tags).lists == {f"{number}.jpg": [("dog", "grass")] for number in range(4)}
