"""Where formats write: nothing outside the folder that was named, nothing twice, nothing half."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from ranktag.config import DecodingConfig
from ranktag.errors import Outage, RanktagError
from ranktag.tags.formats import Format
from ranktag.tags.outputs import Output, TaggedPhoto
from ranktag.tags.predictions import PredictedImage
from ranktag.tags.writers.txt import TextConfig

TAGS = [("dog", 0.75), ("green grass", 0.5)]


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """A folder with the photos a.jpg and b/a.jpg, and one beside it, outside.jpg."""
    for name in ("photos/a.jpg", "photos/b/a.jpg", "outside.jpg"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    return tmp_path / "photos"


def files(folder: Path) -> dict[str, str]:
    """Every file below a folder but the photos."""
    return {
        str(path.relative_to(folder)): path.read_text()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.suffix != ".jpg"
    }


def test_a_file_stands_beside_its_photo_or_below_another_folder(photos: Path, tmp_path: Path) -> None:
    images = [PredictedImage("a.jpg", TAGS), PredictedImage("b/a.jpg", [])]
    output = Output("txt", photos=photos)
    output.write(images)
    assert files(tmp_path) == {"photos/a.jpg.txt": "dog, green grass\n", "photos/b/a.jpg.txt": ""}
    Output("txt", tmp_path / "out", settings=TextConfig(one_a_line=True)).write(images)
    assert files(tmp_path / "out") == {"a.jpg.txt": "dog\ngreen grass\n", "b/a.jpg.txt": ""}
    assert output.failures == []


@pytest.mark.parametrize(
    "image_id",
    ["../outside.jpg", "b/../../outside.jpg", "/etc/outside.jpg", "b\\..\\..\\outside.jpg", "", "./", "a\0.jpg"],
)
def test_an_id_that_leads_out_of_the_folder_writes_nothing(photos: Path, tmp_path: Path, image_id: str) -> None:
    for output in (Output("txt", photos=photos), Output("txt", tmp_path / "out")):
        output.write([PredictedImage(image_id, TAGS), PredictedImage("a.jpg", TAGS)])
        assert output.failures == [(image_id, "its id is no path below a folder, so that nothing is written for it")]
    assert list(files(tmp_path)) == ["out/a.jpg.txt", "photos/a.jpg.txt"]


def test_a_photo_that_is_not_there_gets_no_file(photos: Path, tmp_path: Path) -> None:
    output = Output("txt", photos=photos)
    output.write([PredictedImage("c.jpg", TAGS)])
    ((image_id, reason),) = output.failures
    assert image_id == "c.jpg" and f"there is no photo {photos / 'c.jpg'}" in reason
    output = Output("txt", tmp_path / "out", photos=photos)
    output.write([PredictedImage("c.jpg", TAGS)])
    assert len(output.failures) == 1 and files(tmp_path) == {}


def test_a_tagged_photo_is_where_it_is_and_called_as_below_its_folder(photos: Path, tmp_path: Path) -> None:
    images = [TaggedPhoto(str(photos / name), TAGS, photos / name, name) for name in ("a.jpg", "b/a.jpg")]
    outside = TaggedPhoto(str(tmp_path / "outside.jpg"), TAGS, photos / ".." / "outside.jpg", "outside.jpg")
    Output("txt").write([*images, outside])
    assert list(files(tmp_path)) == ["outside.jpg.txt", "photos/a.jpg.txt", "photos/b/a.jpg.txt"]
    twice = TaggedPhoto("elsewhere/a.jpg", TAGS, tmp_path / "outside.jpg", "a.jpg")
    output = Output("txt", tmp_path / "out")
    output.write([*images, twice])
    assert list(files(tmp_path / "out")) == ["a.jpg.txt", "b/a.jpg.txt"]
    assert output.failures[0][0] == "elsewhere/a.jpg" and "was written for another image" in output.failures[0][1]


def test_what_is_there_stays_unless_it_says_the_same_or_may_be_overwritten(photos: Path) -> None:
    images = [PredictedImage("a.jpg", TAGS), PredictedImage("b/a.jpg", TAGS)]
    beside = photos / "a.jpg.txt"
    beside.write_text("somebody's notes")
    output = Output("txt", photos=photos)
    output.write(images)
    assert beside.read_text() == "somebody's notes" and (photos / "b/a.jpg.txt").is_file()
    assert output.failures == [
        ("a.jpg", f"{beside}: exists already; choose another path or pass --overwrite"),
    ]
    Output("txt", photos=photos, overwrite=True).write(images)
    assert beside.read_text() == "dog, green grass\n"
    written = beside.stat()
    output = Output("txt", photos=photos)
    output.write(images)
    assert output.failures == [] and beside.stat() == written


def test_a_path_that_cannot_be_written_is_one_images_fault_and_a_full_disk_is_not(photos: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out/b").write_text("a file where a folder should be")
    output = Output("txt", tmp_path / "out")
    output.write([PredictedImage("b/a.jpg", TAGS), PredictedImage("n" * 300, TAGS), PredictedImage("a.jpg", TAGS)])
    assert [image_id for image_id, _ in output.failures] == ["b/a.jpg", "n" * 300]
    assert list(files(tmp_path / "out")) == ["a.jpg.txt", "b"]
    for error in (OSError(errno.ENOSPC, "No space left"), Outage("the network is gone")):
        with pytest.raises(type(error)), output.image(PredictedImage("a.jpg", TAGS)):
            raise error


def test_what_cannot_be_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for word, arguments in {
        "no such folder; name the folder that the image ids": {"format": "txt", "photos": tmp_path / "none"},
        "makes no use of --photos": {"format": "long", "photos": tmp_path},
        "is a file, --format txt writes a folder": {"format": "txt", "path": tmp_path / "file"},
        "exists already": {"format": "long", "path": tmp_path / "file"},
        "settings of another format": {"format": "txt", "settings": DecodingConfig()},
    }.items():
        with pytest.raises(RanktagError, match=word):
            Output(**arguments)  # type: ignore[arg-type]
    with pytest.raises(RanktagError, match="--format long: nothing says where to write; name it with -o$"):
        Output("long").refuse_no_place()
    with pytest.raises(RanktagError, match="-o, or the folder of the photos with --photos"):
        Output("txt").refuse_no_place()
    with pytest.raises(ValueError, match="'nonsense' is not one of"):
        Output("nonsense")


def test_a_format_says_of_itself_what_it_writes() -> None:
    assert Format.of("txt").kind == "write_beside" and Format.of("txt").settings is TextConfig
    assert Format.of("long").kind == "write" and Format.of("long").settings is None
